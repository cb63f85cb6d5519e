"""COCO's scores of resampled images: pycocotools' own, to the last digits, on images that are really drawn."""

import numpy as np
import pytest

pytest.importorskip('pycocotools')

from coco_boxes import MANY, MOST, OVERLAPS, SCORES, boxes, coco, drawn, evaluated

from fan_mm.evaluation.average_precision import (
    Matches,
    average_precisions,
    mean_ap,
    together,
)
from fan_mm.evaluation.bootstrap import resample_counts
from fan_mm.evaluation.matching import match

KINDS = ('bbox', 'segm')


def values(found, row=0):
    """Score -> its mean over the classes."""
    return {name: mean_ap(np.atleast_2d(aps))[row] for name, aps in found.items()}


def approx(expected, rel=1e-12):
    return pytest.approx(expected, rel=rel, nan_ok=True)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('seed', range(3))
def test_each_image_once_is_pycocotools_own(seed, ties, kind):
    # more than 255 detections, of whose masks pycocotools gives no areas at once
    truth, results, categories = boxes(seed, 12 if seed else 30, ties=ties)
    assert seed or sum(len(result['masks']) for result in results) > 300
    matches = match(truth, results, categories, OVERLAPS, kind)
    expected, per_class = evaluated(truth, results, categories, kind)
    found = matches.per_class()
    assert values(found) == approx(expected)
    assert found['mAP'] == approx(per_class)
    assert list(found) == list(SCORES) == matches.scores
    assert np.isnan(per_class[-1]) and 5 < expected['mAP'] < 90
    assert len(set(expected.values())) == len(SCORES)


@pytest.mark.parametrize('kind', KINDS)
def test_a_resample_is_what_pycocotools_says_of_the_images_drawn(kind):
    truth, results, categories = boxes(1, 9)
    matches = match(truth, results, categories, OVERLAPS, kind)
    (counts,) = resample_counts(9, 12, 1)
    expected = [evaluated(*drawn(truth, results, c), categories, kind)[0] for c in counts]
    found = matches.resampled(12, 1)
    for name in SCORES:
        assert found[name] == approx([one[name] for one in expected])
        assert np.nanstd(found[name]) > 0.5
    # counted in blocks, and as whole numbers
    many = np.random.default_rng(0).integers(0, 3, (150, 9)).astype(np.uint16)
    blocks, single = average_precisions(matches, many), average_precisions(matches, many[-1:])
    for name in SCORES:
        assert blocks[name][-1] == approx(single[name][0])


@pytest.mark.parametrize(
    'most, overlaps, scores',
    [
        (MOST, [0.3, 0.5], ('mAP', 'mAP_50', 'mAP_s', 'mAP_m', 'mAP_l')),
        ((1, 10, 100), OVERLAPS, SCORES),
        ((100, 2, 7), [0.6], ('mAP', 'mAP_s', 'mAP_m', 'mAP_l')),
        ((5, 10, 20), OVERLAPS, SCORES[1:]),
    ],
    ids=str,
)
def test_other_rules(most, overlaps, scores):
    """Scores that pycocotools does not give then are not there, or undefined."""
    truth, results, categories = boxes(0, 12)
    expected = evaluated(truth, results, categories, most=most, overlaps=overlaps)[0]
    found = values(match(truth, results, categories, overlaps, most=most).per_class())
    assert {name: found[name] for name in scores} == approx({n: expected[n] for n in scores})
    assert scores == tuple(name for name, value in expected.items() if not np.isnan(value))
    assert not any(value for name, value in found.items() if name not in scores)


def test_more_than_a_hundred_detections_count_at_one_overlap_alone():
    """As in mmdet, whose mAP is of the best 100 of an image and class, its AP50 of 1000."""
    truth, results, categories = boxes(0, 6)
    crowded = max(results, key=lambda r: len(r['labels']))
    assert len(crowded['labels']) >= MANY
    crowded['scores'] = np.sort(crowded['scores'])  # the right ones come last
    matches = match(truth, results, categories, OVERLAPS)
    expected, _ = evaluated(truth, results, categories)
    assert values(matches.per_class()) == approx(expected)
    less = match(truth, results, categories, OVERLAPS, most=(1, 10, 100))
    assert values(less.per_class())['mAP_50'] != pytest.approx(expected['mAP_50'])


