"""Detections and objects: each detection of each image matches what pycocotools matches it with."""

import contextlib
import io

import numpy as np
import pytest

pytest.importorskip('pycocotools')

from coco_boxes import MOST, OVERLAPS, boxes, coco
from pycocotools.cocoeval import COCOeval

from fan_mm.evaluation import matching
from fan_mm.evaluation.matching import match

EXACT = np.append(OVERLAPS, 1.0)


def nested(seed):
    """Squares in one corner, of areas around COCO's limits, a few crowds, and boxes equal to some of them.

    In one image overlaps of equal boxes are not quite 1: its corner is no float.
    """
    corner = {4: 3, 5: 3.1}
    rng = np.random.default_rng(seed)
    sides = [0.5, 1, *range(28, 37), *range(92, 101), 10**5, 10**5 + 1]
    objects = [(image, label, side) for image in (4, 5) for label in (0, 1) for side in sides]
    annotations = [
        dict(
            id=number + 1,
            image_id=image,
            category_id=7 - label,
            bbox=[corner[image]] * 2 + [side] * 2,
            area=side**2,
            iscrowd=int(rng.random() < 0.1),
        )
        for number, (image, label, side) in enumerate(objects)
        if rng.random() < 0.7 or side < 2
    ]
    results = []
    for image in (5, 4):
        found = rng.choice(sides, 20 + image)
        near = np.full_like(found, corner[image])
        results.append(
            dict(
                img_id=image,
                bboxes=np.stack([near] * 2 + [near + found] * 2, 1),
                scores=rng.random(len(found)).astype('f4'),
                labels=rng.integers(0, 2, len(found)),
            )
        )
    return coco([4, 5], annotations, [6, 7]), results, [7, 6]


def pycocotools_own(truth, results, categories):
    """(area, image, class) -> its ``evaluateImg``."""
    detections = [
        dict(
            image_id=r['img_id'],
            category_id=categories[label],
            score=float(score),
            bbox=[*map(float, box[:2]), *(box[2:].astype(float) - box[:2]).tolist()],
        )
        for r in results
        for box, label, score in zip(r['bboxes'], r['labels'], r['scores'], strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(detections), 'bbox')
        evaluation.params.catIds, evaluation.params.maxDets = categories, list(MOST)
        evaluation.params.iouThrs = EXACT
        evaluation.evaluate()
    places = {r['img_id']: place for place, r in enumerate(results)}
    areas = [list(area) for area in evaluation.params.areaRng]
    return {
        (areas.index(e['aRng']), places[e['image_id']], categories.index(e['category_id'])): e
        for e in evaluation.evalImgs
        if e is not None
    }


@pytest.mark.parametrize('elements', [1, 2**11, 2**20], ids=['pair by pair', 'some', 'all at once'])
@pytest.mark.parametrize(
    'change', [None, 'equal overlaps', 'an id of 0', 'no crowds named', 'at the limits']
)
def test_every_match_is_pycocotools_own(change, elements, monkeypatch):
    monkeypatch.setattr(matching, '_ELEMENTS', elements)
    made = nested(0) if change == 'at the limits' else boxes(3, 10, ties=True)
    truth, results, categories = made
    annotations = truth.dataset['annotations']
    if change == 'equal overlaps':  # two objects in one place, a crowd among them
        annotations[1]['bbox'] = annotations[0]['bbox']
        annotations[2].update(bbox=annotations[0]['bbox'], iscrowd=1)
        for one in annotations[:3]:
            one.update(category_id=1, image_id=annotations[0]['image_id'])
    if change == 'an id of 0':
        annotations[0]['id'] = 0
    if change == 'no crowds named':
        for one in annotations:
            one['iscrowd'] = 0
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    expected = pycocotools_own(truth, results, categories)
    found = match(truth, results, categories, EXACT)
    objects = {(i, k): n for i, k, *n in found.truth.tolist()}
    for (area, image, label), own in expected.items():
        rows = (found.image == image) & (found.label == label)
        assert found.score[rows].tolist() == pytest.approx(own['dtScores'])
        assert np.array_equal(found.hit[area, rows], own['dtMatches'].T > 0)
        assert np.array_equal(found.ignored[area, rows], own['dtIgnore'].T > 0)
        counting = np.count_nonzero(np.equal(own['gtIgnore'], 0))
        assert objects.get((image, label), [0] * 4)[area] == counting
    assert found.hit.any() and found.ignored.any()
