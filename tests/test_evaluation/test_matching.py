"""Detections and objects: each detection of each image matches what pycocotools matches it with."""

import contextlib
import io

import numpy as np
import pytest

pytest.importorskip('pycocotools')

from coco_boxes import MOST, OVERLAPS, boxes
from pycocotools.cocoeval import COCOeval

from fan_mm.evaluation import matching
from fan_mm.evaluation.matching import match


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
        evaluation.evaluate()
    places = {r['img_id']: place for place, r in enumerate(results)}
    areas = [list(area) for area in evaluation.params.areaRng]
    return {
        (areas.index(e['aRng']), places[e['image_id']], categories.index(e['category_id'])): e
        for e in evaluation.evalImgs
        if e is not None
    }


@pytest.mark.parametrize('elements', [1, 2**20], ids=['pair by pair', 'all at once'])
@pytest.mark.parametrize('change', [None, 'equal overlaps', 'an id of 0', 'no crowds named'])
def test_every_match_is_pycocotools_own(change, elements, monkeypatch):
    monkeypatch.setattr(matching, '_ELEMENTS', elements)
    truth, results, categories = boxes(3, 10, ties=True)
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
    found = match(truth, results, categories, OVERLAPS)
    objects = {(i, k): n for i, k, *n in found.truth.tolist()}
    for (area, image, label), own in expected.items():
        rows = (found.image == image) & (found.label == label)
        assert found.score[rows].tolist() == pytest.approx(own['dtScores'])
        assert np.array_equal(found.hit[area, rows], own['dtMatches'].T > 0)
        assert np.array_equal(found.ignored[area, rows], own['dtIgnore'].T > 0)
        counting = np.count_nonzero(np.equal(own['gtIgnore'], 0))
        assert objects.get((image, label), [0] * 4)[area] == counting
    assert found.hit.any() and found.ignored.any()
