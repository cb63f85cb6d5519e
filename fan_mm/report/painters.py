"""What a model predicted for one sample, and the ground truth, as images, by what the sample holds."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from fan_mm.errors import InputError
from fan_mm.evaluation.class_names import palette_of, readable, short
from fan_mm.report.fonts import drawable
from fan_mm.report.labels import share
from fan_mm.report.panels import (
    distinct_palette,
    paint_classification,
    paint_detection,
    paint_segmentation,
    paint_wrong,
)

SCORE_THRESHOLD = 0.3  # of boxes that are shown
_OFFSET = 1000  # mmdet numbers a panoptic segment: class + 1000 x instance


def colours_of(metainfo: Mapping) -> Sequence[tuple[int, ...]]:
    """RGB colours of a dataset's classes: distinct ones if it has none or too few.

    A dataset with classes of the user's own may keep a longer or shorter palette.
    """
    count = len(metainfo.get('classes') or ())
    palette = palette_of(metainfo, count) or []
    return distinct_palette(count) if len(palette) < count else [tuple(c) for c in palette]


def legend_of(sample: Any, metainfo: Mapping) -> tuple[list[str], list[Sequence[int]]]:
    """Names and colours of the classes whose regions a segmented sample shows; none for others."""
    if not (maps := _class_maps(sample)):
        return [], []
    shown = sorted({label for map_ in maps.values() for label in np.unique(map_).tolist()})
    classes, palette = drawable(readable(metainfo['classes'])), colours_of(metainfo)
    shown = [label for label in shown if label < len(classes)]
    return [classes[label] for label in shown], [palette[label] for label in shown]


def painter(metainfo: Mapping) -> Callable[[np.ndarray, Any], dict[str, np.ndarray]]:
    """The function that paints one sample.

    Args:
        metainfo: of the dataset: 'classes' and 'palette'.

    Returns:
        A function of the model's input (RGB uint8 ``(H, W, 3)``) and the predicted data sample: classes,
        boxes, a label map, panoptic segments or depths. It returns RGB images: 'image', 'prediction'
        and, where the sample has it, 'ground_truth'; for label maps also 'error'. It raises an
        `InputError` for a sample that holds none of these.
    """
    names = short(readable(metainfo.get('classes') or ()))
    classes = functools.cache(lambda: drawable(names))  # looks for fonts
    palette = colours_of(metainfo)
    return lambda image, sample: _kind_of(sample)(image, sample, classes(), palette)


def _kind_of(sample: Any) -> Callable[[np.ndarray, Any, list, Sequence], dict]:
    paint = {
        'pred_panoptic_seg': _segmentation,
        'pred_sem_seg': _segmentation,
        'pred_depth_map': _depth,
        'pred_instances': _detection,
        'pred_label': _classification,
    }
    held = set(sample.keys()) if hasattr(sample, 'keys') else set()
    if not (known := [kind for name, kind in paint.items() if name in held]):
        raise InputError(
            'only predicted classes, boxes, label maps and depths can be painted, but the model returns a '
            f'{type(sample).__name__} of {", ".join(sorted(held)) or "nothing"}'
        )
    return known[0]


def _class_maps(sample: Any) -> dict[str, np.ndarray]:
    """Class of each pixel, ``(H, W)``, as predicted and in truth; nothing for other samples."""
    names = {'prediction': ('pred_panoptic_seg', 'pred_sem_seg'), 'ground_truth': ('gt_sem_seg',)}
    maps = {}
    for title, places in names.items():
        for place in places:
            if place in sample and title not in maps:
                held = sample.get(place)
                data = held.sem_seg if 'sem_seg' in held else held.data  # mmdet's, mmseg's
                # a head with one output makes 0.0 and 1.0
                labels = data.squeeze(0).cpu().numpy().astype(np.int64, copy=False)
                maps[title] = labels % _OFFSET if place == 'pred_panoptic_seg' else labels
    return maps if 'prediction' in maps else {}


def _segmentation(image: np.ndarray, sample: Any, classes: list, palette: Sequence) -> dict:
    maps = _class_maps(sample)
    predicted, truth = maps['prediction'], maps.get('ground_truth')
    image = cv2.resize(image, predicted.shape[::-1], interpolation=cv2.INTER_AREA)
    pictures = {'image': image, 'prediction': paint_segmentation(image, predicted, palette)}
    if truth is not None:
        pictures['ground_truth'] = paint_segmentation(image, truth, palette)
        pictures['error'] = paint_wrong(image, (predicted != truth) & (truth < len(palette)))
    return pictures


def _depth(image: np.ndarray, sample: Any, classes: list, palette: Sequence) -> dict:
    """The farther, the brighter, on one scale; black where it is not known."""
    depths = {'prediction': sample.pred_depth_map.data}
    if 'gt_depth_map' in sample:
        depths['ground_truth'] = sample.gt_depth_map.data
    farthest = max(float(depth.max()) for depth in depths.values()) or 1.0
    pictures = {}
    for title, depth in depths.items():
        share = (depth.squeeze(0).cpu().numpy() / farthest).clip(0, 1)
        pictures[title] = cv2.applyColorMap(np.uint8(255 * share), cv2.COLORMAP_INFERNO)[..., ::-1]
    size = pictures['prediction'].shape[1::-1]
    return {'image': cv2.resize(image, size, interpolation=cv2.INTER_AREA), **pictures}


def _detection(image: np.ndarray, sample: Any, classes: list, palette: Sequence) -> dict:
    height, width = sample.ori_shape[:2]
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    def paint(instances: Any, scores: list[str]) -> np.ndarray:
        labels = instances.labels.tolist()
        boxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
        captions = [_name(classes, i) + score for i, score in zip(labels, scores, strict=True)]
        colours = [*palette, *distinct_palette(max(labels, default=0) + 1)[len(palette) :]]
        colours = [colours[i] for i in labels]
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


def _name(classes: Sequence[str], number: int) -> str:
    """Of a class, of which a model may have more than its metainfo names."""
    return classes[number] if number < len(classes) else f'class {number}'


def _classification(image: np.ndarray, sample: Any, classes: list, palette: Sequence) -> dict:
    def lines(labels: Any, scores: Any = None) -> list[str]:
        numbers = torch.as_tensor(labels).reshape(-1).tolist()
        shares = [f' {share(float(scores[n]))}' if scores is not None else '' for n in numbers]
        known = [_name(classes, n) for n in numbers]
        names = known if classes else [str(n) for n in numbers]
        return [name + share for name, share in zip(names, shares, strict=True)] or ['(none)']

    labels, scores = torch.as_tensor(sample.pred_label).reshape(-1), sample.get('pred_score')
    of_classes = scores is not None and len(classes) == torch.as_tensor(scores).numel()
    if (labels.diff() < 0).any() and not of_classes:  # the classes above a threshold are sorted
        raise InputError(
            'the predictions are ranks of a gallery, not classes, and cannot be painted'
        )
    predicted = lines(labels, scores)
    pictures = {'image': image, 'prediction': paint_classification(image, predicted)}
    if 'gt_label' in sample:
        pictures['ground_truth'] = paint_classification(image, lines(sample.gt_label))
    return pictures
