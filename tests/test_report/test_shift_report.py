"""The report on real adverse conditions, and several side by side."""

import csv
import re

import pytest
from report_checks import assert_fetches_nothing, assert_labels_inside, read_page
from striped_results import failed, measured, shift_results, written
from synthetic_results import synthetic_results, write_results

from fan_mm.errors import InputError
from fan_mm.evaluation.results import PER_IMAGE, write_with_arrays
from fan_mm.evaluation.shifts import SetInfo, ShiftCell
from fan_mm.report import write_report
from fan_mm.report.compare_files import compare_files
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.shift_comparison import Column, build_shift_comparison
from fan_mm.report.shift_figures import condition_points
from fan_mm.report.shift_table import ShiftTable
from fan_mm.report.shift_tables import summary_text
from fan_mm.report.simulated_real import BESIDE, simulated_against_real, weather_lines


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A report of two sets, one with a class that a condition lacks."""
    root = tmp_path_factory.mktemp('report') / 'ood'
    more = [
        measured(
            ShiftCell('dark', 'all'), 0.3, absent=(1, 3), predicted=(3,), unlabelled=('x.png',)
        )
    ]
    written(
        root, more=more, sets={'dark': SetInfo('Dark <Zurich>', 'val', weather={'all': 'night'})}
    )
    write_report(root, root)
    return root


def test_page(folder):
    text, page = read_page(folder)
    assert_fetches_nothing(text, page)
    table = page.tables[0]
    assert [row[0] for row in table[2:]] == [
        *('ACDC val', 'night', 'snow', 'pooled', 'mean of conditions', 'Dark <Zurich> val'),
    ]
    body = ' '.join(page.text)
    for words in (
        'absent, left out of the mean: person',
        'not in the ground truth, but predicted, and so 0 in the mean as in mmseg: train',
        '1 without a label, left out: x.png',
        'Per class',
        'the score of all pictures of the set together',
    ):
        assert words in body
    ids = [a['id'] for _, a in page.tags if 'id' in a]
    assert len(ids) == len(set(ids))


def test_all_forms_show_the_same_numbers(folder):
    results, _ = shift_results()
    value = results['sets']['acdc']['pooled']['score']['value']
    rows = list(csv.DictReader((folder / 'results.csv').open()))
    pooled = next(row for row in rows if row['condition'] == 'pooled')
    assert float(pooled['mIoU']) == value and float(pooled['low']) < value < float(pooled['high'])
    assert f'| pooled | {value:.1f} |' in (folder / 'report.md').read_text()
    assert f'{value:.1f}' in summary_text(results)
    classes = list(csv.DictReader((folder / 'per_class.csv').open()))
    assert {row['set'] for row in classes} == {'clean', 'acdc', 'dark'}


def test_what_is_missing_is_said_in_every_form(tmp_path):
    root = tmp_path / 'ood'
    written(root, more=[failed(ShiftCell('acdc', 'rain'))])
    write_report(root, root)
    text, page = read_page(root)
    assert 'class="alarm"' in text and 'no snow' in text
    assert [row[1] for row in page.tables[0] if row[0] == 'pooled'] == ['incomplete']
    assert 'INCOMPLETE' in (root / 'report.md').read_text()


def test_labels_are_inside_the_figures():
    tables = [ShiftTable(shift_results(name=n * 20, seed=i)[0]) for i, n in enumerate('ab')]
    assert_labels_inside(condition_points(tables[:1]))
    assert_labels_inside(condition_points(tables))


# ------------------------------------------------------------------------------------- comparison


def test_differences_are_paired(tmp_path):
    better = {'fog': 0.72, 'night': 0.42, 'snow': 0.62}
    paths = [
        written(tmp_path / 'one', name='one'),
        written(tmp_path / 'two', name='two', qualities=better),
    ]
    comparison = build_shift_comparison(paths)
    found = {(d.column.set, d.column.condition): d for d in comparison.differences}
    assert set(found) == {
        ('clean', 'clean'),
        *(('acdc', c) for c in ('fog', 'night', 'snow', 'pooled', 'mean_of_conditions')),
    }
    # the same scenes, evenly better: surely so, though the intervals of the two overlap
    pooled = found['acdc', 'pooled']
    assert pooled.points == pytest.approx(2, abs=0.2) and pooled.significant
    assert found['clean', 'clean'].points == 0 and not found['clean', 'clean'].significant
    assert comparison.best(Column('acdc', 'fog')) == {'two'}


def test_other_pictures_are_neither_ranked_nor_subtracted(tmp_path):
    paths = [written(tmp_path / 'one', name='one'), tmp_path / 'two']
    results, arrays = shift_results(name='two')
    results['sets']['acdc']['conditions']['fog']['sha256'] = 'others'
    paths[1].mkdir()
    write_with_arrays(paths[1], results, {PER_IMAGE: arrays})
    comparison = build_shift_comparison(paths)
    assert {column.condition for _, column in comparison.unlike} == {
        *('fog', 'pooled', 'mean_of_conditions')
    }
    assert {d.column.condition for d in comparison.differences} == {'clean', 'night', 'snow'}
    assert comparison.best(Column('acdc', 'fog')) == set()
    assert (
        'two was measured on other pictures, labels or classes in ACDC val fog'
        in comparison.notices[0]
    )


def test_published_rows_stand_beside_and_have_no_rank(tmp_path):
    paths = [written(tmp_path / name, name=name, seed=i) for i, name in enumerate(('one', 'two'))]
    compare_files(paths, tmp_path / 'out', published=True)
    text, page = read_page(tmp_path / 'out', 'comparison.html')
    assert_fetches_nothing(text, page)
    rows = {row[0]: row for row in page.tables[0]}
    assert rows['SegFormer MiT-B5 1024x1024 (published)'][1:] == [
        *('82.2', '75.0', '30.9', '61.5', '58.8', '\N{EN DASH}')  # no mean of four is printed
    ]
    assert rows['VBLC (published)'][-2:] == ['63.7', '\N{EN DASH}']
    assert 'they are not ranked' in text
    assert not re.search(
        r'\\textbf\{[^}]*\} [^\n]*published', (tmp_path / 'out/comparison.tex').read_text()
    )


def test_results_of_other_kinds_do_not_mix(tmp_path):
    one = written(tmp_path / 'one')
    sweep = write_results(tmp_path / 'sweep', name='other')
    with pytest.raises(InputError, match='a checkpoint that none of the results'):
        compare_files([one, sweep], tmp_path / 'out')


# ------------------------------------------------------------------------------ simulated and real


def test_simulated_beside_real():
    """Fog beside fog, and what both have only."""
    results, _ = shift_results()
    real = ShiftTable(results)
    sweep = RobustnessTable(synthetic_results())
    lines = weather_lines(sweep, real)
    assert list(lines) == ['fog', 'snow', 'night']
    fog = lines['fog']
    assert [(line.label, line.kind) for line in fog] == [
        ('ACDC fog', 'real'),
        ('fog (simulated)', 'simulated'),
    ]
    assert fog[0].value == results['sets']['acdc']['conditions']['fog']['score']['value']
    assert fog[1].value == sweep.mean('fog')
    assert fog[1].bounds[0] <= fog[1].value <= fog[1].bounds[1]
    assert set(BESIDE) == {'fog', 'snow', 'rain', 'night'}
    assert_labels_inside(simulated_against_real([(sweep, real)]))


def test_both_of_one_checkpoint_make_the_figure(tmp_path):
    sweep = write_results(tmp_path / 'sweep')
    digest = synthetic_results()['model']['checkpoint_sha256']
    one = written(tmp_path / 'one', checkpoint=digest)
    compare_files([one, sweep], tmp_path / 'out')
    assert (tmp_path / 'out/figures/simulated_real.pdf').is_file()
    text, page = read_page(tmp_path / 'out', 'comparison.html')
    assert_fetches_nothing(text, page)
    assert text.count('<svg') == 2 and 'No corruption is a night' in text
