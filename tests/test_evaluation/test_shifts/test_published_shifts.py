"""What others print of real conditions."""

import numpy as np
import pytest

from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.evaluation.data import facts
from fan_mm.evaluation.shifts.published import (
    _semsegbench,
    other_protocols,
    published_shifts,
)


def test_rows_are_of_sets_and_splits_that_there_are():
    for row in (*facts('published_shifts')['rows'], *facts('published_shifts')['other_protocols']):
        assert row['split'] in SHIFT_SETS[row['set']].splits and row['source']
    for row in facts('published_shifts')['rows']:
        named = set(row['values']) - {'pooled', 'mean_of_conditions', 'clean'}
        assert named <= set(SHIFT_SETS[row['set']].conditions)


def test_coco_o():
    (row,) = published_shifts('coco_o', 'val2017', 'bbox_mAP')
    values = [row.values[name] for name in SHIFT_SETS['coco_o'].conditions]
    assert row.values['mean_of_conditions'] == round(float(np.mean(values)), 1) == 16.4


def test_semsegbenchs_pooled_is_not_its_mean():
    rows = {row.model: row for row in published_shifts('acdc', 'val', 'mIoU')}
    values = rows['SegFormer MiT-B5 1024x1024'].values
    four = np.mean([values[name] for name in ('fog', 'night', 'rain', 'snow')])
    assert (values['pooled'], four) == (58.75, pytest.approx(57.95, abs=0.01))


def test_other_protocols_are_said_not_shown():
    assert published_shifts('foggy_zurich', 'testv2', 'mIoU') == []
    assert 'three scales' in other_protocols('foggy_zurich', 'testv2')[0]
    assert other_protocols('acdc', 'val') == []
    rows = facts('published_shifts')['other_protocols']
    asked = {(row['set'], row['split']) for row in rows}
    for name, split in asked:
        mine = [row['model'] for row in rows if (row['set'], row['split']) == (name, split)]
        assert [line.split(' prints ')[0] for line in other_protocols(name, split)] == mine
        assert other_protocols(name, 'another') == []


def test_rows_are_of_the_set_the_split_and_the_metric():
    for name, split, metric in (('acdc', 'train', 'mIoU'), ('bdd100k', 'val', 'mIoU')):
        rows = published_shifts(name, split, metric)
        assert rows and {(row.set, row.split, row.metric) for row in rows} == {
            (name, split, metric)
        }
        assert published_shifts(name, split, 'aAcc') == []
    _semsegbench.cache_clear()
    rows = published_shifts('acdc', 'val', 'mIoU')
    assert len(rows) == 1 + 32
    assert {row.samples for row in rows} == {406}  # of 1600, 406 and 2000
    # the one of SemSegBench whose sweep was broken has no rank, and those of other papers have none
    assert sum(row.ranked for row in rows) == 31
    broken = [row for row in rows if row.note.startswith('Its sweep over corruptions was broken')]
    assert len(broken) == 1 and not broken[0].ranked
    assert all(None not in row.values.values() for row in rows)
