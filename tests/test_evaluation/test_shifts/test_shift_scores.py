"""Scores of real conditions: what is pooled, what is meant, what is absent, and how far they move."""

import json

import numpy as np
import pytest
from striped_results import ACDC, CLASSES, failed, measured, shift_results

from fan_mm.evaluation.bootstrap import mean_iou
from fan_mm.evaluation.results import PER_IMAGE
from fan_mm.evaluation.shifts.pooling import CLEAN_COLUMN, ShiftCell, by_cell, pool
from fan_mm.evaluation.shifts.scores import SetInfo, SetScores, effective_robustness

FOG, NIGHT, SNOW = (ShiftCell('acdc', name) for name in ('fog', 'night', 'snow'))


def pooled_of(*parts):
    return pool({m.cell: m.statistics for m in parts}, {m.cell: m.scenes for m in parts})


def test_effective_robustness_of_coco_o():
    """Faster R-CNN with ResNet-50: 37.4 on COCO; sketch, weather, cartoon, painting, tattoo, handmake."""
    mean = np.mean([9.8, 25.1, 13.9, 23.3, 10.1, 16.3])
    assert round(mean, 1) == 16.4
    assert round(effective_robustness(mean, 37.4), 2) == -0.41


def test_three_numbers_and_their_retention():
    results, arrays = shift_results()
    entry = results['sets']['acdc']
    statistics = by_cell(arrays[PER_IMAGE], 'sums')
    sums = {cell: s.sum(0, dtype=float)[None] for cell, s in statistics.items()}
    conditions = [float(mean_iou(sums[c], 0)[0]) for c in (FOG, NIGHT, SNOW)]
    pooled = float(mean_iou(sums[FOG] + sums[NIGHT] + sums[SNOW], 0)[0])
    clean = float(mean_iou(sums[CLEAN_COLUMN], 0)[0])
    found = [entry['conditions'][c.condition]['score']['value'] for c in (FOG, NIGHT, SNOW)]
    assert found == pytest.approx(conditions)
    assert entry['pooled']['score']['value'] == pytest.approx(pooled)
    assert entry['mean_of_conditions']['score']['value'] == pytest.approx(np.mean(conditions))
    for what, value in (
        (entry['pooled'], pooled),
        (entry['mean_of_conditions'], np.mean(conditions)),
    ):
        assert what['retention']['value'] == pytest.approx(100 * value / clean)
        for number in (what['score'], what['retention']):
            low, high = number['interval']
            assert low < number['value'] < high
    assert json.loads(json.dumps(results)) == results
    assert {'corruption', 'severity', 'images', 'evidence'}.isdisjoint(results['cells'][0])


def test_absent_classes():
    """Without prediction left out; predicted all the same, 0 as in mmseg, and both are said."""
    night = measured(NIGHT, 0.5, absent=(1, 3), predicted=(3,))
    scores = SetScores(ACDC, [night], None, 'mIoU', CLASSES, pooled_of(night))
    found = scores.results()['conditions']['night']
    assert found['absent'] == ['person'] and found['absent_but_predicted'] == ['train']
    iou = night.record.per_class['IoU']
    assert iou['person'] is None and iou['train'] == 0
    assert found['score']['value'] == pytest.approx((iou['road'] + iou['car'] + 0) / 3)
    assert found['score_of_present_classes'] == pytest.approx((iou['road'] + iou['car']) / 2)


def test_only_the_classes_of_a_set_are_scored():
    """IDD has no trains: neither counts a predicted one, nor the clean column's."""
    cell = ShiftCell('idd', 'all')
    part = measured(cell, 0.5, absent=(3,), predicted=(3,))
    results, _ = shift_results(more=[part], sets={'idd': SetInfo('IDD', 'val', scored=(0, 1, 2))})
    entry = results['sets']['idd']
    iou = [part.record.per_class['IoU'][name] for name in CLASSES[:3]]
    assert entry['scored'] == CLASSES[:3] and list(entry['per_class']['IoU']) == CLASSES[:3]
    assert entry['pooled']['score']['value'] == pytest.approx(np.mean(iou))
    clean = measured(CLEAN_COLUMN, 0.9).record.per_class['IoU']
    assert entry['clean']['value'] == pytest.approx(np.mean([clean[n] for n in CLASSES[:3]]))
    assert entry['clean']['value'] != results['sets']['acdc']['clean']['value']


def test_what_is_missing_is_named_and_nothing_is_taken_over_the_rest():
    fog, clean = measured(FOG, 0.5), measured(CLEAN_COLUMN, 0.9)
    scores = SetScores(ACDC, [fog, failed(SNOW)], clean, 'mIoU', CLASSES, pooled_of(fog, clean))
    entry = scores.results()
    assert entry['conditions']['fog']['score']['complete']
    for name in ('pooled', 'mean_of_conditions'):
        for number in (entry[name]['score'], entry[name]['retention']):
            assert (number['value'], number['missing']) == (None, ['acdc/snow'])
    assert entry['per_class'] == {}


