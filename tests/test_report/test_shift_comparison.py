"""Comparisons of real conditions: what is neither ranked nor drawn, which columns and digits a table has."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from striped_results import failed, shift_results, written

from fan_mm.evaluation.results import PER_IMAGE, read_arrays, write_with_arrays
from fan_mm.evaluation.shifts.pooling import ShiftCell
from fan_mm.report import shift_comparison_files as files
from fan_mm.report.colours import heat
from fan_mm.report.shift_comparison import Column, build_shift_comparison, score_in

TWO = {'fog': 0.72, 'night': 0.38}


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """Of the second, which is better in fog and worse at night, snow failed."""
    root = tmp_path_factory.mktemp('two')
    more = [failed(ShiftCell('acdc', 'snow'))]
    return [written(root / 'a', name='a'), written(root / 'b', name='b', qualities=TWO, more=more)]


def test_what_one_lacks_is_neither_ranked_nor_subtracted(two):
    comparison = build_shift_comparison(two)
    found = {(d.column.condition): d for d in comparison.differences}
    assert found.keys() == {'clean', 'fog', 'night'} and all(d.interval for d in found.values())
    values = [
        [table.sets['acdc']['conditions'][c]['score']['value'] for c in ('fog', 'night')]
        for table in comparison.tables
    ]
    differences = np.subtract(values[1], values[0])
    assert [found[c].points for c in ('fog', 'night')] == pytest.approx(differences)
    best = {c: comparison.best(Column('acdc', c)) for c in ('fog', 'night', 'snow', 'pooled')}
    assert best == {'fog': {'b'}, 'night': {'a'}, 'snow': set(), 'pooled': set()}
    assert any(n.startswith('b is incomplete: no result in') for n in comparison.notices)


@pytest.mark.parametrize('lost', ['all', 'fog'])
def test_without_common_draws_there_is_no_interval(two, tmp_path, lost):
    results, arrays = shift_results(name='b')
    arrays = arrays[PER_IMAGE]
    if lost == 'fog':  # of other images under the same hash
        arrays['keys/acdc/fog'] = arrays['keys/acdc/fog'][::-1]
    content = {} if lost == 'all' else {PER_IMAGE: arrays.items()}
    write_with_arrays(tmp_path, results, content)
    assert (read_arrays(tmp_path) is None) == (lost == 'all')
    found = {d.column.condition: d for d in build_shift_comparison([two[0], tmp_path]).differences}
    without = {name for name, d in found.items() if d.interval is None}
    assert without == (set(found) if lost == 'all' else {'fog', 'pooled', 'mean_of_conditions'})
    assert all(d.points == 0 for d in found.values())


def test_the_best_are_bold_and_a_rule_stands_above_published_rows_alone(two):
    comparison = build_shift_comparison(two)
    lines = files._latex_table(comparison, 'mIoU').splitlines()
    rows = {line[0]: line.split(' & ') for line in lines if line[:4] in ('a & ', 'b & ')}
    assert [c.condition for c in comparison.columns][:3] == ['clean', 'fog', 'night']
    (head,) = (line.split(' & ') for line in lines if line.startswith('model & '))
    assert len(head) == len(rows['a']) == len(rows['b']) == 1 + len(comparison.columns)
    bold = {name: ['textbf' in cell for cell in row[1:4]] for name, row in rows.items()}
    assert bold == {'a': [True, False, True], 'b': [True, True, False]}  # equal when clean
    assert sum(line == '\\midrule' for line in lines) == 1
    published = build_shift_comparison(two[:1], published=True)
    lines = files._latex_table(published, 'mIoU').splitlines()
    assert sum(line == '\\midrule' for line in lines) == 2
    assert not any('textbf' in line for line in lines if '(published)' in line)


def test_the_less_the_darker(two):
    comparison = build_shift_comparison(two)
    scores = [
        score['value']
        for table in comparison.tables
        for column in comparison.columns
        if (score := score_in(table, column, 'mIoU')) and score['value'] is not None
    ]
    assert len(scores) > 6 and len(set(scores)) > 4
    shades = re.findall(r'background-color:(#\w+)', files._table(comparison, 'mIoU'))
    assert shades == [heat(1 - value / max(scores)) for value in scores]


def test_of_a_metric_that_only_others_print_their_conditions_are_shown():
    row = SimpleNamespace(metric='bbox_mAP_50', set='acdc_boxes')
    names = [
        ('clean', 'clean'),
        ('acdc_boxes', 'fog'),
        ('acdc_boxes', 'pooled'),
        ('coco_o', 'tattoo'),
    ]
    columns = [Column(*name) for name in names]
    comparison = SimpleNamespace(
        metric='bbox_mAP',
        others=('segm_mAP',),
        calibration=('NLL',),
        published=[row],
        columns=columns,
    )
    for metric in ('bbox_mAP', 'segm_mAP', 'NLL'):
        assert files._columns(comparison, metric) == columns
    assert files._columns(comparison, 'bbox_mAP_50') == [columns[1]]
    assert files._metrics(comparison) == ['bbox_mAP', 'segm_mAP', 'bbox_mAP_50', 'NLL']
    assert [files._digits(comparison, metric) for metric in ('bbox_mAP', 'NLL')] == [1, 3]
