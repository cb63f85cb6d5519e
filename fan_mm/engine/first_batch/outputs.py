"""What a model gives: finite, with a score for each label, in the form that metrics take."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from fan_mm.engine.evaluators import collectors, library_class
from fan_mm.errors import InputError

_OF_LABELS = (
    *('Accuracy', 'SingleLabelMetric', 'MultiLabelMetric', 'AveragePrecision'),
    'ConfusionMatrix',
)
NOT_FINITE = 'values that are not finite'  # part of `check_outputs`' message


def not_finite(outputs: Any, name: str = '') -> str | None:
    """The name of a predicted value that is NaN or infinite; None if all are finite.

    A score of minus infinity is allowed, for masked classes.

    Args:
        outputs: predicted data samples, or a part of one.
        name: of that part.
    """
    if isinstance(outputs, torch.Tensor):
        if not outputs.is_floating_point() or not outputs.numel():
            return None
        # One pass without a copy; a second one only if the sum is not finite.
        if torch.isfinite(outputs.sum(dtype=torch.float32)):
            return None
        bad = outputs.isnan() | outputs.isposinf()
        return name if bad.any() else None
    if isinstance(outputs, BaseDataElement | Mapping):
        top = not name
        parts = [
            (key, value)
            for key, value in outputs.items()
            if not top or key.startswith('pred') or key == 'seg_logits'
        ]
    elif isinstance(outputs, list | tuple):
        parts = [(name, part) for part in outputs]
    else:
        parts = []
    return next((found for key, part in parts if (found := not_finite(part, key))), None)


def check_outputs(outputs: Any) -> None:
    """Refuse values that are not finite, from which metrics would still compute scores.

    Raises:
        InputError: there are some; names the first image.
    """
    for sample in outputs if isinstance(outputs, list | tuple) else ():
        if name := not_finite(sample):
            path = sample.get('img_path') if hasattr(sample, 'get') else None
            raise InputError(
                f'the model outputs {name} with {NOT_FINITE}'
                f'{f" for {path}" if path else ""}: its weights or its precision are the cause'
            )


def check_labels(outputs: Any, labels: Iterable, evaluator: Evaluator) -> None:
    """Refuse labels that a classifier has no score for: they would silently count as errors.

    Args:
        outputs: of a batch.
        labels: of samples: numbers, lists of numbers, or None.
        evaluator: nothing is reported if none of its metrics is known to compare scores with labels.

    Raises:
        InputError: there is one, or an image has a class twice.
    """
    if not any(library_class(m, _OF_LABELS) for top in evaluator.metrics for m in collectors(top)):
        return
    scores = _first_scores(outputs)
    if scores is None:
        return
    for sample in outputs:
        given = sample.get('gt_label')
        if isinstance(given, torch.Tensor) and len(given.unique()) < given.numel():
            raise InputError(
                f'an image has the labels {given.tolist()}: mmpretrain makes a target of 2 of what is there twice, '
                'which no prediction fulfils'
            )
    found = [np.ravel(label) for label in labels if label is not None]
    found = [label for label in found if label.size and label.dtype.kind in 'iu']
    for odd in (
        max((int(x.max()) for x in found), default=0),
        min((int(x.min()) for x in found), default=0),
    ):
        if not 0 <= odd < len(scores):
            raise InputError(
                f'the dataset has the label {odd}, but the model has scores for 0 to {len(scores) - 1} only'
            )


def _first_scores(outputs: Any) -> torch.Tensor | None:
    """The scores of classes for the first image of a batch; None without such."""
    first = outputs[0] if isinstance(outputs, list | tuple) and outputs else None
    scores = first.get('pred_score') if isinstance(first, BaseDataElement | Mapping) else None
    return scores if isinstance(scores, torch.Tensor) and scores.ndim == 1 else None


def score_warnings(outputs: Any, labels: Iterable, evaluator: Evaluator) -> list[str]:
    """Lines for the log where a metric of mmpretrain would give a perfect model less than 100.

    Args:
        outputs: of a batch.
        labels: of all samples: numbers, lists of numbers, or None.
        evaluator: with its metrics.
    """
    found = (
        classes_without_images(outputs, labels, evaluator),
        scores_below_a_threshold(outputs, evaluator),
    )
    return [line for line in found if line]


def classes_without_images(outputs: Any, labels: Iterable, evaluator: Evaluator) -> str | None:
    """A line where mmpretrain's averages over classes count some as 0 that no image has; None otherwise.

    Args:
        outputs: of a batch.
        labels: of all samples: numbers, lists of numbers, or None.
        evaluator: with its metrics.
    """
    scores, metrics = _first_scores(outputs), [m for m in evaluator.metrics if _averages(m)]
    if scores is None or not metrics:
        return None
    found = [np.ravel(label) for label in labels if label is not None]
    there = {int(x) for label in found if label.dtype.kind in 'iu' for x in label}
    lacking = sorted(set(range(len(scores))) - there)
    if not lacking or not there:
        return None
    return (
        f'no image has {len(lacking)} of the {len(scores)} classes (the first: {lacking[0]}), and the average over '
        f'classes in {type(metrics[0]).__name__} counts each as 0: a perfect model would have '
        f'{100 * len(there) / len(scores):.4g}'
    )


def scores_below_a_threshold(outputs: Any, evaluator: Evaluator) -> str | None:
    """A line where mmpretrain's metrics may take right predictions for wrong, whose scores are not above 0.

    Args:
        outputs: of a batch.
        evaluator: with its metrics.
    """
    scores = _first_scores(outputs)
    names = ('Accuracy', 'SingleLabelMetric')
    metrics = [m for m in evaluator.metrics if library_class(m, names) and None not in m.thrs]
    if scores is None or not metrics or not (scores < 0).any():
        return None
    name, threshold = type(metrics[0]).__name__, metrics[0].thrs[0]
    return (
        f'pred_score has values below 0, so it is no probability, and {name} counts a prediction as wrong whose '
        f'score is not above thrs={threshold}: set thrs=None'
    )


def _averages(metric: Any) -> bool:
    names = ('SingleLabelMetric', 'MultiLabelMetric', 'AveragePrecision')
    return library_class(metric, names) is not None and metric.average == 'macro'


def unknown_classes(outputs: Any, metainfo: Any) -> str | None:
    """A line where most of what a classifier predicts is no class of the dataset; None otherwise.

    For example, ImageNet's classes and folders of only some of them: labels are positions among the folders, so
    all predictions would silently count as errors. A model trained on those folders predicts no other classes.
    """
    classes = metainfo.get('classes') if isinstance(metainfo, Mapping) else None
    if not classes or not isinstance(outputs, list | tuple):
        return None
    found = [s.get('pred_label') for s in outputs if isinstance(s, BaseDataElement | Mapping)]
    predicted = [int(x) for x in found if isinstance(x, torch.Tensor) and x.numel() == 1]
    unknown = [number for number in predicted if number >= len(classes)]
    if 2 * len(unknown) <= len(predicted):
        return None
    return (
        f'{len(unknown)} of the first {len(predicted)} predictions are not among the {len(classes)} classes of '
        f'the dataset (the first: {unknown[0]}), and count as wrong: give the dataset all training classes '
        "in their order (those without images have empty folders), or a list with the model's labels"
    )


def without_losses(outputs: Any) -> Any:
    """A model's outputs without the losses that some models append, as in mmengine's loops."""
    last = outputs[-1] if isinstance(outputs, list) and outputs else None
    return (
        outputs[:-1] if isinstance(last, BaseDataElement) and last.keys() == ['loss'] else outputs
    )
