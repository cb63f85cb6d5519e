"""Calibration of classifiers and segmenters as an mmengine metric, for any evaluator."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from torch import Tensor

from fan_mm.engine.onnx_file import are_probabilities
from fan_mm.errors import InputError
from fan_mm.evaluation.calibration.measures import (
    MEASURES,
    calibration,
    sums_of_labels,
    sums_of_map,
)

VARIANTS = ('plain', 'scaled')


@METRICS.register_module()
class CalibrationMetric(BaseMetric):
    """ECE (15 equal-width bins, per cent), NLL (nats) and Brier score (0 to 2).

    For segmenters, over all valid pixels of ``seg_logits`` at the size of the label map, which are
    probabilities if there is one channel and logits otherwise. For classifiers, from ``pred_score``.
    Only sums per image are kept.

    Example:
        >>> val_evaluator = [dict(type='IoUMetric'), dict(type='CalibrationMetric')]

    Args:
        ignore_index: label of ignored pixels.
        temperature: divides the logits; the resulting values are added as 'ECE_scaled' and so on.
        collect_device: see mmengine.
        prefix: see mmengine.

    Raises:
        InputError: while processing, of outputs that have no probabilities.
    """

    default_prefix = 'calibration'

    def __init__(
        self,
        ignore_index: int = 255,
        temperature: float | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.ignore_index = ignore_index
        self.temperature = temperature

    @property
    def temperatures(self) -> tuple[float, ...]:
        """What the logits are divided by: 1, and the temperature if there is one."""
        return (1.0,) if self.temperature is None else (1.0, self.temperature)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Add up each picture's samples."""
        if data_samples and 'gt_label' in data_samples[0]:
            probabilities, labels = scores_of_pictures(data_samples)
            self.results += list(sums_of_labels(probabilities, labels, self.temperatures))
            return
        for sample in data_samples:
            scores, labels, predicted = scores_of_map(sample)
            self.results.append(
                sums_of_map(scores, labels, predicted, self.ignore_index, self.temperatures)
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The three measures, of the temperature's logits with '_scaled' behind their names."""
        values = calibration(np.sum(results, axis=0))
        names = ('', '_scaled')
        return {
            f'{measure}{end}': float(value)
            for end, row in zip(names, values, strict=False)
            for measure, value in zip(MEASURES, row, strict=True)
        }


def scores_of_map(sample: Mapping) -> tuple[Tensor, Tensor, Tensor]:
    """Scores ``(C, H, W)``, labels and prediction ``(H, W)`` of a segmenter's image.

    Raises:
        InputError: there are none, they are of another size, or of one channel no probabilities, or of several
            probabilities already.
    """
    parts: list[Any] = [sample.get(k) for k in ('seg_logits', 'gt_sem_seg', 'pred_sem_seg')]
    found = [part.get('data') if hasattr(part, 'get') else None for part in parts]
    scores, labels, predicted = found
    if not isinstance(scores, Tensor) or scores.ndim != 3:
        raise InputError(
            'calibration: the model returns no seg_logits (C, H, W) for its probabilities; '
            'classifiers must return pred_score and one gt_label'
        )
    if not isinstance(labels, Tensor) or not isinstance(predicted, Tensor):
        missing = 'pred_sem_seg' if isinstance(labels, Tensor) else 'gt_sem_seg'
        raise InputError(f'calibration: there is no {missing} in addition to the seg_logits')
    size = scores.shape[1:]
    if labels.numel() != size.numel() or predicted.numel() != size.numel():
        raise InputError(
            f'calibration: the seg_logits are {list(size)}, the label map is '
            f'{list(labels.shape[-2:])}: they must have the same size'
        )
    if len(scores) == 1 and (scores.min() < 0 or scores.max() > 1):
        raise InputError(
            'calibration: seg_logits of one channel are probabilities, but here some are not between '
            '0 and 1'
        )
    if len(scores) > 1 and are_probabilities(scores[None]):
        raise InputError(
            'calibration: seg_logits are not negative and sum to 1 over the classes: they are probabilities already, '
            'of which the softmax would be taken once more'
        )
    return scores, labels.reshape(size), predicted.reshape(size)


def scores_of_pictures(samples: Sequence[Mapping]) -> tuple[Tensor, Tensor]:
    """Probabilities ``(N, K)`` and labels ``(N,)`` of a classifier's images.

    Raises:
        InputError: there are none, or an image has several labels.
    """
    scores: list[Any] = [sample.get('pred_score') for sample in samples]
    labels: list[Any] = [sample.get('gt_label') for sample in samples]
    if not all(isinstance(score, Tensor) and score.ndim == 1 for score in scores):
        raise InputError(
            'calibration: the model returns no pred_score, a probability for each class'
        )
    if not all(isinstance(label, Tensor) and label.numel() == 1 for label in labels):
        raise InputError('calibration: some images do not have exactly one label')
    return checked(torch.stack(scores)), torch.cat([label.reshape(1) for label in labels])


def checked(probabilities: Tensor) -> Tensor:
    """Probabilities ``(N, K)`` in float32.

    Raises:
        InputError: they are none.
    """
    probabilities = probabilities.float()
    if (probabilities < 0).any() or ((probabilities.sum(1) - 1).abs() > 0.02).any():
        raise InputError(
            'calibration: pred_score does not sum to 1 over the classes, so it is not a probability '
            'distribution'
        )
    return probabilities
