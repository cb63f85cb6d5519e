"""Calibration: how far a model's confidence is from its accuracy, from sums per image.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (ECE; one temperature for all
logits); Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.

For every image, sums over its samples (valid pixels, or the one label of an image) are kept. They are
integers, so the result does not depend on the order of summation over pixels, images or processes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fan_mm.errors import InputError

BINS = 15
MEASURES = ('ECE', 'NLL', 'Brier')
# Confidence, NLL and Brier score of a sample are rounded to multiples of 1 / UNIT: an error of at
# most 5e-7 each, and 15 times a confidence is still exact in float32.
UNIT = 2**20
SIZE = 3 * BINS + 2  # sums per image: count, correct and confidence per bin; NLL; Brier score
_LEAST = float(np.finfo(np.float32).tiny)  # lower bound of probabilities: NLL 87.3
# Values held at once: as many as fit a CPU's cache, or keep a GPU busy.
_VALUES = {'cpu': 2**20, 'cuda': 2**24}


@torch.no_grad()
def sums_of_map(
    scores: Tensor,
    labels: Tensor,
    predicted: Tensor,
    ignore_index: int = 255,
    temperatures: Sequence[float] = (1.0,),
) -> np.ndarray:
    """The sums of a label map, over all its valid pixels.

    Args:
        scores: ``(C, H, W)`` logits; or ``(1, H, W)`` probabilities of class 1 of two.
        labels: ``(H, W)`` classes.
        predicted: ``(H, W)`` predicted classes; with one channel, the more likely class is used instead.
        ignore_index: the label of ignored pixels.
        temperatures: V numbers that logits are divided by.

    Returns:
        ``(V, SIZE)`` int64.

    Raises:
        InputError: a label is no class, or the prediction is not the highest score.
    """
    channels, height, width = scores.shape
    truth, guess = (part.to(scores.device).reshape(-1) for part in (labels, predicted))
    valid = truth != ignore_index
    truth = truth.long() * valid
    _check_labels(truth, max(channels, 2))
    rows = max(1, _VALUES['cuda' if scores.is_cuda else 'cpu'] // (max(channels, 2) * width))
    parts = []
    for start in range(0, height, rows):
        logits = scores[:, start : start + rows].reshape(channels, -1)
        if channels == 1:
            logits = log_of(torch.cat([1 - logits, logits]))
        parts.append(_reduced(logits, truth[start * width : (start + rows) * width], temperatures))
    if channels == 1:
        guess = scores.reshape(-1) > 0.5
    measured = _measured(torch.cat(parts, dim=1), guess == truth, valid, temperatures)
    return torch.stack([_added_up(sample, valid) for sample in measured]).numpy()


@torch.no_grad()
def sums_of_labels(
    probabilities: Tensor, labels: Tensor, temperatures: Sequence[float] = (1.0,)
) -> np.ndarray:
    """The sums of images with one label each.

    Args:
        probabilities: ``(N, K)``, each row adding up to 1.
        labels: ``(N,)`` classes.
        temperatures: V numbers that the logits, computed as log probabilities, are divided by.

    Returns:
        ``(N, V, SIZE)`` int64.

    Raises:
        InputError: a label is no class.
    """
    labels = labels.to(probabilities.device).long()
    _check_labels(labels, probabilities.shape[1])
    reduced = _reduced(log_of(probabilities.double()).T, labels, temperatures)
    right, valid = probabilities.argmax(1) == labels, torch.ones_like(labels, dtype=torch.bool)
    measured = _measured(reduced, right, valid, temperatures)
    count = len(labels)
    sums = np.zeros((count, len(temperatures), SIZE), np.int64)
    for variant, sample in enumerate(measured):
        bins, hits, confidence, nll, brier = (s.cpu().numpy().astype(np.int64) for s in sample)
        rows = np.arange(count)
        sums[rows, variant, bins] = 1
        sums[rows, variant, BINS + bins] = hits
        sums[rows, variant, 2 * BINS + bins] = confidence
        sums[:, variant, 3 * BINS], sums[:, variant, 3 * BINS + 1] = nll, brier
    return sums


def log_of(probabilities: Tensor) -> Tensor:
    """Logarithms of probabilities; finite for a probability of 0, which may have been too small for float32."""
    return probabilities.clamp_min(_LEAST).log_()


def _check_labels(labels: Tensor, classes: int) -> None:
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise InputError(
            f'calibration: there is a label {int(wrong)}, but the model has {classes} classes'
        )


def _reduced(scores: Tensor, labels: Tensor, temperatures: Sequence[float]) -> Tensor:
    """What the measures of P samples need of their scores, without the classes.

    Only a few operations on all classes, because they dominate the run time.

    Args:
        scores: ``(C, P)`` logits.
        labels: ``(P,)`` classes.
        temperatures: V temperatures.

    Returns:
        ``(1 + 2V, P)``. With z the scores minus the highest one: z of the label; then for every
        temperature the sum over classes of exp(z / T) and of its square.
    """
    scores = scores if scores.dtype == torch.float64 else scores.float()
    found = scores.new_empty(1 + 2 * len(temperatures), scores.shape[1])
    shifted = scores - scores.amax(0)
    torch.gather(shifted, 0, labels[None], out=found[:1])
    shares = torch.empty_like(shifted)
    for place, temperature in enumerate(temperatures):
        if temperature == 1:
            torch.exp(shifted, out=shares)
        else:
            torch.mul(shifted, 1 / temperature, out=shares).exp_()
        torch.sum(shares, 0, out=found[1 + 2 * place])
        torch.sum(shares.square_(), 0, out=found[2 + 2 * place])
    return found


def _measured(
    reduced: Tensor, right: Tensor, valid: Tensor, temperatures: Sequence[float]
) -> list[tuple[Tensor, ...]]:
    """Bin, right, confidence, NLL and Brier score of samples ``(P,)``, per temperature.

    Args:
        reduced: from `_reduced`.
        right: ``(P,)`` whether the prediction is correct.
        valid: ``(P,)`` which samples are not ignored.
        temperatures: V temperatures.
    """
    true, *rest = reduced
    if (right & valid & (true < 0)).any():
        raise InputError(
            'calibration: the prediction is not the class with the highest score, so the scores are '
            'not those that it was made from'
        )
    found: list[tuple[Tensor, ...]] = []
    for place, temperature in enumerate(temperatures):
        total, squares = rest[2 * place : 2 * place + 2]
        of_label = true / temperature
        nll = (total.log() - of_label).clamp_max_(-np.log(_LEAST))
        if nll.isnan().any():
            raise InputError('calibration: there are scores that are not finite')
        brier = squares / total.square() - 2 * of_label.exp() / total + 1
        confidence = _units(1 / total)
        # bins (b / 15, (b + 1) / 15], as in Guo et al.
        bins = ((confidence * BINS - 1) / UNIT).floor_()
        found.append((bins, right, confidence, _units(nll), _units(brier)))
    return found


def _units(values: Tensor) -> Tensor:
    return values.mul_(UNIT).round_()


def _added_up(sample: tuple[Tensor, ...], valid: Tensor) -> Tensor:
    """The sums ``(SIZE,)`` over the valid ones of samples ``(P,)``."""
    bins, right, confidence, nll, brier = sample
    if not valid.all():
        bins, right, confidence, nll, brier = (s[valid] for s in sample)
    keys = bins.long() + BINS * right
    counts, held = (_by_masks if keys.is_cuda else _by_bincount)(keys, confidence)
    counts, held = counts.view(2, BINS).long(), held.view(2, BINS).sum(0).long()
    rest = [values.sum(dtype=torch.float64)[None].long() for values in (nll, brier)]
    return torch.cat([counts.sum(0), counts[1], held, *rest]).cpu()


def _by_bincount(keys: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Number and summed confidence of the samples of each key, on a CPU."""
    return (
        torch.bincount(keys, minlength=2 * BINS),
        torch.bincount(keys, confidence.double(), minlength=2 * BINS),
    )


