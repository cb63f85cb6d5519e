"""mAP of resampled images: pycocotools' own, to the last digits, on images that are really drawn."""

import numpy as np
import pytest

pytest.importorskip('pycocotools')

from coco_boxes import OVERLAPS, boxes, coco, drawn, evaluated

from fan_mm.evaluation.average_precision import (
    Matches,
    average_precisions,
    match,
    mean_ap,
    together,
)
from fan_mm.evaluation.bootstrap import resample_counts


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('seed', range(4))
def test_each_image_once_is_pycocotools_own(seed, ties):
    truth, results, categories = boxes(seed, 12, ties=ties)
    matches = match(truth, results, categories, OVERLAPS)
    expected, per_class = evaluated(truth, results, categories)
    assert mean_ap(matches.per_class()[None])[0] == pytest.approx(expected, rel=1e-13)
    assert matches.per_class() == pytest.approx(per_class, rel=1e-13, nan_ok=True)
    assert np.isnan(per_class[-1]) and 5 < expected < 90


@pytest.mark.parametrize('seed', range(2))
def test_a_resample_is_what_pycocotools_says_of_the_images_drawn(seed):
    truth, results, categories = boxes(seed, 9)
    matches = match(truth, results, categories, OVERLAPS)
    (counts,) = resample_counts(9, 12, seed)
    expected = [evaluated(*drawn(truth, results, c), categories)[0] for c in counts]
    assert matches.resampled(12, seed) == pytest.approx(expected, rel=1e-12)
    assert np.std(expected) > 1


def test_sets_together_are_one_set():
    """Whose images keep their order, and whose ids are made disjoint."""
    parts = [boxes(seed, n, ties=True) for seed, n in ((1, 7), (2, 4), (3, 9))]
    joined = together([match(*part, OVERLAPS) for part in parts])
    truths, results = zip(*(drawn(t, r, np.ones(len(r))) for t, r, _ in parts), strict=True)
    ids, annotations, found, start = [], [], [], 0
    for truth, own in zip(truths, results, strict=True):
        ids += [start + i for i in truth.getImgIds()]
        annotations += [
            {**a, 'image_id': start + a['image_id']} for a in truth.dataset['annotations']
        ]
        found += [{**r, 'img_id': start + r['img_id']} for r in own]
        start = max(ids)
    annotations = [{**a, 'id': i} for i, a in enumerate(annotations, 1)]
    expected, per_class = evaluated(coco(ids, annotations, parts[0][2]), found, parts[0][2])
    assert joined.per_class() == pytest.approx(per_class, rel=1e-13, nan_ok=True)
    assert mean_ap(joined.per_class()[None])[0] == pytest.approx(expected, rel=1e-13)
    # drawn each for itself
    counts = np.random.default_rng(0).integers(0, 3, (2, 20))
    again = average_precisions(joined, counts.astype(np.uint16))
    assert again == pytest.approx(average_precisions(joined, counts.astype(float)), nan_ok=True)


def test_a_class_that_a_resample_lacks_is_left_out():
    truth, results, categories = boxes(0, 6)
    matches = match(truth, results, categories, OVERLAPS)
    counts = np.zeros((1, 6))
    assert np.isnan(mean_ap(average_precisions(matches, counts))).all()
    counts[0, matches.truth[0, 0]] = 1
    expected, per_class = evaluated(*drawn(truth, results, counts[0]), categories)
    found = average_precisions(matches, counts)
    assert found[0] == pytest.approx(per_class, nan_ok=True)
    assert mean_ap(found)[0] == pytest.approx(expected)


def test_no_detection_at_all():
    truth, results, categories = boxes(0, 4)
    nothing = [{**r, **{n: r[n][:0] for n in ('bboxes', 'scores', 'labels')}} for r in results]
    found = match(truth, nothing, categories, OVERLAPS).per_class()
    assert found == pytest.approx([0, 0, np.nan], nan_ok=True)


def test_stored_and_read():
    matches = match(*boxes(0, 5), OVERLAPS)
    stored = matches.arrays()
    again = Matches.read(stored.get)
    assert all(np.array_equal(getattr(again, n), getattr(matches, n)) for n in vars(matches))
    assert matches.score.dtype == np.float32  # as detectors give them: half the file
    del stored['boxes/hit']
    assert Matches.read(stored.get) is None
