"""The scores of one cell from any evaluator (of mmseg, mmdet, mmpretrain or the user), in one form.

The scores are those that the evaluator's own ``evaluate`` returns. For unmodified metrics of the three
libraries, more is read (`fan_mm.evaluation.collected`). They are recognised by class name, so that none of
the libraries is imported here.
"""

import contextlib
import copy
import math
import numbers
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, Evaluator

from fan_mm.engine.evaluators import (
    build_evaluator,
    collectors,
    computes_as,
    evaluate_here,
    library_class,
    measures,
    only_these,
    options_set,
    waits_for_all,
)
from fan_mm.errors import InputError
from fan_mm.evaluation.bootstrap import RESAMPLED
from fan_mm.evaluation.collected import READERS, Scores, by_class

_AGGREGATES = {'mean', 'avg', 'average', 'overall', 'all', 'total'}
# Common scores that are better when higher, in order of preference. Unknown metrics must return at least
# one of these.
_SCORES = (
    *('miou', 'bbox_map', 'segm_map', 'map', 'pq', 'top1', 'accuracy', 'acc', 'mdice', 'mfscore'),
    *('f1-score', 'f1', 'iou', 'dice', 'ap', 'ap50', 'auc', 'auroc', 'ar', 'recall', 'precision'),
    *('psnr', 'ssim', 'pck', 'top5', 'macc', 'aacc'),
)
# Words in the names of errors and losses, which are better when lower.
_ERRORS = re.compile(
    r'(^|[^a-z])(loss|err|error|errors|m?mr|rmse|mse|mae|rel|log10|silog|epe|fpr\d*|ece|nll|brier|'
    r'distance|dist|hd95|hausdorff|fid|perplexity|miss)($|[^a-z])'
)


@dataclass(frozen=True)
class KnownMetric:
    """How to read one metric class.

    Attributes:
        task: 'segmentation', 'detection', 'classification', or the name of another task.
        headlines: names of the metric's main score; the first one that it returns is used.
        scale: factor to per cent; None if unknown, in which case scores are not converted.
        statistics: kind of its statistics (`fan_mm.evaluation.bootstrap.PerImage`); None without.
        units: scores with a unit, such as metres, which are not scaled.
    """

    task: str
    headlines: tuple[str, ...]
    scale: float | None
    statistics: str | None = None
    units: tuple[str, ...] = ()