@pytest.mark.parametrize('clean', [True, False])
def test_what_has_no_statistics_is_not_pooled_and_that_is_said(clean):
    parts = [
        measured(ShiftCell('coco_o', name), 0.5, statistics=None) for name in ('sketch', 'tattoo')
    ]
    column = measured(CLEAN_COLUMN, 0.9, statistics=None) if clean else None
    info = SetInfo('COCO-O', 'val2017', effective=True)
    entry = SetScores(info, parts, column, 'mIoU', CLASSES, pool({}, {})).results()
    assert entry['pooled']['score'] == dict(value=None, interval=None, complete=True, missing=[])
    assert 'not pooled' in entry['pooled']['reason']
    values = [p.record.metrics['mIoU'] for p in parts]
    assert entry['mean_of_conditions']['score']['value'] == pytest.approx(np.mean(values))
    assert entry['mean_of_conditions']['score']['interval'] is None
    if clean:
        expected = np.mean(values) - 0.45 * column.record.metrics['mIoU']
        found = entry['mean_of_conditions']['effective_robustness']['value']
        assert found == pytest.approx(expected)
        assert 'is not COCO val2017' in entry['notes'][0]
    else:
        assert 'effective_robustness' not in entry['mean_of_conditions']


def test_what_no_image_has_is_undefined_and_not_missing():
    """Of large objects, say, there is no AP where there are none; a condition that failed is missing."""
    fog, snow = (measured(cell, 0.5, statistics=None) for cell in (FOG, SNOW))
    for part in (fog, snow):
        part.record.metrics['mIoU'] = None
    entry = SetScores(ACDC, [fog, snow], None, 'mIoU', CLASSES, pool({}, {})).numbers()
    nothing = dict(value=None, interval=None, complete=True, missing=[])
    assert entry['conditions']['fog']['score'] == nothing == entry['mean_of_conditions']['score']
    entry = SetScores(ACDC, [fog, failed(SNOW)], None, 'mIoU', CLASSES, pool({}, {})).numbers()
    assert entry['mean_of_conditions']['score']['missing'] == ['acdc/fog', 'acdc/snow']


def test_a_score_of_all_classes_stands_for_no_fewer():
    """Without statistics there is the evaluator's number alone, which a set of fewer classes cannot use."""
    part = measured(ShiftCell('idd', 'all'), 0.5, statistics=None)
    for scored, value in ((None, part.record.metrics['mIoU']), ((0, 1, 2), None)):
        info = SetInfo('IDD', 'val', scored=scored)
        entry = SetScores(info, [part], None, 'mIoU', CLASSES, pool({}, {})).results()
        assert entry['conditions']['all']['score']['value'] == value
        assert entry['mean_of_conditions']['score']['value'] == value
        if not scored:
            assert entry['per_class'] == part.record.per_class  # of one condition its own


def test_a_column_without_statistics_leaves_out_the_interval():
    fog, night = measured(FOG, 0.5), measured(NIGHT, 0.5, statistics=None)
    clean = measured(CLEAN_COLUMN, 0.9, statistics=None)
    scores = SetScores(ACDC, [fog, night], clean, 'mIoU', CLASSES, pooled_of(fog))
    entry = scores.results()
    found = entry['conditions']['fog']
    assert found['score']['interval'] and found['retention']['interval'] is None
    iou = np.mean(list(fog.record.per_class['IoU'].values()))
    assert found['retention']['value'] == pytest.approx(100 * iou / clean.record.metrics['mIoU'])
    mean = entry['mean_of_conditions']['score']
    assert mean['value'] == pytest.approx((iou + night.record.metrics['mIoU']) / 2)
    assert mean['interval'] is None and entry['per_class'] == {}
    night.record.metrics['mIoU'] = None  # alone it is undefined, beside a number it is missing
    numbers = scores.numbers()
    assert numbers['conditions']['night']['score']['missing'] == []
    found = numbers['mean_of_conditions']['score']
    assert (found['value'], found['complete'], found['missing']) == (None, False, ['acdc/night'])


def test_where_no_class_occurs_there_is_no_number():
    fog = measured(FOG, 0.5)
    fog.statistics[:] = 0
    for name in fog.record.per_class:
        fog.record.per_class[name] = dict.fromkeys(CLASSES)
    entry = SetScores(ACDC, [fog], None, 'mIoU', CLASSES, pooled_of(fog)).results()
    assert json.dumps(entry, allow_nan=False)
    found = entry['conditions']['fog']
    assert found['score'] == dict(value=None, interval=None, complete=True, missing=[])
    assert found['absent'] == CLASSES and found['score_of_present_classes'] is None
