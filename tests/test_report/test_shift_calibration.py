"""Calibration under real adverse conditions: in the report, and of several models side by side."""

import csv
import hashlib
import json

import numpy as np
import pytest
from report_checks import assert_fetches_nothing, assert_labels_inside, read_page
from striped_results import measured, shift_results, written

from fan_mm.evaluation.bootstrap import resample_counts
from fan_mm.evaluation.calibration.measures import calibration
from fan_mm.evaluation.results import CALIBRATION, read_arrays
from fan_mm.evaluation.shifts.pooling import ShiftCell
from fan_mm.evaluation.shifts.scores import SetInfo
from fan_mm.report import write_report
from fan_mm.report.calibration_figures import conditions
from fan_mm.report.compare_files import compare_files
from fan_mm.report.shift_comparison import Column, build_shift_comparison, score_in
from fan_mm.report.shift_table import ShiftTable


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """Two models on the same pictures, of which the second is as sure as it is right."""
    root = tmp_path_factory.mktemp('two')
    more = [measured(ShiftCell('dark', 'all'), 0.3, scenes=['one'] * 3 + ['two'] * 3)]
    sets = {'dark': SetInfo('Dark Zurich', 'val')}
    return [
        written(root / name, name=name, sharpness=sharpness, more=more, sets=sets)
        for name, sharpness in (('sure', 3.0), ('right', 1.5))
    ]


def drawn_by_hand(folder, cells):
    """ECE, NLL and Brier ``(R, V, 3)`` of conditions, resampled by hand: scene by scene."""
    arrays = read_arrays(folder, CALIBRATION)
    found = []
    for cell in cells:
        names, places = np.unique(arrays[f'scenes/{cell}'], return_inverse=True)
        digest = hashlib.sha256('\0'.join(names.tolist()).encode()).hexdigest()
        (counts,) = resample_counts(len(names), 1000, int(digest[:12], 16))
        found.append(
            [
                sum(n * s for n, s in zip(count[places], arrays[f'sums/{cell}'], strict=True))
                for count in counts
            ]
        )
    return np.array(found)


ACDC = ('acdc/fog', 'acdc/night', 'acdc/snow')


@pytest.mark.parametrize('measure', ['ECE', 'NLL_scaled'])
def test_calibration_by_hand(two, measure):
    """Of a condition, pooled and the mean: value, interval, and paired difference."""
    v, m = int('scaled' in measure), ('ECE', 'NLL').index(measure.partition('_')[0])
    comparison = build_shift_comparison(two)
    differences = {(d.measure, d.column): d for d in comparison.differences}
    drawn = [drawn_by_hand(folder, (*ACDC, 'dark/all')) for folder in two]
    whole = [
        np.array(
            [read_arrays(folder, CALIBRATION)[f'sums/{c}'].sum(0) for c in (*ACDC, 'dark/all')]
        )
        for folder in two
    ]

    def of(sums):
        return calibration(sums)[..., v, m]

    formulas = {
        Column('acdc', 'fog'): lambda sums: of(sums[0]),
        Column('acdc', 'pooled'): lambda sums: of(sums[:3].sum(0)),
        Column('acdc', 'mean_of_conditions'): lambda sums: of(sums[:3]).mean(0),
        Column('dark', 'all'): lambda sums: of(sums[3]),
    }
    for column, formula in formulas.items():
        score = score_in(comparison.tables[0], column, measure)
        assert score['value'] == pytest.approx(float(formula(whole[0])))
        assert score['interval'] == pytest.approx(np.quantile(formula(drawn[0]), [0.025, 0.975]))
        found = differences[measure, column]
        assert found.points == pytest.approx(float(formula(whole[1]) - formula(whole[0])))
        bounds = np.quantile(formula(drawn[1]) - formula(drawn[0]), [0.025, 0.975])
        assert found.interval == pytest.approx(bounds)
    assert comparison.best(Column('acdc', 'pooled'), 'ECE') == {'right'}
    pooled = differences['ECE', Column('acdc', 'pooled')]
    assert pooled.points < 0 and pooled.significant


def test_all_forms_of_a_comparison_have_calibration(two, tmp_path):
    compare_files(two, tmp_path, published=True)
    comparison = build_shift_comparison(two)
    value = score_in(comparison.tables[1], Column('acdc', 'pooled'), 'NLL')['value']
    text, page = read_page(tmp_path, 'comparison.html')
    assert_fetches_nothing(text, page)
    measures = ['ECE', 'NLL', 'Brier', *(f'{m}, with temperature' for m in ('ECE', 'NLL', 'Brier'))]
    heads = [table[0][0] for table in page.tables[:7]]
    assert heads == ['mIoU ↑', *(f'{m} ↓' for m in measures)]
    assert page.tables[2][2][5].startswith(f'{value:.3f}')
    markdown, tex = ((tmp_path / f'comparison.{end}').read_text() for end in ('md', 'tex'))
    assert f'**{value:.3f} [' in markdown and f'\\textbf{{{value:.3f}}}' in tex
    assert tex.count('\\begin{table*}') == tex.count('\\end{table*}') == 7
    assert 'Dark Zurich val, NLL $\\downarrow$ (nats)' in tex
    assert '| right | ACDC val: pooled | ECE ↓ |' in markdown
    assert ['right', 'ACDC val: pooled', 'ECE ↓'] in [row[:3] for t in page.tables for row in t]


def test_results_without_calibration_stand_beside(two, tmp_path):
    plain = written(tmp_path / 'plain', name='plain')
    comparison = build_shift_comparison([plain, two[0]])
    assert 'ECE' in comparison.calibration
    assert {d.measure for d in comparison.differences} == {'mIoU'}
    compare_files([plain, two[0]], tmp_path / 'out')
    _, page = read_page(tmp_path / 'out', 'comparison.html')
    assert set(page.tables[1][1][1:]) == {'\N{EN DASH}'}


def test_the_report_has_diagrams_of_conditions(two, tmp_path):
    write_report(two[0], tmp_path)
    text, page = read_page(tmp_path)
    assert_fetches_nothing(text, page)
    assert text.count('<svg') == 3
    results = json.loads((two[0] / 'results.json').read_text())
    entry = results['sets']['acdc']['pooled']['calibration']['scaled']['ECE']
    shown = f'{entry["value"]:.2f} [{entry["interval"][0]:.2f}, {entry["interval"][1]:.2f}]'
    assert f'| ACDC pooled, with temperature | {shown} |' in (tmp_path / 'report.md').read_text()
    rows = {row['condition']: row for row in csv.DictReader((tmp_path / 'results.csv').open())}
    assert float(rows['pooled']['ECE_scaled']) == entry['value']
    for name in ('reliability', 'reliability_scaled'):
        assert (tmp_path / f'figures/{name}.pdf').is_file()
    figure = conditions(ShiftTable(results), 'plain')
    assert_labels_inside(figure)
    titles = [axes.get_title('left') for axes in figure.axes if axes.get_title('left')]
    assert titles == ['ACDC fog', 'ACDC night', 'ACDC snow', 'Dark Zurich']
    fog = results['cells'][1]['calibration']['plain']['ECE']['value']
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert f'condition: ECE {fog:.2f}' in said and said[0].startswith('clean: ECE ')


def test_diagrams_of_many_conditions_without_a_clean_column():
    qualities = {f'rain alpha 0.0{i}': 0.5 for i in range(5)}
    results, _ = shift_results(qualities=qualities, clean=None, sharpness=2.0)
    figure = conditions(ShiftTable(results), 'plain')
    assert_labels_inside(figure)
    assert len([axes for axes in figure.axes if axes.get_title('left')]) == 5
