"""Results of several models side by side: values, ranks, differences, names."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from report_checks import notice_with
from synthetic_results import semsegbench, synthetic_results, write_results

from fan_mm.errors import InputError
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.cells import Cell
from fan_mm.evaluation.results import read_results
from fan_mm.evaluation.results import write_results as write_with_statistics
from fan_mm.jobs.robustness import summary_text
from fan_mm.report import comparison
from fan_mm.report.comparison import CALIBRATION, _calibration, build_comparison
from fan_mm.report.figures import new_figure
from fan_mm.report.html import report_page
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.tables import cells_csv, report_markdown


@pytest.fixture
def three(tmp_path):
    """Results of a better, a middling and a worse model on the same images."""
    models = {'good': 1.4, 'fair': 1.1, 'poor': 0.7}
    return [write_results(tmp_path / n, name=n, quality=q) for n, q in models.items()]


def with_statistics(folder, name, right):
    """Results whose cells say what their statistics per image say: 40 images, one class each.

    Args:
        right: for clean and for corrupted images, how many of an image's 10 pixels are right, (40,).
    """
    results = synthetic_results(name=name)
    cells = {}
    for cell in results['cells']:
        hits = right['clean' if cell['corruption'] == 'clean' else 'corrupted']
        statistics = np.stack([hits, np.full(40, 10)], axis=1)[..., None].astype(np.float64)
        cells[Cell(cell['corruption'], cell['severity'])] = statistics
        cell['metrics']['mIoU'] = float(100 * hits.sum() / 400)
    write_with_statistics(folder, results, PerImage('iou', np.arange(40).astype(str), cells))
    return folder / 'results.json'


def test_values_are_those_of_the_results(three):
    comparison = build_comparison(three)
    assert [e.name for e in comparison.entries] == ['good', 'fair', 'poor']
    for path, entry in zip(three, comparison.entries, strict=True):
        summary = json.loads(path.read_text())['summary']
        assert entry.clean == summary['clean']
        assert entry.mean == summary['mean']['value']
        assert list(entry.mean_interval) == summary['mean']['interval']
        assert entry.retention == summary['retention']['value']
        assert entry.groups['noise'] == summary['groups']['noise']['mean']
        assert entry.corruptions['fog'] == summary['corruptions']['fog']['mean']
        assert not entry.published
    assert not comparison.notices
    assert set(comparison.corruptions) == comparison.entries[0].corruptions.keys()


def test_ranks(three):
    comparison = build_comparison([three[2], three[0], three[1]])
    assert set(comparison.ranks['good'].values()) == {1}
    assert set(comparison.ranks['fair'].values()) == {2}
    assert set(comparison.ranks['poor'].values()) == {3}


def test_values_that_print_equal_share_a_rank(tmp_path):
    paths = [
        write_results(tmp_path / n, name=n, quality=q)
        for n, q in (('a', 1.0), ('b', 1.0001), ('c', 0.5))
    ]
    ranks = build_comparison(paths).ranks
    assert ranks['a']['snow'] == ranks['b']['snow'] == 1
    assert ranks['c']['snow'] == 3


def test_an_incomplete_corruption_is_not_ranked(tmp_path):
    paths = [
        write_results(tmp_path / 'a', name='a'),
        write_results(tmp_path / 'b', name='b', failed=[('snow', 2)]),
    ]
    comparison = build_comparison(paths)
    assert 'snow' not in comparison.ranks['a'] | comparison.ranks['b']
    assert comparison.ranks['a']['fog'] == 1
    assert comparison.entries[1].mean is None
    assert notice_with(comparison, 'b is incomplete: 1 cell failed.')
    assert {d.points for d in comparison.differences if d.measure != 'clean'} == {None}


@pytest.mark.parametrize('calibration', [None, {}, {'summary': None}])
def test_results_without_calibration(calibration):
    assert _calibration(SimpleNamespace(results={'calibration': calibration})) == {}


@pytest.mark.parametrize(
    ('absent', 'words'),
    [
        ({}, ''),
        ({'failed': 1}, '1 cell failed'),
        ({'missing': 2, 'undefined': 1}, '2 cells missing, 1 cell undefined'),
    ],
)
def test_cells_without_a_score_are_counted(absent, words):
    table = SimpleNamespace(absent=lambda state: [None] * absent.get(state, 0))
    assert comparison._count_absent(table) == words


@pytest.mark.parametrize('other', [False, True])
def test_differences_in_their_order(other, monkeypatch):
    def found(points):
        return dict(difference=points, interval=points and [0.5, 1.5], significant=points and True)

    measured = {
        'mCE': found(1.0),
        'clean': found(None),
        'unknown': found(1.0),
        'mean_ECE_scaled': found(1.0),
    }
    measured |= {'mean_mAcc': found(1.0), 'mean_aAcc': found(None), 'clean_mAcc': found(2.0)}
    asked = []
    monkeypatch.setattr(comparison, 'compare', lambda *paths: asked.append(paths) or measured)
    monkeypatch.setattr(comparison, '_other_cells', lambda *_: [])
    monkeypatch.setattr(comparison, '_differing', lambda *_: ['seed'] * other)
    results = [{'other_summaries': ['mAcc', 'aAcc']}, {}, {}]
    differences = comparison._differences(['a', 'b', 'c'], results, ['A', 'B', 'C'])
    assert asked == ([] if other else [('a', 'b'), ('a', 'c')])
    rows = [(d.measure, d.score, d.points, d.interval, d.significant) for d in differences]
    expected = [
        ('clean', '', None, None, None),
        ('mCE', '', 1.0, (0.5, 1.5), True),
        ('mean_ECE_scaled', '', 1.0, (0.5, 1.5), True),
        ('clean', 'mAcc', 2.0, (0.5, 1.5), True),
        ('mean', 'mAcc', 1.0, (0.5, 1.5), True),
    ]
    assert rows == ([] if other else expected * 2)
    assert [d.name for d in differences] == ([] if other else ['B'] * 5 + ['C'] * 5)


def test_calibration_of_an_entry():
    ece = {'clean': {'value': 1.0}, 'mean': {'value': 2.0}, 'worst': {'value': 3.0}}
    summary = {'plain': {'ECE': ece}, 'scaled': {'ECE': ece}}
    found = _calibration(SimpleNamespace(results={'calibration': {'summary': summary}}))
    assert found == {
        'clean_ECE': 1.0,
        'mean_ECE': 2.0,
        'clean_ECE_scaled': 1.0,
        'mean_ECE_scaled': 2.0,
    }
    assert found.keys() <= set(CALIBRATION)


def test_nothing_to_compare():
    with pytest.raises(InputError, match='at least one'):
        build_comparison([])


def test_missing_file(three, tmp_path):
    with pytest.raises(InputError, match='cannot read'):
        build_comparison([*three, tmp_path / 'nowhere' / 'results.json'])


def test_equal_names_are_told_apart(tmp_path):
    paths = [write_results(tmp_path / f, name='fan') for f in ('run1', 'run2')]
    assert [e.name for e in build_comparison(paths).entries] == ['fan (run1)', 'fan (run2)']
    names = [e.name for e in build_comparison([paths[0], paths[0]]).entries]
    assert names == ['fan (1)', 'fan (2)']


def test_seeds_are_told_apart_by_the_folders_that_differ(tmp_path):
    """By default every sweep lies in a folder named robustness."""
    places = ['a/seed_0/robustness', 'a/seed_1/robustness', 'b/seed_1/robustness']
    paths = [write_results(tmp_path / place, name='fan') for place in places]
    paths.append(write_results(tmp_path / 'resnet', name='resnet'))
    names = [e.name for e in build_comparison(paths).entries]
    assert names == ['fan (a/seed_0)', 'fan (a/seed_1)', 'fan (b/seed_1)', 'resnet']
    assert build_comparison(paths[:2]).entries[1].name == 'fan (seed_1)'


def test_differences_without_images_have_no_interval(three):
    differences = build_comparison(three).differences
    assert [(d.name, d.measure) for d in differences] == [
        (name, measure) for name in ('fair', 'poor') for measure in ('clean', 'mean', 'retention')
    ]
    assert all(d.interval is None and d.significant is None for d in differences)
    assert differences[0].points == pytest.approx(0)
    assert differences[1].points < 0


def test_paired_differences(tmp_path):
    hard = np.random.default_rng(0).integers(2, 8, 40)  # pixels right, varying much between images
    first = with_statistics(tmp_path / 'a', 'a', {'clean': hard + 1, 'corrupted': hard})
    better = with_statistics(tmp_path / 'b', 'b', {'clean': hard + 1, 'corrupted': hard + 1})
    same = with_statistics(tmp_path / 'c', 'c', {'clean': hard + 1, 'corrupted': np.roll(hard, 1)})
    found = {(d.name, d.measure): d for d in build_comparison([first, better, same]).differences}
    mean = found['b', 'mean']
    assert mean.points == pytest.approx(10)
    # Every image gains one pixel of ten: paired, the difference does not depend on the draw.
    assert mean.interval == pytest.approx((10, 10))
    assert mean.significant is True
    assert found['b', 'clean'].significant is False
    noise = found['c', 'mean']
    assert noise.points == pytest.approx(0)
    assert noise.interval[0] < 0 < noise.interval[1]
    assert noise.significant is False
    assert found['b', 'retention'].significant is True


@pytest.mark.parametrize(
    ('values', 'undefined'),
    [
        (dict(clean=None, corrupted=None, snow=None), ('mean', 'retention', 'worst')),
        (dict(clean=0.0), ('retention',)),
    ],
)
def test_what_is_complete_and_undefined_is_no_number_for_any_reader(tmp_path, values, undefined):
    folder = tmp_path / 'undefined'
    folder.mkdir()
    semsegbench(folder, **values)
    results = read_results(folder)
    for name in undefined:
        found = results['summary'][name]
        assert (found['value'], found['complete'], found['missing']) == (None, True, [])
    table = RobustnessTable(results)
    figures = {'severity_curves': new_figure(1, 1), 'groups': new_figure(1, 1)}
    for text in (report_page(table, figures, folder), report_markdown(table, []), cells_csv(table)):
        assert not re.search(r'\bnan\b|None', text)
    assert re.search('retention +undefined', summary_text(results))
    (entry, other) = build_comparison([folder, semsegbench(tmp_path)]).entries
    assert entry.retention is None and other.retention == pytest.approx(100 * 176 / 240)
