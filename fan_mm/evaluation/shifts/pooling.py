"""Scores of the images of several conditions together, and of resamples of their scenes.

A percentile bootstrap over scenes (Efron and Tibshirani, 1993, chapters 6 and 13). Conditions are
resampled independently, or together if they show the same scenes (three densities of the same fog,
Cityscapes with and without rain). With a single scene there are no resamples: they are NaN. The draws
depend only on the scenes, so that two models get the same draws.
"""

import copy
import hashlib
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, NamedTuple

import numpy as np

from fan_mm.evaluation.average_precision import Matches, average_precisions, mean_ap, together
from fan_mm.evaluation.bootstrap import RESAMPLED, RESAMPLES, mean_iou, resample_counts

POOLED, MEAN = 'pooled', 'mean_of_conditions'


class ShiftCell(NamedTuple):
    """A condition of a set; `CLEAN_COLUMN` is the clean column."""

    set: str
    condition: str

    def __str__(self) -> str:
        return self.set if self == CLEAN_COLUMN else f'{self.set}/{self.condition}'


CLEAN_COLUMN = ShiftCell('clean', 'clean')
Scenes = Mapping[ShiftCell, np.ndarray]  # cell -> ``(N,)`` names of its images' scenes


def strata(scenes: Scenes) -> Iterator[tuple[ShiftCell, ...]]:
    """Groups of cells that show some of the same scenes, directly or through others."""
    groups: list[tuple[set, list]] = []
    for cell, names in scenes.items():
        shown, members = set(names.tolist()), [cell]
        for group in [g for g in groups if not shown.isdisjoint(g[0])]:
            groups.remove(group)
            shown, members = shown | group[0], group[1] + members
        groups.append((shown, members))
    return (tuple(cells) for _, cells in groups)


def resampled_counts(scenes: Scenes, resamples: int = RESAMPLES) -> dict[ShiftCell, np.ndarray]:
    """How often ``(R, N)`` each image of every cell occurs in each resample of scenes."""
    found: dict[ShiftCell, np.ndarray] = {}
    for cells in strata(scenes):
        names, places = np.unique(
            np.concatenate([scenes[cell] for cell in cells]), return_inverse=True
        )
        ends = np.cumsum([len(scenes[cell]) for cell in cells])[:-1]
        chunks = resample_counts(len(names), resamples, seed_of(names))
        counts = np.concatenate([chunk.astype(np.uint16) for chunk in chunks])
        found |= {c: counts[:, own] for c, own in zip(cells, np.split(places, ends), strict=True)}
    return found


def seed_of(names: np.ndarray) -> int:
    """The seed of the draws of some scenes, from their sorted names."""
    return int(hashlib.sha256('\0'.join(names.tolist()).encode()).hexdigest()[:12], 16)


class Pooled:
    """The images of some cells, of which any subset can be scored together.

    Args:
        scenes: scenes of all cells.
        resamples: R, the number of resamples.

    Attributes:
        statistics: statistics of the finished cells; their form depends on the subclass.
        metric: name of the per-class scores.
        truth: name of the per-class scores that exist only for classes with ground truth.
    """

    metric: str
    truth: str

    def __init__(self, scenes: Scenes, resamples: int = RESAMPLES) -> None:
        self.scenes, self.resamples = scenes, resamples
        self.statistics: dict[ShiftCell, Any] = {}

    def __contains__(self, cell: ShiftCell) -> bool:
        return cell in self.statistics

    @cached_property
    def counts(self) -> dict[ShiftCell, np.ndarray]:
        """See `resampled_counts`."""
        return resampled_counts(self.scenes, self.resamples)

    @cached_property
    def single_scene(self) -> frozenset[ShiftCell]:
        """The cells of strata with one scene, of which all resamples are the same and say nothing."""
        return frozenset(
            cell
            for cells in strata(self.scenes)
            if len({name for c in cells for name in self.scenes[c].tolist()}) < 2
            for cell in cells
        )

    def score(self, cells: Sequence[ShiftCell], scored: Sequence[int]) -> float:
        """The score of all images of some cells, over some classes, per cent; NaN if there is none."""
        raise NotImplementedError

    def drawn(self, cells: Sequence[ShiftCell], scored: Sequence[int]) -> np.ndarray:
        """The same ``(R,)`` of resamples; NaN if a cell is one of `single_scene`."""
        raise NotImplementedError

    def per_class(self, cells: Sequence[ShiftCell]) -> np.ndarray:
        """``(C,)`` what the score is the mean of, per cent; NaN of classes that are left out."""
        raise NotImplementedError


