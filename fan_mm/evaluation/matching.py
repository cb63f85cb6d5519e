"""Detections matched to the objects of their image, as pycocotools' ``COCOeval`` matches them.

For each area range and IoU threshold, the detections of an image and class, in descending order of score, are
matched to the free object with the highest IoU; ignored objects (crowds, objects outside the area range) are
matched only if there is no other. pycocotools loops over all of this in Python; here one step processes one
detection of many images at once, for all area ranges and thresholds.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fan_mm.evaluation.average_precision import Matches

_AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])  # as in COCO's summary
_MOST = (100, 300, 1000)  # detections per image and class, mmdet's default
_ELEMENTS = 2**20  # elements of the arrays in one step


def match(
    truth: Any,
    results: Sequence[Mapping[str, Any]],
    categories: Sequence[int],
    overlaps: Sequence[float] | np.ndarray,
    kind: str = 'bbox',
    most: Sequence[int] = _MOST,
) -> Matches:
    """Match detections to objects.

    Args:
        truth: pycocotools' COCO.
        results: per image 'img_id', 'bboxes' ``(n, 4)`` as x1, y1, x2, y2 in pixels, 'scores' and 'labels'
            ``(n,)``; for masks also 'masks', n run-length encodings of pycocotools, and optionally
            'mask_scores'. Each image occurs once.
        categories: ids of the classes, in the order of the labels.
        overlaps: T IoU thresholds.
        kind: 'bbox' or 'segm'.
        most: maximum number of detections per image and class, as in ``COCOeval.params.maxDets``: mAP uses 100
            if that is among them, the other scores use the third.
    """
    numbers = sorted(most)[:3]
    limits = np.array([100 if 100 in most else 0, numbers[-1]])
    found = _detections(results, kind, int(limits.max()))
    outside = (found.area < _AREAS[:, :1]) | (found.area > _AREAS[:, 1:])
    shape = (len(_AREAS), len(found.area), len(overlaps))
    hit, ignored = np.zeros(shape, bool), np.repeat(outside[..., None], len(overlaps), axis=2)
    pairs = list(_pairs(truth, found, results, categories, kind))
    for chunk in _chunks(pairs, len(overlaps)):
        for rows, own_hit, own_ignored in _match(chunk, np.asarray(overlaps), outside):
            hit[:, rows], ignored[:, rows] = own_hit, own_ignored
    order = np.lexsort((-found.score, found.label))  # stable, like pycocotools' sort
    score = found.score[order]
    exact = (score.astype(np.float32) == score).all()
    objects = [(p.image, p.label, *p.counts.sum(axis=1)) for p in pairs]
    return Matches(
        size=np.array([len(results), len(categories)]),
        overlaps=np.asarray(overlaps, float),
        most=limits,
        image=found.image[order].astype(np.uint32),
        label=found.label[order].astype(np.uint16),
        score=score.astype(np.float32) if exact else score,
        hit=hit[:, order],
        ignored=ignored[:, order],
        truth=np.array(objects, np.int64).reshape(-1, 2 + len(_AREAS)),
    )


class _Found(NamedTuple):
    """The detections used, sorted by image id, then class, then descending score."""

    image: np.ndarray  # position of the image
    label: np.ndarray
    score: np.ndarray
    area: np.ndarray
    shape: Sequence[Any]  # boxes (x, y, width, height) or masks


class _Pair(NamedTuple):
    """An image and a class that has objects in it."""

    image: int
    label: int
    rows: np.ndarray  # (D,) rows of the detections, in descending order of score
    overlap: np.ndarray  # (D, G) IoU with the objects
    counts: np.ndarray  # (A, G) whether an object is not ignored
    crowd: np.ndarray  # (G,) whether several detections may match it
    numbered: np.ndarray  # (G,) id is not 0, for which pycocotools records no match


def _detections(results: Sequence[Mapping[str, Any]], kind: str, most: int) -> _Found:
    """The best detections of each image and class, up to a limit."""
    order = sorted(range(len(results)), key=lambda place: results[place]['img_id'])
    ordered = [results[place] for place in order]
    rank = np.repeat(np.arange(len(order)), [len(r['scores']) for r in ordered])
    scores = [r.get('mask_scores', r['scores']) if kind == 'segm' else r['scores'] for r in ordered]
    score, label = (
        np.concatenate([np.asarray(values).reshape(-1) for values in parts])
        for parts in (scores, [r['labels'] for r in ordered])
    )
    score = score.astype(float)
    best = np.lexsort((-score, label, rank))
    key = np.stack([rank[best], label[best]])
    first = np.append(True, (key[:, 1:] != key[:, :-1]).any(axis=0))[: len(best)]
    starts = np.flatnonzero(first)
    best = best[np.arange(len(best)) - starts[np.cumsum(first) - 1] < most]
    shapes: Any
    if kind == 'segm':
        from pycocotools import mask

        shapes = [m for r in ordered for m in r['masks']]
        shapes = [shapes[i] for i in best]
        # One by one: with numpy 2, pycocotools raises OverflowError for more than 255 at once.
        area = np.array([mask.area(shape) for shape in shapes], float)
    else:
        boxes = [np.asarray(r['bboxes']).reshape(-1, 4) for r in ordered]
        shapes = np.concatenate(boxes).astype(float)[best]
        shapes[:, 2:] -= shapes[:, :2]
        area = shapes[:, 2] * shapes[:, 3]
    return _Found(np.array(order)[rank[best]], label[best], score[best], area, shapes)


def _pairs(
    truth: Any,
    found: _Found,
    results: Sequence[Mapping[str, Any]],
    categories: Sequence[int],
    kind: str,
) -> Iterator[_Pair]:
    from pycocotools import mask

    labels = {category: label for label, category in enumerate(categories)}
    keys = found.image.astype(np.int64) * len(categories) + found.label
    order = np.argsort(keys, kind='stable')
    keys = keys[order]
    for image, result in enumerate(results):
        objects: dict[int, list[dict]] = {}
        for one in truth.loadAnns(truth.getAnnIds(imgIds=[result['img_id']])):
            if one['category_id'] in labels:
                objects.setdefault(labels[one['category_id']], []).append(one)
        for label, there in objects.items():
            key = image * len(categories) + label
            rows = order[slice(*np.searchsorted(keys, [key, key + 1]))]
            crowd = np.array([bool(one.get('iscrowd')) for one in there])
            area = np.array([one['area'] for one in there], float)
            inside = (area >= _AREAS[:, :1]) & (area <= _AREAS[:, 1:])
            overlap: Any = np.zeros((0, len(there)))
            if len(rows):
                shapes = [found.shape[row] for row in rows]
                own = [truth.annToRLE(o) if kind == 'segm' else o['bbox'] for o in there]
                overlap = mask.iou(shapes, own, crowd.astype(np.uint8))
            numbered = np.array([one['id'] != 0 for one in there])
            yield _Pair(image, label, rows, overlap, inside & ~crowd, crowd, numbered)


def _chunks(pairs: Sequence[_Pair], overlaps: int) -> Iterator[list[_Pair]]:
    """Pairs with about equally many objects, those with most detections first."""
    chunk: list[_Pair] = []
    for pair in sorted((p for p in pairs if len(p.rows)), key=lambda p: len(p.crowd)):
        if (len(chunk) + 1) * len(pair.crowd) * len(_AREAS) * overlaps > _ELEMENTS and chunk:
            yield sorted(chunk, key=lambda p: -len(p.rows))
            chunk = []
        chunk.append(pair)
    if chunk:
        yield sorted(chunk, key=lambda p: -len(p.rows))


def _match(
    pairs: Sequence[_Pair], overlaps: np.ndarray, outside: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Match the detections of some pairs, one detection of every pair at a time.

    Args:
        pairs: P pairs, in descending order of the number of detections.
        overlaps: ``(T,)`` IoU thresholds.
        outside: ``(A, D)`` whether a detection's area is outside of a range.

    Yields:
        Rows ``(n,)`` of detections, and whether they are matched and ignored, each ``(A, n, T)``.
    """
    most = max(len(p.crowd) for p in pairs)
    padded = [most - len(p.crowd) for p in pairs]
    counts = np.stack(
        [np.pad(p.counts, ((0, 0), (0, n))) for p, n in zip(pairs, padded, strict=True)]
    )
    crowd, numbered, there = (
        np.stack([np.pad(v, (0, n)) for v, n in zip(values, padded, strict=True)])
        for values in (
            [p.crowd for p in pairs],
            [p.numbered for p in pairs],
            [np.ones_like(p.crowd) for p in pairs],
        )
    )
    least = np.minimum(overlaps, 1 - 1e-10)
    # whether an object may still be matched, for each area range and IoU threshold
    free = np.broadcast_to(there[:, None, None], (*counts.shape[:2], len(least), most)).copy()
    detections = np.array([len(p.rows) for p in pairs])
    for step in range(detections[0]):
        n = int((detections > step).sum())
        overlap = np.full((n, most), -1.0)
        for own, pair in zip(overlap, pairs, strict=False):
            own[: len(pair.crowd)] = pair.overlap[step]
        # Of objects with equal IoU the last one; ignored objects after all others.
        order = np.empty((n, most), np.int32)
        np.put_along_axis(order, np.argsort(overlap, axis=1, kind='stable'), np.arange(most), 1)
        value = order[:, None] + most * counts[:n]
        may = free[:n] & (overlap[:, None, None] >= least[:, None])
        best = np.where(may, value[:, :, None], -1).argmax(axis=3)  # (n, A, T)
        matched = np.take_along_axis(may, best[..., None], 3)[..., 0]
        pair_of, area_of = np.ogrid[:n, : len(_AREAS)]
        p, a = pair_of[..., None], area_of[..., None]
        hit = matched & numbered[p, best]
        rows = np.array([pair.rows[step] for pair in pairs[:n]])
        no_object = matched & ~counts[p, a, best]
        ignored = no_object | (~hit & outside[:, rows].T[..., None])
        taken = matched & ~crowd[p, best]
        left = np.take_along_axis(free[:n], best[..., None], 3)[..., 0] & ~taken
        np.put_along_axis(free[:n], best[..., None], left[..., None], 3)
        yield rows, hit.transpose(1, 0, 2), ignored.transpose(1, 0, 2)
