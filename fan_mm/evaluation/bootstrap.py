"""Paired bootstrap over images: how far a score would move with another sample of test images.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 13 (percentile
intervals). The resampling unit is the image, not the cell: one resample draws N images with
replacement and uses the same draw in every cell, clean included, because all cells show the same
images. Two models evaluated on the same images get the same draws, so their difference is paired.
With a single image all resamples are equal and carry no information: they are NaN, so that there is
no interval.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fan_mm.evaluation.calibration.measures import calibration

RESAMPLES = 1000
RESAMPLED = 'resampled'  # a kind of `PerImage`
LEVEL = 0.95
INTERVALS = {'resamples': RESAMPLES, 'level': LEVEL}  # how they are made, for results.json
_CHUNK = 2**24  # resample counts held at once: 128 MiB as float64


def resample_counts(images: int, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw how often each image occurs in each resample.

    Args:
        images: number of images N.
        resamples: number of resamples R.
        seed: the same seed and N give the same draws, for any model.

    Yields:
        Chunks ``(r, N)`` of float64 counts, R rows in all; each row sums to N.
    """
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // images)
    for start in range(0, resamples, rows):
        counts = [
            np.bincount(rng.integers(0, images, images), minlength=images)
            for _ in range(min(rows, resamples - start))
        ]
        yield np.stack(counts).astype(np.float64)


def interval(draws: np.ndarray) -> list[float] | None:
    """Percentile interval ``[low, high]`` of resampled values ``(R,)``; None if any is NaN."""
    if np.isnan(draws).any():
        return None
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


@dataclass(frozen=True)
class PerImage:
    """Contribution of each image to a score that is a function of sums over images.

    Attributes:
        kind: 'iou', 'accuracy' or 'calibration' (keys of `SCORES`); or 'resampled' for a score that is not
            a function of sums (COCO's, see `fan_mm.evaluation.average_precision`).
        keys: ``(N,)`` names of the images, in the order of the statistics.
        cells: cell ``(corruption, severity)`` -> statistics: for 'iou' ``(N, 2, C)`` pixels per class in
            the intersection and in the union of prediction and ground truth; for 'accuracy'
            ``(N, 1, 1)``, 1 where the arg max is right; for 'calibration' ``(N, V, SIZE)`` as in
            `fan_mm.evaluation.calibration.measures`, whose scores are ``(V, 3)``; for 'resampled' the scores
            ``(R,)`` of `RESAMPLES` resamples with seed 0.
        others: for 'resampled', other score -> the same per cell.
    """

    kind: str
    keys: np.ndarray
    cells: Mapping[Any, np.ndarray]
    others: Mapping[str, Mapping[Any, np.ndarray]] = field(default_factory=dict)

    def score(self, cell: tuple[str, int]) -> float:
        """The score of one cell over all images, per cent."""
        sums = self.cells[cell].sum(axis=0, dtype=np.float64)
        return float(SCORES[self.kind](sums[None], len(self.keys))[0])

    def resampled(self, resamples: int = RESAMPLES, seed: int = 0) -> dict[Any, np.ndarray]:
        """Scores ``(R, ...)`` of every cell, per cent, under the same resampled images; NaN of one image."""
        if self.kind == RESAMPLED:
            return dict(self.cells)
        images = len(self.keys)
        scores: dict[Any, list[np.ndarray]] = {cell: [] for cell in self.cells}
        for counts in resample_counts(images, resamples, seed):
            for cell, statistics in self.cells.items():
                # Integers: exact in float64, so the result does not depend on the order in which a
                # multi-threaded BLAS adds them.
                sums = counts @ statistics.reshape(images, -1).astype(np.float64)
                sums = sums.reshape(len(counts), *statistics.shape[1:])
                scores[cell].append(SCORES[self.kind](sums, images))
        found = {cell: np.concatenate(drawn) for cell, drawn in scores.items()}
        return found if images > 1 else {cell: np.full_like(d, np.nan) for cell, d in found.items()}


def mean_iou(sums: np.ndarray, images: int) -> np.ndarray:
    """Mean IoU in per cent: the mean over classes that occur of intersection / union.

    Args:
        sums: ``(R, 2, C)`` summed intersections and unions.
        images: unused; the sums are sufficient.

    Returns:
        ``(R,)``
    """
    intersection, union = sums[:, 0], sums[:, 1]
    occurs = union > 0
    iou = np.divide(intersection, union, out=np.zeros_like(intersection), where=occurs)
    with np.errstate(invalid='ignore'):
        return 100 * iou.sum(axis=1) / occurs.sum(axis=1)


def accuracy(sums: np.ndarray, images: int) -> np.ndarray:
    """Top-1 accuracy in per cent, ``(R,)``, from ``(R, 1, 1)`` counts of right answers."""
    return 100 * sums[:, 0, 0] / images


SCORES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    'iou': mean_iou,
    'accuracy': accuracy,
    'calibration': calibration,
}