class PooledSums(Pooled):
    """Scores that are functions of sums over images.

    The statistics of a cell are integers ``(N, ...)``.
    """

    statistics: dict[ShiftCell, np.ndarray]

    def __init__(self, scenes: Scenes, resamples: int = RESAMPLES) -> None:
        super().__init__(scenes, resamples)
        self._draws: dict[ShiftCell, np.ndarray] = {}

    def drawn_sums(self, cell: ShiftCell) -> np.ndarray:
        """Sums ``(R, ...)`` over the images of each resample."""
        if cell not in self._draws:
            # Integers: exact in float64 in any order of summation.
            statistics = self.statistics[cell]
            flat = statistics.reshape(len(statistics), -1).astype(np.float64)
            sums = self.counts[cell].astype(np.float64) @ flat
            if cell in self.single_scene:
                sums[:] = np.nan
            self._draws[cell] = sums.reshape(-1, *statistics.shape[1:])
        return self._draws[cell]


class PooledIoU(PooledSums):
    """Mean IoU of the sum of the cells' confusion matrices.

    The statistics of a cell are ``(N, 2, C)``, pixels per class in intersection and union.
    """

    metric, truth = 'IoU', 'Acc'

    def score(self, cells: Sequence[ShiftCell], scored: Sequence[int]) -> float:
        return float(mean_iou(self._sums(cells)[None][:, :, list(scored)], 0)[0])

    def drawn(self, cells: Sequence[ShiftCell], scored: Sequence[int]) -> np.ndarray:
        return mean_iou(added(map(self.drawn_sums, cells))[:, :, list(scored)], 0)

    def per_class(self, cells: Sequence[ShiftCell]) -> np.ndarray:
        intersection, union = self._sums(cells)
        return np.divide(
            100 * intersection, union, out=np.full(len(union), np.nan), where=union > 0
        )

    def _sums(self, cells: Sequence[ShiftCell]) -> np.ndarray:
        return added(self.statistics[cell].sum(axis=0, dtype=np.float64) for cell in cells)


class PooledAP(Pooled):
    """COCO's box mAP, or another score of boxes or masks, of all detections of the cells ranked together.

    The statistics of a cell are `fan_mm.evaluation.average_precision.Matches` for 'bbox' and 'segm'.
    """

    statistics: dict[ShiftCell, Mapping[str, Matches]]
    metric = truth = 'bbox_mAP'

    def __init__(self, scenes: Scenes, resamples: int = RESAMPLES) -> None:
        super().__init__(scenes, resamples)
        # All scores of boxes, or of masks, are computed at once.
        self._alone: dict[tuple[str, tuple[ShiftCell, ...]], dict[str, np.ndarray]] = {}
        self._drawn: dict[tuple[str, tuple[ShiftCell, ...]], dict[str, np.ndarray]] = {}

    def of(self, metric: str) -> 'PooledAP':
        """Another score of the same images and draws, such as 'segm_mAP_50'."""
        assert self.counts is not None  # created once for all scores
        other = copy.copy(self)
        other.metric = other.truth = metric
        return other

    def __contains__(self, cell: ShiftCell) -> bool:
        matches = self.statistics.get(cell, {}).get(self._kind)
        return matches is not None and self._name in matches.scores

    @property
    def _kind(self) -> str:
        return self.metric.partition('_')[0]

    @property
    def _name(self) -> str:
        return self.metric.partition('_')[2]

    def score(self, cells: Sequence[ShiftCell], scored: Sequence[int]) -> float:
        return float(mean_ap(self.per_class(cells)[None, list(scored)])[0])

    def drawn(self, cells: Sequence[ShiftCell], scored: Sequence[int]) -> np.ndarray:
        if not self.single_scene.isdisjoint(cells):
            return np.full(self.resamples, np.nan)
        key = self._kind, tuple(cells)
        if key not in self._drawn:
            counts = np.concatenate([self.counts[cell] for cell in cells], axis=1)
            self._drawn[key] = average_precisions(self._together(cells), counts)
        return mean_ap(self._drawn[key][self._name][:, list(scored)])

    def per_class(self, cells: Sequence[ShiftCell]) -> np.ndarray:
        key = self._kind, tuple(cells)
        if key not in self._alone:
            self._alone[key] = self._together(cells).per_class()
        return self._alone[key][self._name]

    def _together(self, cells: Sequence[ShiftCell]) -> Matches:
        return together([self.statistics[cell][self._kind] for cell in cells])


