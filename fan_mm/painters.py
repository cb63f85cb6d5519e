"""One picture of a model's prediction, and of the ground truth, per task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from fan_mm.report.panels import paint_segmentation

SCORE_THRESHOLD = 0.3


def painter(task: str, metainfo: Mapping) -> Callable[[np.ndarray, Any], dict[str, np.ndarray]]:
    """The function that paints one sample of a task.

    Args:
        task: 'segmentation', 'detection' or 'classification'.
        metainfo: of the dataset: 'classes' and 'palette'.

    Returns:
        A function of the model's input (RGB uint8 ``(H, W, 3)``) and the predicted data sample. It
        returns RGB pictures: 'image', 'prediction' and, where the sample has it, 'ground_truth'.
    """
    classes = list(metainfo.get('classes') or ())
    palette = metainfo.get('palette')
    if not isinstance(palette, Sequence) or isinstance(palette, str):
        palette = _distinct_colours(len(classes))
    paint = {'segmentation': _segmentation, 'detection': _detection}.get(task, _classification)
    return lambda image, sample: paint(image, sample, classes, palette)


def _distinct_colours(count: int) -> list[tuple[int, int, int]]:
    hues = np.arange(count) * 180 / max(count, 1)
    hsv = np.stack([hues, np.full(count, 200), np.full(count, 255)], axis=-1).astype(np.uint8)
    return [tuple(map(int, c)) for c in cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]]


def _segmentation(image: np.ndarray, sample: Any, classes: list, palette: Sequence) -> dict:
    predicted = sample.pred_sem_seg.data.squeeze().cpu().numpy()
    image = cv2.resize(image, predicted.shape[::-1], interpolation=cv2.INTER_AREA)
    pictures = {'image': image, 'prediction': paint_segmentation(image, predicted, palette)}
    if 'gt_sem_seg' in sample:
        truth = sample.gt_sem_seg.data.squeeze().cpu().numpy()
        pictures['ground_truth'] = paint_segmentation(image, truth, palette)
    return pictures


def _detection(image: np.ndarray, sample: Any, classes: list, palette: Sequence) -> dict:
    height, width = sample.ori_shape[:2]
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    found = sample.pred_instances
    found = found[found.scores > SCORE_THRESHOLD]
    pictures = {
        'image': image,
        'prediction': _boxes(image, found.bboxes, found.labels, classes, palette),
    }
    if 'gt_instances' in sample:
        truth = sample.gt_instances
        pictures['ground_truth'] = _boxes(image, truth.bboxes, truth.labels, classes, palette)
    return pictures


def _boxes(image: np.ndarray, boxes: Any, labels: Any, classes: list, palette: Sequence) -> Any:
    picture = image.copy()
    boxes = getattr(boxes, 'tensor', boxes)
    for box, label in zip(boxes.cpu().numpy(), labels.cpu().tolist(), strict=True):
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        colour = tuple(int(v) for v in palette[label])
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, 2)
        _text(picture, str(classes[label]), (x0 + 2, max(y0 - 3, 10)), colour)
    return picture


def _classification(image: np.ndarray, sample: Any, classes: list, palette: Sequence) -> dict:
    def caption(label: int, score: str = '') -> np.ndarray:
        picture = image.copy()
        name = str(classes[label]) if label < len(classes) else str(label)
        _text(picture, name.split(',')[0] + score, (4, len(picture) - 6), (255, 255, 255))
        return picture

    label = int(sample.pred_label)
    score = f' {float(sample.pred_score[label]):.0%}' if 'pred_score' in sample else ''
    pictures = {'image': image, 'prediction': caption(label, score)}
    if 'gt_label' in sample:
        pictures['ground_truth'] = caption(int(sample.gt_label))
    return pictures


def _text(picture: np.ndarray, text: str, place: tuple[int, int], colour: tuple) -> None:
    for shade, thickness in (((0, 0, 0), 3), (colour, 1)):
        cv2.putText(
            picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, shade, thickness, cv2.LINE_AA
        )
