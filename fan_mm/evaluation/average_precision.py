"""COCO's average precisions of any sample of images; each image is matched only once.

Average precision is not a function of sums over images, because precision depends on the ranking of all
detections. But matching considers each image separately and needs to be done only once
(`fan_mm.evaluation.matching`). For a resample, or for the union of several sets, the detections and objects of
each image are then counted as often as the image occurs (pycocotools' ``accumulate``, for many resamples at
once).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fan_mm.evaluation.bootstrap import RESAMPLES, resample_counts

KINDS = ('bbox', 'segm')
_RECALLS = np.linspace(0.0, 1.0, 101)  # COCO's recall thresholds
_BLOCK = 64  # minimum number of resamples at once: a row fills a few cache lines
_COUNTS = 2**18  # image counts held at once, for small sets


class _Score(NamedTuple):
    """Which precisions COCO averages for a score: IoU, area range, limit of detections."""

    overlap: float | None  # None: the mean over all
    area: int  # position among 'all', 'small', 'medium', 'large'
    limit: int  # position in `Matches.most`


_SCORES = {
    'mAP': _Score(None, 0, 0),
    'mAP_50': _Score(0.5, 0, 1),
    'mAP_75': _Score(0.75, 0, 1),
    'mAP_s': _Score(None, 1, 1),
    'mAP_m': _Score(None, 2, 1),
    'mAP_l': _Score(None, 3, 1),
}


@dataclass(frozen=True, eq=False)
class Matches:
    """Matched detections of N images, for K classes, T IoU thresholds and A area ranges.

    Detections are sorted by class, then by descending score; equal scores are in the order of image ids.

    Attributes:
        size: ``(2,)``: N and K.
        overlaps: ``(T,)`` IoU thresholds; NaN if unknown.
        most: ``(2,)`` maximum number of detections per image and class, for mAP and for the other scores.
        image: ``(D,)`` position of the image.
        label: ``(D,)`` position of the class.
        score: ``(D,)`` confidence.
        hit: ``(A, D, T)`` whether an object was matched.
        ignored: ``(A, D, T)`` whether the detection is ignored: it matches a crowd or an object outside the
            area range, or is unmatched and itself outside the range.
        truth: ``(P, 2 + A)`` image, class and number of its objects in each area range.
    """

    size: np.ndarray
    overlaps: np.ndarray
    most: np.ndarray
    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    ignored: np.ndarray
    truth: np.ndarray

    @property
    def scores(self) -> list[str]:
        """Names of the available scores: those of evaluated IoU thresholds and areas."""
        areas, known = len(self.hit), set(self.overlaps.round(6).tolist())
        return [
            name
            for name, score in _SCORES.items()
            if score.area < areas and score.overlap in (None, *known)
        ]

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        """All arrays, of boxes or masks, by the names under which they are stored; truth values as bits."""
        packed = {name: np.packbits(getattr(self, name), axis=-1) for name in ('hit', 'ignored')}
        return {f'matches/{kind}/{name}': a for name, a in {**vars(self), **packed}.items()}

    @classmethod
    def read(
        cls, stored: Callable[[str], np.ndarray | None], kind: str = 'bbox'
    ) -> 'Matches | None':
        """What was stored under these names; None if nothing was."""
        names = cls.__dataclass_fields__
        found = {name: a for name in names if (a := stored(f'matches/{kind}/{name}')) is not None}
        if len(found) < len(names):
            return _of_earlier_version(stored) if kind == 'bbox' else None
        for name in ('hit', 'ignored'):
            bits = np.unpackbits(found[name], axis=-1, count=len(found['overlaps']))
            found[name] = bits.view(bool)
        return cls(**found)

    def per_class(self) -> dict[str, np.ndarray]:
        """Score -> AP ``(K,)`` of all images, per cent; NaN of a class without such objects."""
        found = average_precisions(self, np.ones((1, int(self.size[0]))))
        return {name: values[0] for name, values in found.items()}

    def resampled(self, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, np.ndarray]:
        """Score -> its values ``(R,)`` of resampled images (see `resample_counts`), per cent; NaN of one."""
        if self.size[0] < 2:
            return {name: np.full(resamples, np.nan) for name in self.scores}
        chunks = resample_counts(int(self.size[0]), resamples, seed)
        parts = [average_precisions(self, counts) for counts in chunks]
        return {n: np.concatenate([mean_ap(part[n]) for part in parts]) for n in self.scores}


def _of_earlier_version(stored: Callable[[str], np.ndarray | None]) -> Matches | None:
    """Boxes of all areas, with IoU thresholds that were not stored: only mAP can be derived from them."""
    names = ('size', 'image', 'label', 'score', 'hit', 'ignored', 'truth')
    found = {name: a for name in names if (a := stored(f'boxes/{name}')) is not None}
    if len(found) < len(names):
        return None
    areas = {name: found[name][None] for name in ('hit', 'ignored')}
    overlaps = np.full(found['hit'].shape[1], np.nan)
    return Matches(**{**found, **areas}, overlaps=overlaps, most=np.array([100, 100]))


def mean_ap(precisions: np.ndarray) -> np.ndarray:
    """Mean of AP ``(R, K)`` over the classes that have objects: ``(R,)``; NaN where none has."""
    there = ~np.isnan(precisions)
    with np.errstate(invalid='ignore'):
        return np.where(there, precisions, 0).sum(1) / there.sum(1)


def together(parts: Sequence[Matches]) -> Matches:
    """Join the images of several sets, in the order given, with the areas that all of them have."""
    starts = np.cumsum([0, *(part.size[0] for part in parts)])
    after = list(zip(parts, starts, strict=False))
    areas = min(len(part.hit) for part in parts)
    label, score = (np.concatenate([getattr(p, n) for p in parts]) for n in ('label', 'score'))
    order = np.lexsort((-score, label))  # stable: equal scores keep their order
    hit, ignored = (
        np.concatenate([getattr(p, n)[:areas] for p in parts], axis=1)[:, order]
        for n in ('hit', 'ignored')
    )
    return Matches(
        size=np.array([starts[-1], parts[0].size[1]]),
        overlaps=max((part.overlaps for part in parts), key=lambda o: np.isnan(o).any()),
        most=parts[0].most,
        image=np.concatenate([part.image + start for part, start in after])[order],
        label=label[order],
        score=score[order],
        hit=hit,
        ignored=ignored,
        truth=np.concatenate(
            [part.truth[:, : 2 + areas] + [start, *[0] * (1 + areas)] for part, start in after]
        ),
    )


def average_precisions(matches: Matches, counts: np.ndarray) -> dict[str, np.ndarray]:
    """AP of each class as COCO computes it, with each image counted the given number of times.

    Args:
        matches: matches of N images.
        counts: ``(R, N)`` how often each image occurs; integers.

    Returns:
        Score -> ``(R, K)`` per cent; NaN for classes without such objects.
    """
    images, classes = matches.size
    found = {name: np.empty((len(counts), classes)) for name in matches.scores}
    rank = _ranks(matches)
    limits = [min(int(most), int(rank.max(initial=0)) + 1) for most in matches.most]
    wanted = dict.fromkeys((_SCORES[n].area, limits[_SCORES[n].limit]) for n in found)
    ends = np.searchsorted(matches.label, np.arange(classes + 1))
    image, label = matches.truth[:, 0], matches.truth[:, 1]
    step = max(_BLOCK, _COUNTS // max(int(images), 1))
    for area, limit in wanted:
        names = [n for n in found if (_SCORES[n].area, limits[_SCORES[n].limit]) == (area, limit)]
        number = matches.truth[:, 2 + area].astype(float)
        objects = _counted(label, image, number, (classes, images))
        counting = np.flatnonzero(rank < limit)
        parts = np.split(counting, np.searchsorted(counting, ends[1:-1]))
        ranked = [_Ranked(matches, area, part) for part in parts]
        for start in range(0, len(counts), step):
            block = slice(start, start + step)
            drawn = np.ascontiguousarray(counts[block].T, dtype=float)
            truth = objects @ drawn
            for k in range(classes):
                at_overlaps = ranked[k].average_precision(drawn, truth[k])
                for name in names:
                    found[name][block, k] = _over(at_overlaps, matches, _SCORES[name].overlap)
    return found


def _over(at_overlaps: np.ndarray, matches: Matches, overlap: float | None) -> np.ndarray:
    """The mean of ``(T, R)`` over overlaps, or the values at one overlap."""
    if overlap is None:
        return at_overlaps.mean(axis=0)
    return at_overlaps[matches.overlaps.round(6).tolist().index(overlap)]


def _ranks(matches: Matches) -> np.ndarray:
    """How many detections of the same image and class have a higher score, ``(D,)``."""
    key = matches.label.astype(np.int64) * int(matches.size[0]) + matches.image
    order = np.argsort(key, kind='stable')
    first = np.append(True, np.diff(key[order]) > 0)[: len(key)]
    starts = np.flatnonzero(first)
    ranks = np.empty(len(key), np.int64)
    ranks[order] = np.arange(len(key)) - starts[np.cumsum(first) - 1]
    return ranks


class _Ranked:
    """The detections of one class, ranked by score."""

    def __init__(self, matches: Matches, area: int, part: np.ndarray) -> None:
        image = matches.image[part]
        counted = ~matches.ignored[area, part]
        right = matches.hit[area, part] & counted
        # Recall increases only at true positives, and COCO uses only their precision.
        self.ends = np.flatnonzero(right.any(axis=1))
        self.images = int(matches.size[0])
        # Whether a detection is ignored rarely depends on the IoU threshold.
        usual = counted[:, -1]
        self.usual = self._summed(self.ends, usual.astype(float), image)
        self.overlaps = []
        for t in range(counted.shape[1]):
            rows = np.flatnonzero(right[self.ends, t])
            at = self.ends[rows]
            differing = counted[:, t].astype(float) - usual
            correction = self._summed(at, differing, image) if differing.any() else None
            self.overlaps.append((rows, image[at], correction))

    def _summed(self, ends: np.ndarray, numbers: np.ndarray, image: np.ndarray) -> Any:
        """``(len(ends), N)``: sums of detections' numbers for each image between the last end and this."""
        detections = np.flatnonzero(numbers)
        rows = np.searchsorted(ends, detections)
        inside = rows < len(ends)
        rows, detections = rows[inside], detections[inside]
        shape = (len(ends), self.images)
        return _counted(rows, image[detections], numbers[detections], shape)

    def average_precision(self, drawn: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """AP at each overlap ``(T, R)``, per cent, of images ``(N, R)``, of which ``(R,)`` objects count."""
        found = np.zeros((len(self.overlaps), len(truth)))
        if not len(self.ends) or not truth.any():
            return np.where(truth > 0, found, np.nan)
        # Integers: exact in float64 in any order of summation.
        so_far = np.cumsum(self.usual @ drawn, axis=0)
        for t, (rows, image, correction) in enumerate(self.overlaps):
            if not len(rows):
                continue
            right = np.cumsum(drawn[image], axis=0)
            counted = so_far[rows]
            if correction is not None:
                counted += np.cumsum(correction @ drawn, axis=0)
            precision = right / (counted + np.spacing(1))
            # the maximum precision at this recall or higher
            best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
            found[t] = _steps(best, right / np.maximum(truth, 1))
        found *= 100 / len(_RECALLS)
        return np.where(truth > 0, found, np.nan)


def _counted(
    rows: np.ndarray, columns: np.ndarray, numbers: np.ndarray, shape: tuple[int, int]
) -> Any:
    """The sparse matrix of numbers at rows and columns; those at the same place are added up."""
    from scipy.sparse import csr_matrix  # imported late, as it is slow

    return csr_matrix((numbers, (rows, columns)), shape=shape)


def _steps(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Sum ``(R,)`` of precisions ``(P, R)`` at the recalls of COCO; 0 where a recall is not reached."""
    nearest = np.rint(recall * (len(_RECALLS) - 1)).astype(np.intp)
    reached = nearest + (_RECALLS[nearest] <= recall)  # number of thresholds reached
    reached[1:] -= reached[:-1].copy()
    return np.einsum('ij,ij->j', precision, reached)
