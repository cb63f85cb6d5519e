"""The scores of a cell.

For mmseg's IoUMetric, mmpretrain's Accuracy and mmdet's CocoMetric, also values per class and statistics per
image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from fan_mm.engine.evaluators import library_class
from fan_mm.evaluation.average_precision import KINDS, Matches, mean_ap
from fan_mm.evaluation.bootstrap import RESAMPLED, SCORES
from fan_mm.evaluation.class_names import readable
from fan_mm.evaluation.matching import match

# Metrics whose values per class are in the order of category ids, under names in another order.
_SORTING = ('CocoMetric', 'FasterCocoMetric', 'LVISMetric')


@dataclass
class Scores:
    """The scores of one cell.

    Attributes:
        task: see `fan_mm.evaluation.scores.KnownMetric`.
        headline: name of the sweep's main score.
        metrics: all scores in per cent, None if undefined.
        per_class: score -> class -> per cent.
        kind: kind of the statistics; None without statistics.
        statistics: see `fan_mm.evaluation.bootstrap.PerImage`.
        draws: other score -> its values ``(R,)`` for the same resamples, if available.
        matches: for 'bbox' and 'segm', the matches that statistics and draws are computed from.
    """

    task: str
    headline: str
    metrics: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]] = field(default_factory=dict)
    kind: str | None = None
    statistics: np.ndarray | None = None
    draws: dict[str, np.ndarray] = field(default_factory=dict)
    matches: dict[str, Matches] = field(default_factory=dict)

    def arrays(self, matches: bool) -> dict[str, Any]:
        """What is stored beside the scores, by its name.

        Args:
            matches: include the matches; otherwise only what is computed from them.
        """
        found: dict[str, Any] = {'statistics': self.statistics}
        found |= {f'draws/{name}': values for name, values in self.draws.items()}
        for kind, matched in self.matches.items() if matches else ():
            found |= matched.arrays(kind)
        return found


def _class_names(metric: BaseMetric, count: int) -> list[str]:
    names = (metric.dataset_meta or {}).get('classes')
    return readable(names if names is not None else range(count))


def _ratio(part: np.ndarray, whole: np.ndarray, names: Sequence[str]) -> dict[str, float | None]:
    return {
        name: round(100 * float(p) / float(w), 4) if w else None
        for name, p, w in zip(names, part, whole, strict=True)
    }


def read_iou(metric: BaseMetric, results: list, scores: Scores) -> None:
    """Sums per image and values per class of mmseg's IoUMetric.

    IoUMetric keeps, per image, histograms over classes of intersection, union, prediction and ground truth.
    """
    stacked = torch.stack([torch.stack([h.cpu() for h in image]) for image in results])
    histograms = stacked.round().to(torch.int64).numpy()
    intersection, union, _, truth = histograms.sum(axis=0)
    names = _class_names(metric, len(union))
    scores.per_class['IoU'] = _ratio(intersection, union, names)
    scores.per_class['Acc'] = _ratio(intersection, truth, names)
    _keep_if_equal('iou', histograms[:, :2].astype(np.uint32), scores)


def read_accuracy(metric: BaseMetric, results: list, scores: Scores) -> None:
    """Right or wrong per image, and accuracy per class, of mmpretrain's Accuracy."""
    truth = torch.cat([r['gt_label'].reshape(1) for r in results]).cpu()
    if 'pred_score' in results[0]:
        predicted = torch.stack([r['pred_score'] for r in results]).float().topk(1).indices[:, 0]
        classes = len(results[0]['pred_score'])
    else:
        predicted = torch.cat([r['pred_label'].reshape(1) for r in results])
        classes = int(truth.max()) + 1
    right, labels = (predicted.cpu() == truth).numpy(), truth.numpy()
    names = _class_names(metric, classes)
    names += map(
        str, range(len(names), int(labels.max()) + 1)
    )  # the dataset may name too few classes
    scores.per_class['Acc'] = _ratio(
        np.bincount(labels[right], minlength=len(names)),
        np.bincount(labels, minlength=len(names)),
        names,
    )
    _keep_if_equal('accuracy', right[:, None, None], scores)


def read_detections(metric: BaseMetric, results: list, scores: Scores) -> None:
    """What CocoMetric's boxes and masks match, and its average precisions of resampled images.

    There are none if an image was evaluated twice, or if the metric's options change the definition of the
    score. The tolerance is the metric's rounding.
    """
    found = [result for _, result in results]
    once = len({result['img_id'] for result in found}) == len(found)
    if scores.metrics[scores.headline] is None or not once:
        return
    overlaps, most = np.atleast_1d(metric.iou_thrs), metric.proposal_nums
    draws: dict[str, np.ndarray] = {}
    matched = {}
    for kind in [kind for kind in KINDS if kind in metric.metrics]:
        matches = match(metric._coco_api, found, metric.cat_ids, overlaps, kind, most)
        equal = [
            name
            for name, precisions in matches.per_class().items()
            if (reported := scores.metrics.get(f'{kind}_{name}')) is not None
            and abs(mean_ap(precisions[None])[0] - reported) <= 0.0501
        ]
        if equal:
            resampled, matched[kind] = matches.resampled(), matches
            draws |= {f'{kind}_{name}': resampled[name] for name in equal}
    if scores.headline in draws:
        scores.kind, scores.statistics = RESAMPLED, draws.pop(scores.headline)
        scores.draws, scores.matches = draws, matched


def by_class(metric: BaseMetric, values: dict[str, float | None]) -> dict[str, float | None]:
    """A detection metric's values per class, under the names of the classes.

    mmdet's metrics name them in the order of the file's categories; pycocotools and the like sort them by id.
    """
    base: Any = library_class(metric, _SORTING)
    if not base or type(metric).compute_metrics is not base.compute_metrics:
        return values
    if len(values) != len(metric.cat_ids):
        return values
    names = list(values)
    order = np.argsort(metric.cat_ids, kind='stable')
    own = {names[i]: value for i, value in zip(order, values.values(), strict=True)}
    return {name: own[name] for name in names}


def _keep_if_equal(kind: str, statistics: np.ndarray, scores: Scores) -> None:
    """Keep the statistics if the headline score can be derived from them.

    With some options of the metrics (nan_to_num, score thresholds, mDice) it does not; then there are no
    intervals rather than intervals of a different score. The tolerance is the metrics' rounding.
    """
    score = SCORES[kind](statistics.sum(axis=0, dtype=np.float64)[None], len(statistics))[0]
    reported = scores.metrics[scores.headline]
    if (
        scores.headline in ('mIoU', 'top1')
        and reported is not None
        and abs(score - reported) <= 0.01
    ):
        scores.kind, scores.statistics = kind, statistics


# Kind of statistics -> function that adds them, and values per class, to the scores of a metric.
READERS: dict[str, Callable[[Any, list, Scores], None]] = {
    'iou': read_iou,
    'accuracy': read_accuracy,
    RESAMPLED: read_detections,
}