@dataclass(frozen=True)
class StoredDraws:
    """`Pooled.drawn` as stored in per_image.npz, for scores that cannot be computed from its other arrays.

    Attributes:
        draws: ``(R,)`` for every cell and for ``(set, 'pooled')``.
    """

    draws: Mapping[ShiftCell, np.ndarray]

    def __contains__(self, cell: ShiftCell) -> bool:
        return cell in self.draws

    def drawn(self, cells: Sequence[ShiftCell], scored: Sequence[int]) -> np.ndarray | None:
        """See `Pooled.drawn`; of one cell, or of all of a set. None if it is not there."""
        return self.draws.get(cells[0] if len(cells) == 1 else ShiftCell(cells[0].set, POOLED))


def added(parts: Iterable[np.ndarray]) -> np.ndarray:
    """The sum of one or more arrays of one shape."""
    return reduce(operator.add, parts)


def combined(
    over: str, sums: Sequence[np.ndarray], score: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """A score of several conditions: of all their images, or the mean of theirs.

    Args:
        over: `POOLED` or `MEAN`.
        sums: sums of the conditions.
        score: function from sums to the score.
    """
    return score(added(sums)) if over == POOLED else added(map(score, sums)) / len(sums)


def pool(
    statistics: Mapping[ShiftCell, np.ndarray | Mapping[str, Matches]],
    scenes: Scenes,
    resamples: int = RESAMPLES,
) -> Pooled:
    """Pool the images of some cells; the same scenes get the same draws."""
    boxes = any(isinstance(found, Mapping) for found in statistics.values())
    pooled: Pooled = (PooledAP if boxes else PooledIoU)(scenes, resamples)
    pooled.statistics |= statistics
    return pooled


def by_cell(arrays: Mapping[str, np.ndarray], what: str) -> dict[ShiftCell, np.ndarray]:
    """'sums', 'draws' (of another score its name), 'keys' or 'scenes' by cell, from per_image.npz."""
    start = f'{what}/'
    return {
        ShiftCell(*name.removeprefix(start).split('/', 1)): array
        for name, array in arrays.items()
        if name.startswith(start)
    }


def drawn_alike(
    first: Mapping[str, np.ndarray] | None,
    second: Mapping[str, np.ndarray] | None,
    score: str | None = None,
) -> tuple[PooledSums | StoredDraws, ...] | None:
    """Two models' cells with the same images; None where there is nothing to draw.

    Args:
        first: arrays of per_image.npz or calibration.npz.
        second: arrays of the other model.
        score: name of a score other than the results' metric.
    """
    if first is None or second is None or _kind(first) != _kind(second):
        return None
    both = (first, second)
    keys = [by_cell(arrays, 'keys') for arrays in both]
    common = [c for c in keys[0] if c in keys[1] and np.array_equal(keys[0][c], keys[1][c])]
    scenes = [by_cell(arrays, 'scenes') for arrays in both]
    if _kind(first) == RESAMPLED:
        return _stored_alike(both, common, scenes, score or 'draws')
    if score:
        return None
    kind = PooledIoU if _kind(first) == 'iou' else PooledSums
    pooled = tuple(kind({cell: scenes[0][cell] for cell in common}) for _ in both)
    for found, arrays in zip(pooled, both, strict=True):
        sums = by_cell(arrays, 'sums')
        found.statistics |= {cell: sums[cell] for cell in common}
    return pooled


def _stored_alike(
    both: Sequence[Mapping[str, np.ndarray]],
    common: Sequence[ShiftCell],
    scenes: Sequence[Scenes],
    what: str,
) -> tuple[StoredDraws, ...]:
    """The draws of cells whose strata have the same scenes in both files; `what` as in `by_cell`."""
    seeds = [
        {
            cell: seed_of(np.unique(np.concatenate([of_one[c] for c in cells])))
            for cells in strata(of_one)
            for cell in cells
        }
        for of_one in scenes
    ]
    alike = {cell for cell in common if seeds[0][cell] == seeds[1][cell]}
    other = {cell.set for of_one in scenes for cell in of_one if cell not in alike}
    alike |= {ShiftCell(cell.set, POOLED) for cell in alike if cell.set not in other}
    return tuple(
        StoredDraws({c: d for c, d in by_cell(arrays, what).items() if c in alike})
        for arrays in both
    )


def _kind(arrays: Mapping[str, np.ndarray]) -> str:
    return str(arrays['kind'])
