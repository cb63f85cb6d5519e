"""COCO's average precision of any sample of images, from what was matched in each image once.

mAP is no function of sums over images: its precisions follow from all detections in the order of their
scores. What can be done once is the matching, which looks at one image alone (pycocotools' ``COCOeval``
does it). A resample, or the images of several sets together, then only counts each image's detections
and objects as often as it occurs (pycocotools' ``accumulate``, for many resamples at once).
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fan_mm.evaluation.bootstrap import RESAMPLES, resample_counts

MOST = 100  # detections of an image and class that COCO's mAP counts
_RECALLS = np.linspace(0.0, 1.0, 101)  # at which COCO takes the precision
_AREAS = (0.0, 1e10)  # COCO's 'all'; unmatched boxes of another area do not count
_BLOCK = 64  # resamples at once: a row of them fits a few cache lines


@dataclass(frozen=True, eq=False)
class Matches:
    """What was found in N images, of K classes, at T overlaps.

    Detections are sorted by class, then by falling score, of equal ones in the order of the images' ids.

    Attributes:
        size: ``(2,)``: N and K.
        image: ``(D,)`` position of the image.
        label: ``(D,)`` position of the class.
        score: ``(D,)``
        hit: ``(D, T)`` whether an object was matched.
        ignored: ``(D, T)`` whether the detection counts neither way (it matches a crowd).
        truth: ``(P, 3)`` image, class and how many objects of it that count.
    """

    size: np.ndarray
    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    ignored: np.ndarray
    truth: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by the names under which it is stored."""
        return {f'boxes/{field.name}': getattr(self, field.name) for field in fields(self)}

    @classmethod
    def read(cls, stored: Callable[[str], np.ndarray | None]) -> 'Matches | None':
        """What was stored under these names; None if nothing was."""
        names = [field.name for field in fields(cls)]
        found = {name: a for name in names if (a := stored(f'boxes/{name}')) is not None}
        return cls(**found) if len(found) == len(names) else None

    def per_class(self) -> np.ndarray:
        """AP ``(K,)`` of all images, per cent; NaN of a class without objects."""
        return average_precisions(self, np.ones((1, int(self.size[0]))))[0]

    def resampled(self, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
        """Box mAP ``(R,)`` of resampled images, per cent (see `resample_counts`)."""
        chunks = resample_counts(int(self.size[0]), resamples, seed)
        return np.concatenate([mean_ap(average_precisions(self, counts)) for counts in chunks])


def mean_ap(precisions: np.ndarray) -> np.ndarray:
    """Mean of AP ``(R, K)`` over the classes that have objects: ``(R,)``; NaN where none has."""
    there = ~np.isnan(precisions)
    with np.errstate(invalid='ignore'):
        return np.where(there, precisions, 0).sum(1) / there.sum(1)


def together(parts: Sequence[Matches]) -> Matches:
    """The images of several sets as one set, in the order given."""
    starts = np.cumsum([0, *(part.size[0] for part in parts)])
    after = list(zip(parts, starts, strict=False))
    label, score, hit, ignored = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ('label', 'score', 'hit', 'ignored')
    )
    order = np.lexsort((-score, label))  # stable: equal scores as they come
    return Matches(
        size=np.array([starts[-1], parts[0].size[1]]),
        image=np.concatenate([part.image + start for part, start in after])[order],
        label=label[order],
        score=score[order],
        hit=hit[order],
        ignored=ignored[order],
        truth=np.concatenate([part.truth + [start, 0, 0] for part, start in after]),
    )


def average_precisions(matches: Matches, counts: np.ndarray) -> np.ndarray:
    """AP of each class, mean over the overlaps, as COCO computes it of the images so often counted.

    Args:
        matches: of N images.
        counts: ``(R, N)`` how often each image is there; whole numbers.

    Returns:
        ``(R, K)`` per cent; NaN of a class without objects.
    """
    images, classes = matches.size
    image, label, number = matches.truth.T
    objects = _counted(label, image, number.astype(float), (classes, images))
    ends = np.searchsorted(matches.label, np.arange(classes + 1))
    ranked = [_Ranked(matches, slice(*ends[k : k + 2])) for k in range(classes)]
    found = np.empty((len(counts), classes))
    for start in range(0, len(counts), _BLOCK):
        drawn = np.ascontiguousarray(counts[start : start + _BLOCK].T, dtype=float)
        truth = objects @ drawn
        for k in range(classes):
            found[start : start + _BLOCK, k] = ranked[k].average_precision(drawn, truth[k])
    return found