_COCO = KnownMetric('detection', ('bbox_mAP', 'segm_mAP', 'AR'), 100, RESAMPLED)
_LABELS = KnownMetric('classification', ('f1-score', 'precision', 'recall'), 1)
_DEPTHS = ('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'log10', 'silog')
KNOWN_METRICS = {
    'IoUMetric': KnownMetric('segmentation', ('mIoU', 'mDice', 'mFscore'), 1, 'iou'),
    'CityscapesMetric': KnownMetric('segmentation', ('averageScoreCategories',), 100),
    'DepthMetric': KnownMetric('depth estimation', ('d1', 'd2', 'd3'), 100, units=_DEPTHS),
    'LVISMetric': KnownMetric('detection', ('bbox_AP', 'segm_AP', 'AR'), 100),
    'FastCocoMetric': _COCO,
    'FasterCocoMetric': _COCO,
    'CocoMetric': _COCO,
    'VOCMetric': KnownMetric('detection', ('mAP', 'AR', 'recall'), 100),
    'OpenImagesMetric': KnownMetric('detection', ('mAP',), 100),
    'CrowdHumanMetric': KnownMetric('detection', ('mAP', 'JI'), 100),
    'CityScapesMetric': KnownMetric('detection', ('mAP',), 100),
    'SemSegMetric': KnownMetric('segmentation', ('mIoU', 'mDice', 'mFscore'), 1),
    'CocoPanopticMetric': KnownMetric('panoptic segmentation', ('PQ',), 1),
    'Accuracy': KnownMetric('classification', ('top1', 'top5', 'top'), 1, 'accuracy'),
    'SingleLabelMetric': _LABELS,
    'MultiLabelMetric': _LABELS,
    'AveragePrecision': KnownMetric('classification', ('mAP',), 1),
}
_UNKNOWN = KnownMetric('other', (), None)
# Options that name output files of these metrics, which every cell would overwrite.
_WRITERS = {
    'outfile_prefix': ('CocoMetric', 'LVISMetric'),
    'output_dir': ('IoUMetric', 'DepthMetric'),
}


def _base(metric: BaseMetric) -> Any:
    return library_class(metric, KNOWN_METRICS)


def known(metric: BaseMetric) -> KnownMetric | None:
    """How to read a metric; a subclass is read as its base."""
    base = _base(metric)
    return KNOWN_METRICS[base.__name__] if base else None


def as_in_library(metric: BaseMetric) -> bool:
    """Whether a metric is a known one and computes what its library computes."""
    base = _base(metric)
    return base is not None and computes_as(metric, base)


def headline_metric(metrics: Sequence[BaseMetric]) -> int:
    """Position of the metric that the sweep is about: the first known one, else the first.

    Raises:
        InputError: none measures anything.
    """
    measuring = [i for i, metric in enumerate(metrics) if measures(metric)]
    if not measuring:
        names = ', '.join(type(m).__name__ for m in metrics) or 'no metric'
        written = ' set to format_only' if any(vars(m).get('format_only') for m in metrics) else ''
        raise InputError(
            f'the evaluator has {names}{written}: none of them computes a score; use a split '
            'with annotations, and a metric'
        )
    return next((i for i in measuring if known(metrics[i])), measuring[0])


def how_to_read(evaluator: Evaluator) -> KnownMetric:
    """How to read the metric that a sweep with an evaluator is about."""
    return known(evaluator.metrics[headline_metric(evaluator.metrics)]) or _UNKNOWN


def ignored_label(evaluator: Evaluator) -> int:
    """The label of ignored pixels, of the first metric that has one; mmseg's default without."""
    named = (getattr(metric, 'ignore_index', None) for metric in evaluator.metrics)
    return next((label for label in named if isinstance(label, int)), 255)


def for_sweep(evaluator: Any) -> Evaluator:
    """An evaluator that writes no predictions, from any that mmengine takes; that one is not changed.

    Raises:
        InputError: it is none, or measures nothing.
    """
    given = build_evaluator(evaluator)
    headline_metric(given.metrics)
    new = copy_of(given)
    if type(given).evaluate is Evaluator.evaluate:
        new.metrics = [metric for metric in given.metrics if measures(metric)]
    new.metrics = [_in_a_temporary_folder(m) if waits_for_all(m) else m for m in new.metrics]
    return new


def _in_a_temporary_folder(metric: Any) -> Any:
    """A panoptic metric as it is without an ``outfile_prefix``."""
    new = copy.copy(metric)
    new.results, new.tmp_dir = [], tempfile.TemporaryDirectory()
    new.outfile_prefix = os.path.join(new.tmp_dir.name, 'results')
    new.seg_out_dir = f'{new.outfile_prefix}.panoptic'
    return new


def copy_of(evaluator: Evaluator) -> Evaluator:
    """Another evaluator with the same metrics."""
    new = object.__new__(type(evaluator))
    vars(new).update(vars(evaluator), metrics=list(evaluator.metrics))
    return new


def headline_of(evaluator: Evaluator, names: Sequence[str]) -> str | None:
    """The score that the means of a sweep are of; None if there is none that can be.

    Args:
        evaluator: the built evaluator.
        names: names of the scores that it returns, in its order.
    """
    metric = evaluator.metrics[headline_metric(evaluator.metrics)]
    wanted = list(how_to_read(evaluator).headlines)
    loosely = not as_in_library(metric) or type(evaluator).evaluate is not Evaluator.evaluate
    if loosely:
        wanted += _SCORES
    ranks = {
        (place, *fit, number): name
        for number, name in enumerate(names)
        for place, score in enumerate(wanted)
        if (fit := _fit(name, score, loosely)) is not None
    }
    return ranks[min(ranks)] if ranks else None


def _fit(name: str, score: str, loosely: bool) -> tuple[int, int] | None:
    """How well a name matches a score: 'a/mIoU' best, then 'top1_thr-0.50', then 'mean_mIoU'."""
    if lower_is_better(name):
        return None
    last = name.rpartition('/')[2]
    if loosely and score == score.lower():
        last = last.lower()
    if last == score:
        return 0, int('/' in name)
    # Also matches AR@100, and top3 for 'top'.
    if last.startswith(score) and re.match(
        '[_@]' if score[-1].isdigit() else r'[_@\d]', last[len(score) :]
    ):
        return 1, 0
    if loosely and last.endswith(f'_{score}'):
        return 2, int(not _AGGREGATES & set(last.lower().split('_')))
    return None


def lower_is_better(name: str) -> bool:
    """Whether a score is an error or a loss by its name."""
    return _ERRORS.search(name.lower()) is not None


def like(headline: str, names: Sequence[str]) -> list[str]:
    """The scores of other datasets or parts that correspond to the headline ('b/mIoU' beside 'a/mIoU')."""
    last = re.split('[/_]', headline)[-1]
    return [n for n in names if n != headline and re.split('[/_]', n)[-1] == last]


class NoScore(InputError):
    """An evaluator returns no score that a sweep can use; ``names`` are the scores it returns."""

    def __init__(self, message: str, names: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.names = names


def compute_scores(
    evaluator: Evaluator | Sequence[BaseMetric],
    results: Sequence[list],
    image_ids: Sequence | None = None,
    parts: Sequence[slice] | None = None,
) -> Scores:
    """Let an evaluator compute its scores, and read them.

    Args:
        evaluator: the evaluator, or its metrics.
        results: for every collecting metric (`fan_mm.engine.evaluators.collectors`), the results that its
            ``process`` collected, in sample order.
        image_ids: COCO ids of the images evaluated; None for all images in the annotation file.
        parts: the samples that each metric evaluates, if not all (`parts_of`).

    Raises:
        InputError: it does not give a score that the means of a sweep can be of.
    """
    evaluator = build_evaluator(evaluator)
    metrics = evaluator.metrics
    how = how_to_read(evaluator)
    main = metrics[headline_metric(metrics)]
    plain = type(evaluator).evaluate is Evaluator.evaluate
    size = max((len(r) for r in results if isinstance(r, list)), default=0)
    starts = _prefixes(evaluator, parts)
    classwise: dict[str, tuple[str, BaseMetric]] = {}
    holders = [holder for metric in metrics for holder in collectors(metric)]
    held = dict(zip(map(id, holders), results, strict=True))
    with contextlib.ExitStack() as stack:
        for number, metric in enumerate(metrics):
            part = parts[number] if parts else slice(None)
            options: dict[str, Any] = only_these(metric, image_ids[part]) if image_ids else {}
            if as_in_library(metric):
                options |= _without_files(metric) | (_per_class(metric) if plain or parts else {})
            if options.get('metrics'):
                classwise[starts[number]] = f'{options["metrics"][-1]}_mAP', metric
            stack.enter_context(options_set(metric, **options))
            if _detects(metric):
                held[id(metric)] = _with_a_miss(held[id(metric)], part)
        for holder in holders:
            holder.results = copy.copy(held[id(holder)])  # evaluate() clears it
        values = evaluate_here(evaluator, size)
    values, per_class = _split_classwise(values, classwise)
    found = {
        name: to_per_cent(score, _scale_of(name, starts, metrics, how))
        for name, value in values.items()
        if (score := _number(value)) is not None
    }
    if plain:
        found = _without_prefixes(found, metrics)
        per_class = _without_prefixes(per_class, metrics)
    headline = headline_of(evaluator, list(found))
    if headline is None:
        raise NoScore(_without_headline(main, how, list(values)), list(values))
    scores = Scores(how.task, headline, found, per_class)
    if plain and as_in_library(main) and how.statistics:
        READERS[how.statistics](main, held[id(main)], scores)
    return scores


def _detects(metric: BaseMetric) -> bool:
    how = known(metric)
    return how is not None and how.task == 'detection'


def _without_files(metric: BaseMetric) -> dict[str, Any]:
    """The options with which a metric writes no files."""
    return {name: None for name, bases in _WRITERS.items() if _base(metric).__name__ in bases}


def _per_class(metric: BaseMetric) -> dict[str, Any]:
    """The options with which a CocoMetric gives values per class, of boxes where it evaluates them."""
    names = getattr(metric, 'metrics', ())
    if not _detects(metric) or not isinstance(names, list):
        return {}
    # Its per-class table reads the sixth IoU threshold, and fails without one; and it looks up category
    # ids as a single integer or each of several ids.
    ids = getattr(getattr(metric, '_coco_api', None), 'cats', ())
    whole = all(isinstance(id_, int) for id_ in ids)
    classwise = bool(names) and whole and np.size(getattr(metric, 'iou_thrs', range(10))) > 5
    # The values are those of its last metric.
    return {'metrics': sorted(names, key='bbox'.__eq__), 'classwise': classwise}


def _prefixes(evaluator: Evaluator, parts: Sequence[slice] | None) -> list[str]:
    """The prefix of the names of each metric's scores."""
    datasets = evaluator.dataset_prefixes if parts else [''] * len(evaluator.metrics)
    pairs = zip(datasets, evaluator.metrics, strict=True)
    return [''.join(f'{word}/' for word in (d, m.prefix) if word) for d, m in pairs]


def _scale_of(
    name: str, starts: Sequence[str], metrics: Sequence[BaseMetric], main: KnownMetric
) -> float | None:
    """The factor to per cent of the metric that a score is of; of the sweep's metric if in doubt."""
    pairs = list(zip(starts, metrics, strict=True))
    owners = [known(m) or _UNKNOWN for start, m in pairs if start and name.startswith(start)]
    owners = owners or [known(m) or _UNKNOWN for start, m in pairs if not start]
    last = name.rpartition('/')[2]
    how = next((o for o in owners if last in (*o.headlines, *o.units)), (owners or [main])[0])
    return None if last in how.units else how.scale


def _without_prefixes(values: Mapping[str, Any], metrics: Sequence[BaseMetric]) -> dict[str, Any]:
    """Names without the metric's prefix; the same name from two metrics keeps it."""
    short = {}
    for name, value in values.items():
        for metric in metrics:
            if metric.prefix and name.startswith(f'{metric.prefix}/'):
                bare = name.removeprefix(f'{metric.prefix}/')
                name = name if bare in short or bare in values else bare
                break
        short[name] = value
    return short


def _number(value: Any) -> float | None:
    """A score as a number; None for matrices, lists and words."""
    is_number = isinstance(value, numbers.Number | np.generic)
    if is_number and not isinstance(value, complex | str):
        return float(value)
    if isinstance(value, torch.Tensor | np.ndarray) and math.prod(value.shape) == 1:
        return float(value)
    return None


def _without_headline(metric: BaseMetric, how: KnownMetric, names: Sequence[str]) -> str:
    name, given = type(metric).__name__, ', '.join(names) or 'nothing'
    if as_in_library(metric):
        return f'{name} returned {given}: configure it to compute {" or ".join(how.headlines)}'
    return (
        f'{name} returned {given}: the sweep needs a score that is known to be better when higher, '
        'such as mIoU, mAP, top1 or accuracy, also as the last word of a name (mean_accuracy)'
    )


def to_per_cent(value: float, scale: float | None) -> float | None:
    """A score in per cent; None for what is not finite and for the -1 of COCO's "no such objects".

    Libraries round to at most 2 decimals, some in float32; rounding to four decimals removes only the
    float32 noise.

    Args:
        value: as returned by the metric.
        scale: factor; None for a score that is not a share or has an unknown unit, which is not converted.
    """
    value = float(value)
    if not math.isfinite(value) or (value < 0 and scale is not None):
        return None
    return round(value * (1 if scale is None else scale), 6 if scale is None else 4)


def _with_a_miss(results: Any, part: slice) -> Any:
    """The same with a detection of score 0 outside of the first image's area, which matches nothing.

    mmdet's metrics return no scores if no image has a detection. With a single false detection the scores
    are 0, and undefined for sizes and classes that the dataset does not contain.
    """
    if not isinstance(results, list):
        return results
    found: list[Any] = [
        r[1] if isinstance(r, tuple) and len(r) == 2 else None for r in results[part]
    ]
    keys = {'bboxes', 'scores', 'labels'}
    if not found or any(not isinstance(f, dict) or not keys <= f.keys() for f in found):
        return results  # not in CocoMetric's format
    if any(len(f['bboxes']) for f in found):
        return results
    first = part.start or 0
    truth, nothing = results[first]
    miss: dict[str, Any] = {
        'bboxes': np.array([[-2, -2, -1, -1]], np.float32),
        'scores': np.zeros(1, np.float32),
        'labels': np.zeros(1, np.int64),
    }
    if 'masks' in nothing:
        from pycocotools.mask import encode

        mask = np.zeros((truth['height'], truth['width']), np.uint8, order='F')
        miss['masks'] = [encode(mask)]
    if 'mask_scores' in nothing:
        miss['mask_scores'] = miss['scores']
    return [*results[:first], (truth, {**nothing, **miss}), *results[first + 1 :]]


def _split_classwise(
    values: Mapping, classwise: Mapping[str, tuple[str, BaseMetric]]
) -> tuple[dict, dict]:
    """Take the ``<class>_precision`` entries apart that metrics give with ``classwise``.

    Args:
        values: all scores.
        classwise: prefix of such a metric's score names -> its score that is per class, and the metric.
    """
    ending, rest = '_precision', {}
    classes: dict[str, dict[str, float | None]] = {start: {} for start in classwise}
    for name, value in values.items():
        start = next((s for s in classwise if name.startswith(s)), None)
        if start is not None and name.endswith(ending):
            classes[start][name.removeprefix(start).removesuffix(ending)] = to_per_cent(value, 100)
        else:
            rest[name] = value
    # as in a CocoMetric whose boxes do not come last
    segm = {f'{start}segm' for start in classwise}
    ordered = sorted(rest, key=lambda name: name.startswith(tuple(segm)))
    per_class = {
        f'{start}{score}': by_class(metric, classes[start])
        for start, (score, metric) in classwise.items()
        if classes[start]
    }
    return {name: rest[name] for name in ordered}, per_class
