"""What the metrics of mmseg, mmdet and mmpretrain say about one cell, in one form.

Metrics are told by their class names, so that none of the three libraries is imported here.
"""

import contextlib
import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from fan_mm.errors import InputError
from fan_mm.evaluation.bootstrap import SCORES


@dataclass(frozen=True)
class KnownMetric:
    """How to read one metric class.

    Attributes:
        task: 'segmentation', 'detection' or 'classification'.
        headlines: names of the score that stands for the metric; the first that it gives counts.
        scale: factor to per cent.
        statistics: kind of its statistics per image (`fan_mm.evaluation.bootstrap.SCORES`), or None
            where the score is no function of sums over images (mAP).
    """

    task: str
    headlines: tuple[str, ...]
    scale: float
    statistics: str | None = None


KNOWN_METRICS = {
    'IoUMetric': KnownMetric('segmentation', ('mIoU', 'mDice', 'mFscore'), 1, 'iou'),
    'LVISMetric': KnownMetric('detection', ('bbox_AP', 'segm_AP'), 100),
    'CocoMetric': KnownMetric('detection', ('bbox_mAP', 'segm_mAP'), 100),
    'VOCMetric': KnownMetric('detection', ('mAP',), 100),
    'Accuracy': KnownMetric('classification', ('top1',), 1, 'accuracy'),
}


def known(metric: BaseMetric) -> KnownMetric | None:
    """How to read a metric; a subclass is read as its base."""
    names = [base.__name__ for base in type(metric).__mro__]
    return next((KNOWN_METRICS[name] for name in names if name in KNOWN_METRICS), None)


def headline_metric(metrics: Sequence[BaseMetric]) -> int:
    """Position of the metric that the sweep is about.

    Raises:
        InputError: none of them is known, or it writes files for a server instead of evaluating.
    """
    for i, metric in enumerate(metrics):
        if known(metric):
            if getattr(metric, 'format_only', False):
                raise InputError(
                    f'{type(metric).__name__} is set to format_only: it writes files for a test '
                    'server and measures nothing; evaluate a split with annotations'
                )
            return i
    raise InputError(
        f'the evaluator has {", ".join(type(m).__name__ for m in metrics) or "no metric"}: the sweep '
        f'needs one of {", ".join(KNOWN_METRICS)}'
    )


@dataclass
class Scores:
    """The scores of one cell.

    Attributes:
        task: see `KnownMetric`.
        headline: name of the score that the sweep is about.
        metrics: all scores, per cent, None where undefined.
        per_class: score -> class -> per cent.
        kind: kind of the statistics, None without.
        statistics: see `fan_mm.evaluation.bootstrap.PerImage`.
    """

    task: str
    headline: str
    metrics: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]] = field(default_factory=dict)
    kind: str | None = None
    statistics: np.ndarray | None = None


def compute_scores(
    metrics: Sequence[BaseMetric], results: Sequence[list], image_ids: list | None = None
) -> Scores:
    """Let the metrics compute what they compute, and read it.

    Args:
        metrics: of the evaluator.
        results: per metric what its ``process`` collected, in the order of the samples.
        image_ids: COCO ids of the images evaluated; None for all of the annotation file.

    Raises:
        InputError: no known metric, or it does not give the score that it is known for.
    """
    main = headline_metric(metrics)
    found: dict[str, float | None] = {}
    per_class = {}
    for metric, result in zip(metrics, results, strict=True):
        how = known(metric)
        options = {'img_ids': image_ids} if image_ids else {}
        if how and how.task == 'detection':
            # CocoMetric's values per class are those of the last of its metrics: boxes then
            options['metrics'] = sorted(getattr(metric, 'metrics', ()), key='bbox'.__eq__)
        with _quiet(), _set(metric, classwise=True, **options):
            values = metric.compute_metrics(result)
            if how and how.task == 'detection':
                values = values or metric.compute_metrics(_with_a_miss(result))
                values, classes = _split_classwise(metric, values)
                per_class.update(classes)
        for name, value in values.items():
            if np.isscalar(value) or np.ndim(value) == 0:
                # The same name from two metrics keeps its prefix.
                name = f'{metric.prefix}/{name}' if name in found and metric.prefix else name
                found[name] = to_per_cent(value, how.scale if how else 1)
    how = known(metrics[main])
    headline = next((name for name in how.headlines if name in found), None)
    if headline is None:
        raise InputError(
            f'{type(metrics[main]).__name__} gave {", ".join(found) or "nothing"}: set it to compute '
            f'{" or ".join(how.headlines)}'
        )
    scores = Scores(how.task, headline, found, per_class)
    if how.statistics == 'iou':
        _read_iou(metrics[main], results[main], scores)
    elif how.statistics == 'accuracy':
        _read_accuracy(metrics[main], results[main], scores)
    return scores