class _Ranked:
    """The detections of one class in the order of their scores.

    Args:
        matches: of all classes.
        part: of them.
    """

    def __init__(self, matches: Matches, part: slice) -> None:
        image, hit, ignored = matches.image[part], matches.hit[part], matches.ignored[part]
        right = hit & ~ignored
        # Recall rises at right detections alone, and COCO looks at no precision but theirs.
        self.ends = np.flatnonzero(right.any(axis=1))
        self.images = int(matches.size[0])
        self.all = self._summed(self.ends, np.arange(len(image)), image)
        self.overlaps = []
        for t in range(hit.shape[1]):
            rows = np.flatnonzero(right[self.ends, t])
            at = self.ends[rows]
            out = np.flatnonzero(ignored[:, t])
            left_out = self._summed(at, out, image) if len(out) else None
            self.overlaps.append((rows, image[at], left_out))

    def _summed(self, ends: np.ndarray, detections: np.ndarray, image: np.ndarray) -> Any:
        """``(len(ends), N)``: how many of some detections each image has between the last end and this."""
        rows = np.searchsorted(ends, detections)
        inside = rows < len(ends)
        rows, columns = rows[inside], image[detections[inside]]
        return _counted(rows, columns, np.ones(len(rows)), (len(ends), self.images))

    def average_precision(self, drawn: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """AP ``(R,)`` per cent of images ``(N, R)``, of which ``(R,)`` objects count."""
        total = np.zeros(len(truth))
        # whole numbers, exact in float64, in whatever order they are added
        so_far = np.cumsum(self.all @ drawn, axis=0)
        for rows, image, left_out in self.overlaps:
            if not len(rows):
                continue
            right = np.cumsum(drawn[image], axis=0)
            found = so_far[rows]
            if left_out is not None:
                found -= np.cumsum(left_out @ drawn, axis=0)
            precision = right / (found + np.spacing(1))
            # the best at this recall or a higher one
            best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
            total += _steps(best, right / np.maximum(truth, 1))
        total *= 100 / (len(_RECALLS) * len(self.overlaps))
        return np.where(truth > 0, total, np.nan)


def _counted(
    rows: np.ndarray, columns: np.ndarray, numbers: np.ndarray, shape: tuple[int, int]
) -> Any:
    """The sparse matrix of numbers, those of one place added up."""
    from scipy.sparse import csr_matrix  # nothing heavy at import

    return csr_matrix((numbers, (rows, columns)), shape=shape)


def _steps(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Sum ``(R,)`` of precisions ``(P, R)`` at the recalls of COCO; 0 where a recall is not reached."""
    nearest = np.rint(recall * (len(_RECALLS) - 1)).astype(np.intp)
    reached = nearest + (_RECALLS[nearest] <= recall)  # how many of them
    reached[1:] -= reached[:-1].copy()
    return np.einsum('ij,ij->j', precision, reached)


def match(
    truth: Any,
    results: Sequence[Mapping[str, Any]],
    categories: Sequence[int],
    overlaps: Sequence[float] | np.ndarray,
) -> Matches:
    """Match detections to objects as pycocotools does, boxes of all areas.

    Args:
        truth: pycocotools' COCO.
        results: per image 'img_id', 'bboxes' ``(n, 4)`` as x1, y1, x2, y2 in pixels, 'scores' and 'labels'
            ``(n,)``; each image once.
        categories: ids of the classes, in the order of the labels.
        overlaps: T thresholds of the intersection over union.
    """
    found = _detections(results)
    area = found['box'][:, 2] * found['box'][:, 3]
    outside = (area < _AREAS[0]) | (area > _AREAS[1])
    ignored = np.repeat(outside[:, None], len(overlaps), axis=1)
    hit = np.zeros_like(ignored)
    objects = []
    for place, label, rows, pair in _pairs(truth, found, results, categories, overlaps):
        hit[rows], ignored[rows] = pair['dtMatches'].T > 0, pair['dtIgnore'].T > 0
        objects.append((place, label, np.count_nonzero(np.equal(pair['gtIgnore'], 0))))
    order = np.lexsort((-found['score'], found['label']))  # stable, as pycocotools' order
    score = found['score'][order]
    exact = (score.astype(np.float32) == score).all()
    return Matches(
        size=np.array([len(results), len(categories)]),
        image=found['image'][order].astype(np.uint32),
        label=found['label'][order].astype(np.uint16),
        score=score.astype(np.float32) if exact else score,
        hit=hit[order],
        ignored=ignored[order],
        truth=np.array(objects, np.int64).reshape(-1, 3),
    )


def _detections(results: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """All detections that count, in the order of the images' ids.

    Returns:
        'image', its position; 'label', 'score'; 'box' as x, y, width and height.
    """
    order = sorted(range(len(results)), key=lambda place: results[place]['img_id'])
    numbers = [len(results[place]['scores']) for place in order]
    rank = np.repeat(np.arange(len(order)), numbers)
    box, score, label = (
        np.concatenate([np.asarray(results[place][name]).reshape(shape) for place in order])
        for name, shape in (('bboxes', (-1, 4)), ('scores', -1), ('labels', -1))
    )
    box, score = box.astype(float), score.astype(float)
    box[:, 2:] -= box[:, :2]
    best = np.lexsort((-score, label, rank))
    pair = np.stack([rank[best], label[best]])
    first = np.append(True, (pair[:, 1:] != pair[:, :-1]).any(axis=0))[: len(best)]
    starts = np.flatnonzero(first)
    place = np.arange(len(best)) - starts[np.cumsum(first) - 1]
    kept = best[place < MOST]
    found = {'image': np.array(order)[rank], 'label': label, 'score': score, 'box': box}
    return {name: values[kept] for name, values in found.items()}


def _pairs(
    truth: Any,
    found: Mapping[str, np.ndarray],
    results: Sequence[Mapping[str, Any]],
    categories: Sequence[int],
    overlaps: Sequence[float] | np.ndarray,
) -> Iterator[tuple[int, int, list[int], dict[str, Any]]]:
    """What pycocotools finds in each image of each class that has objects there; elsewhere all is wrong.

    Yields:
        Positions of the image and of the class, rows of the detections, and its ``evaluateImg``.
    """
    from pycocotools.cocoeval import COCOeval

    labels = {category: label for label, category in enumerate(categories)}
    there = [
        sorted({a['category_id'] for a in truth.imgToAnns.get(r['img_id'], ())} & labels.keys())
        for r in results
    ]
    wanted = np.zeros((len(results), len(categories)), bool)
    for place, own in enumerate(there):
        wanted[place, [labels[category] for category in own]] = True
    rows = np.flatnonzero(wanted[found['image'], found['label']])
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, _as_coco(truth, found, rows, results, categories), 'bbox')
        evaluation.params.iouThrs, evaluation.params.maxDets = np.asarray(overlaps), [MOST]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [list(_AREAS)], ['all']
        for place, own in enumerate(there):
            if not own:
                continue
            evaluation.params.imgIds, evaluation.params.catIds = [results[place]['img_id']], own
            evaluation.evaluate()
            for category, pair in zip(own, evaluation.evalImgs, strict=True):
                yield place, labels[category], rows[np.array(pair['dtIds'], int) - 1], pair


def _as_coco(
    truth: Any,
    found: Mapping[str, np.ndarray],
    rows: np.ndarray,
    results: Sequence[Mapping[str, Any]],
    categories: Sequence[int],
) -> Any:
    """Some detections as pycocotools wants them; their ids are their places, from 1."""
    from pycocotools.coco import COCO

    columns = [found[name][rows].tolist() for name in ('image', 'label', 'score', 'box')]
    detections = [
        dict(
            image_id=results[image]['img_id'],
            category_id=categories[label],
            score=score,
            bbox=box,
        )
        for image, label, score, box in zip(*columns, strict=True)
    ]
    return truth.loadRes(detections) if detections else COCO()