def _by_masks(keys: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """The same on a GPU, where bincount with weights is refused by deterministic algorithms."""
    masks = [keys == key for key in range(2 * BINS)]
    return (
        torch.stack([mask.sum() for mask in masks]),
        torch.stack([(confidence * mask).sum(dtype=torch.float64) for mask in masks]),
    )


def bins_of(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples, right ones and summed confidence per bin, ``(..., BINS)`` float64 each."""
    sums = np.asarray(sums, np.float64)
    return (
        sums[..., :BINS],
        sums[..., BINS : 2 * BINS],
        sums[..., 2 * BINS : 3 * BINS] / UNIT,
    )


def calibration(sums: np.ndarray, images: int = 0) -> np.ndarray:
    """ECE in per cent, NLL in nats and Brier score (0 to 2): `MEASURES`.

    Args:
        sums: ``(..., SIZE)``, summed over images.
        images: unused; the sums are sufficient.

    Returns:
        ``(..., 3)``; NaN if there are no samples.
    """
    counts, right, confidence = bins_of(sums)
    with np.errstate(invalid='ignore'):
        samples = counts.sum(-1)
        gaps = np.abs(right - confidence).sum(-1)
        rest = np.asarray(sums[..., 3 * BINS :], np.float64) / UNIT
        return np.concatenate(
            [(100 * gaps / samples)[..., None], rest / samples[..., None]], axis=-1
        )


def packed(sums: np.ndarray) -> np.ndarray:
    """The same whole numbers in the smallest unsigned type."""
    return sums.astype(np.min_scalar_type(int(sums.max(initial=0))))