def to_per_cent(value: float, scale: float) -> float | None:
    """A score in per cent; None for NaN and for the -1 by which COCO says "no such objects".

    Libraries round to 2 decimals or more coarsely, some in float32; four decimals drop that type's
    noise and nothing else.
    """
    value = float(value)
    if math.isnan(value) or value < 0:
        return None
    return round(value * scale, 4)


@contextlib.contextmanager
def _set(metric: BaseMetric, **options: Any) -> Iterator[None]:
    """Set options of a metric, those that it has, for the length of a block."""
    before = {name: getattr(metric, name) for name in options if hasattr(metric, name)}
    for name in before:
        setattr(metric, name, options[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(metric, name, value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tables that metrics print to themselves: dozens of cells would bury the progress."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            yield
    finally:
        logger.setLevel(level)


def _with_a_miss(results: Sequence) -> list:
    """The same with a detection that finds nothing, outside of the first image, at score 0.

    mmdet's metrics give no scores where no image has a detection. With this one they are 0, and
    undefined for the sizes and classes that the dataset lacks.
    """
    (truth, found), *rest = results
    miss = {
        'bboxes': np.float32([[-2, -2, -1, -1]]),
        'scores': np.zeros(1, np.float32),
        'labels': np.zeros(1, np.int64),
    }
    if 'masks' in found:
        from pycocotools.mask import encode

        nothing = np.zeros((truth['height'], truth['width']), np.uint8, order='F')
        miss['masks'] = [encode(nothing)]
    if 'mask_scores' in found:
        miss['mask_scores'] = miss['scores']
    return [(truth, {**found, **miss}), *rest]


def _split_classwise(metric: BaseMetric, values: Mapping[str, float]) -> tuple[dict, dict]:
    """Take the ``<class>_precision`` entries of CocoMetric apart (it runs with ``classwise``)."""
    ending = '_precision'
    rest = {name: v for name, v in values.items() if not name.endswith(ending)}
    rest = dict(sorted(rest.items(), key=lambda item: not item[0].startswith('bbox')))
    classes = {
        name.removesuffix(ending): to_per_cent(v, 100)
        for name, v in values.items()
        if name.endswith(ending)
    }
    return rest, {f'{metric.metrics[-1]}_mAP': classes} if classes else {}


def _class_names(metric: BaseMetric, count: int) -> list[str]:
    names = (metric.dataset_meta or {}).get('classes')
    return list(map(str, names if names is not None else range(count)))


def _ratio(part: np.ndarray, whole: np.ndarray, names: Sequence[str]) -> dict[str, float | None]:
    return {
        name: round(100 * float(p) / float(w), 4) if w else None
        for name, p, w in zip(names, part, whole, strict=True)
    }


def _read_iou(metric: BaseMetric, results: list, scores: Scores) -> None:
    """Sums per image and values per class of mmseg's IoUMetric.

    It keeps per image the histograms over classes of intersection, union, prediction, ground truth.
    """
    histograms = torch.stack([torch.stack([h.cpu() for h in image]) for image in results])
    histograms = histograms.round().to(torch.int64).numpy()
    intersection, union, _, truth = histograms.sum(axis=0)
    names = _class_names(metric, len(union))
    scores.per_class['IoU'] = _ratio(intersection, union, names)
    scores.per_class['Acc'] = _ratio(intersection, truth, names)
    _keep_if_equal('iou', histograms[:, :2].astype(np.uint32), scores)


def _read_accuracy(metric: BaseMetric, results: list, scores: Scores) -> None:
    """Right or wrong per image, and accuracy per class, of mmpretrain's Accuracy."""
    truth = torch.cat([r['gt_label'].reshape(1) for r in results]).cpu()
    if 'pred_score' in results[0]:
        predicted = torch.stack([r['pred_score'] for r in results]).float().topk(1).indices[:, 0]
        classes = len(results[0]['pred_score'])
    else:
        predicted = torch.cat([r['pred_label'].reshape(1) for r in results])
        classes = int(truth.max()) + 1
    right = (predicted.cpu() == truth).numpy()
    truth = truth.numpy()
    names = _class_names(metric, classes)
    scores.per_class['Acc'] = _ratio(
        np.bincount(truth[right], minlength=len(names)),
        np.bincount(truth, minlength=len(names)),
        names,
    )
    _keep_if_equal('accuracy', right[:, None, None], scores)


def _keep_if_equal(kind: str, statistics: np.ndarray, scores: Scores) -> None:
    """Keep the statistics if the headline can be had from them.

    It cannot under some options of the metrics (nan_to_num, score thresholds, mDice); then there are
    no intervals rather than intervals of something else. The tolerance is the metrics' rounding.
    """
    score = SCORES[kind](statistics.sum(axis=0, dtype=np.float64)[None], len(statistics))[0]
    reported = scores.metrics[scores.headline]
    if (
        scores.headline in ('mIoU', 'top1')
        and reported is not None
        and abs(score - reported) <= 0.01
    ):
        scores.kind, scores.statistics = kind, statistics