@pytest.mark.parametrize('kind', KINDS)
def test_sets_together_are_one_set(kind):
    """Whose images keep their order, and whose ids are made disjoint."""
    parts = [boxes(seed, n, ties=True) for seed, n in ((1, 7), (2, 4), (3, 9))]
    joined = together([match(*part, OVERLAPS, kind) for part in parts])
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
    truth, categories = coco(ids, annotations, parts[0][2]), parts[0][2]
    expected, per_class = evaluated(truth, found, categories, kind)
    assert joined.per_class()['mAP'] == approx(per_class)
    assert values(joined.per_class()) == approx(expected)


def test_a_class_that_a_resample_lacks_is_left_out():
    truth, results, categories = boxes(0, 6)
    matches = match(truth, results, categories, OVERLAPS)
    counts = np.zeros((1, 6))
    assert all(np.isnan(aps).all() for aps in average_precisions(matches, counts).values())
    counts[0, matches.truth[0, 0]] = 1
    expected, per_class = evaluated(*drawn(truth, results, counts[0]), categories)
    found = average_precisions(matches, counts)
    assert found['mAP'][0] == approx(per_class)
    assert values(found) == approx(expected)


@pytest.mark.parametrize('kind', KINDS)
def test_no_detection_at_all(kind):
    truth, results, categories = boxes(0, 4)
    names = ('bboxes', 'scores', 'labels', 'masks', 'mask_scores')
    nothing = [{**r, **{n: r[n][:0] for n in names}} for r in results]
    found = match(truth, nothing, categories, OVERLAPS, kind).per_class()
    assert found['mAP'] == approx([0, 0, np.nan]) and found['mAP_50'] == approx([0, 0, np.nan])


def test_no_object_at_all_and_one_class():
    truth, results, categories = boxes(0, 5, classes=2)
    none = match(
        truth, [{**r, 'labels': 0 * r['labels']} for r in results], categories[1:], OVERLAPS
    )
    assert all(np.isnan(values).all() for values in none.resampled(5).values())
    one = [
        {**r, **{n: np.asarray(r[n])[r['labels'] == 0] for n in r if n != 'img_id'}}
        for r in results
    ]
    found = values(match(truth, one, categories[:1], OVERLAPS).per_class())
    assert found == approx(evaluated(truth, one, categories[:1])[0])


@pytest.mark.parametrize('kind', KINDS)
def test_stored_and_read(kind):
    matches = match(*boxes(0, 5), OVERLAPS, kind)
    stored = matches.arrays(kind)
    again = Matches.read(stored.get, kind)
    assert all(np.array_equal(getattr(again, n), getattr(matches, n)) for n in vars(matches))
    assert matches.score.dtype == np.float32  # as detectors give them: half the file
    assert stored[f'matches/{kind}/hit'].shape == (4, len(matches.score), 2)  # bits
    del stored[f'matches/{kind}/hit']
    assert Matches.read(stored.get, kind) is None


def test_what_an_earlier_version_stored():
    """Boxes of all areas at overlaps that are not known: their mAP, and no other score."""
    matches = match(*boxes(0, 5), OVERLAPS, most=(100, 100, 100))
    names = ('size', 'image', 'label', 'score')
    stored = {f'boxes/{name}': getattr(matches, name) for name in names}
    stored |= {f'boxes/{name}': getattr(matches, name)[0] for name in ('hit', 'ignored')}
    stored['boxes/truth'] = matches.truth[:, :3]
    again = Matches.read(stored.get)
    assert again.scores == ['mAP'] and Matches.read(stored.get, 'segm') is None
    assert again.per_class()['mAP'] == approx(matches.per_class()['mAP'])
    for pair in ([again, matches], [matches, again]):
        assert together(pair).scores == ['mAP']


def test_one_image_has_no_resamples():
    matches = match(*boxes(0, 1), OVERLAPS)
    drawn = matches.resampled(20)
    assert drawn.keys() == set(SCORES)
    assert all(len(v) == 20 and np.isnan(v).all() for v in drawn.values())
