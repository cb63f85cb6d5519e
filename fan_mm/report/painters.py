"""What a model predicted for one sample, and the ground truth, as images, per task."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from fan_mm.evaluation.class_names import readable, short
from fan_mm.report.fonts import drawable
from fan_mm.report.panels import (
    distinct_palette,
    paint_classification,
    paint_detection,
    paint_segmentation,
    paint_wrong,
)

SCORE_THRESHOLD = 0.3  # of boxes that are shown


def palette_of(metainfo: Mapping) -> Sequence[Sequence[int]]:
    """RGB colours of a dataset's classes: distinct ones if it has none or too few.

    A dataset with classes of the user's own may keep a longer or shorter palette.
    """
    count, palette = len(metainfo.get('classes') or ()), metainfo.get('palette')
    if not isinstance(palette, list | tuple) or len(palette) < count:  # COCO's may be 'random'
        return distinct_palette(count)
    return list(palette[:count])


def legend_of(sample: Any, metainfo: Mapping) -> tuple[list[str], list[Sequence[int]]]:
    """Names and colours of the classes whose regions a segmented sample shows; none for others."""
    if 'pred_sem_seg' not in sample:
        return [], []
    maps = [sample.pred_sem_seg, *([sample.gt_sem_seg] if 'gt_sem_seg' in sample else [])]
    shown = sorted({label for map_ in maps for label in torch.unique(map_.data).tolist()})
    classes, palette = drawable(readable(metainfo['classes'])), palette_of(metainfo)
    shown = [label for label in shown if label < len(classes)]
    return [classes[label] for label in shown], [palette[label] for label in shown]


def painter(task: str, metainfo: Mapping) -> Callable[[np.ndarray, Any], dict[str, np.ndarray]]:
    """The function that paints one sample of a task.

    Args:
        task: 'segmentation', 'detection' or 'classification'.
        metainfo: of the dataset: 'classes' and 'palette'.

    Returns:
        A function of the model's input (RGB uint8 ``(H, W, 3)``) and the predicted data sample. It
        returns RGB images: 'image', 'prediction' and, where the sample has it, 'ground_truth'; of a
        segmented one 'error', too.
    """
    names = short(readable(metainfo.get('classes') or ()))
    classes = functools.cache(lambda: drawable(names))  # looks for fonts
    palette = palette_of(metainfo)
    paint = {'segmentation': _segmentation, 'detection': _detection}.get(task, _classification)
    return lambda image, sample: paint(image, sample, classes(), palette)


def _segmentation(image: np.ndarray, sample: Any, classes: list, palette: Sequence) -> dict:
    predicted = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
    image = cv2.resize(image, predicted.shape[::-1], interpolation=cv2.INTER_AREA)
    pictures = {'image': image, 'prediction': paint_segmentation(image, predicted, palette)}
    if 'gt_sem_seg' in sample:
        truth = sample.gt_sem_seg.data.squeeze(0).cpu().numpy()
        pictures['ground_truth'] = paint_segmentation(image, truth, palette)
        pictures['error'] = paint_wrong(image, (predicted != truth) & (truth < len(palette)))
    return pictures


def _detection(image: np.ndarray, sample: Any, classes: list, palette: Sequence) -> dict:
    height, width = sample.ori_shape[:2]
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    def paint(instances: Any, scores: list[str]) -> np.ndarray:
        labels = instances.labels.tolist()
        boxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
        captions = [classes[i] + score for i, score in zip(labels, scores, strict=True)]
        colours = [palette[i] for i in labels]
        masks = instances.get('masks')
        if isinstance(masks, torch.Tensor):
            masks = masks.cpu().numpy()
        elif masks is not None:  # ground truth: mmdet's bitmaps or polygons
            masks = masks.to_ndarray().astype(bool)
        return paint_detection(image, boxes.cpu().numpy(), captions, colours, masks)

    found = sample.pred_instances
    found = found[found.scores > SCORE_THRESHOLD]
    scores = [f' {score:.2f}' for score in found.scores.tolist()]
    pictures = {'image': image, 'prediction': paint(found, scores)}
    truth = sample.get('gt_instances')
    if truth is not None and 'labels' in truth:  # mmdet packs an empty one without annotations
        pictures['ground_truth'] = paint(truth, [''] * len(truth))
    return pictures


def _classification(image: np.ndarray, sample: Any, classes: list, palette: Sequence) -> dict:
    def name(label: Any) -> str:
        number = int(label)
        if not classes:
            return str(number)
        return classes[number] if number < len(classes) else f'class {number}'

    label = sample.pred_label
    score = f' {float(sample.pred_score[label]):.0%}' if 'pred_score' in sample else ''
    pictures = {'image': image, 'prediction': paint_classification(image, [name(label) + score])}
    if 'gt_label' in sample:
        pictures['ground_truth'] = paint_classification(image, [name(sample.gt_label)])
    return pictures
