"""The report on real adverse conditions, and several side by side."""

import csv
import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from report_checks import assert_fetches_nothing, assert_labels_inside, read_page
from striped_results import ACDC as ACDC_SET
from striped_results import CLASSES, failed, measured, shift_results, written
from synthetic_results import synthetic_results, write_results

from fan_mm.errors import InputError
from fan_mm.evaluation.bootstrap import resample_counts
from fan_mm.evaluation.calibration.measures import calibration
from fan_mm.evaluation.results import CALIBRATION, read_arrays, read_results
from fan_mm.evaluation.shifts.pooling import CLEAN_COLUMN, ShiftCell
from fan_mm.evaluation.shifts.scores import SetInfo
from fan_mm.report import write_report
from fan_mm.report.calibration_figures import conditions
from fan_mm.report.compare_files import compare_files
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.shift_comparison import Column, build_shift_comparison, score_in
from fan_mm.report.shift_figures import condition_points
from fan_mm.report.shift_table import ShiftTable
from fan_mm.report.shift_tables import shifts_markdown, summary_text
from fan_mm.report.simulated_real import BESIDE, simulated_against_real, weather_lines

COCO = [round(0.5 + 0.05 * i, 2) for i in range(10)]  # overlaps
CSV = Path(__file__).parents[1] / 'data' / 'semsegbench.csv'


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
        'predicted, but not in the ground truth, so counted as 0 in the mean as in mmseg: train',
        '1 without a label, left out: x.png',
        'Per class',
        'the score over all images of the dataset',
    ):
        assert words in body
    ids = [a['id'] for _, a in page.tags if 'id' in a]
    assert len(ids) == len(set(ids))


def test_effective_robustness_and_many_absent_classes():
    """In words, with its interval; of very many classes the first are named."""
    cells = [measured(ShiftCell('coco_o', name), 0.5) for name in ('sketch', 'tattoo')]
    results, _ = shift_results(
        more=cells, sets={'coco_o': SetInfo('COCO-O', 'val2017', effective=True)}
    )
    found = results['sets']['coco_o']['mean_of_conditions']['effective_robustness']
    low, high = found['interval']
    line = f'effective robustness: {found["value"]:.1f} [{low:.1f}, {high:.1f}]'
    results['sets']['coco_o']['conditions']['sketch']['absent'] = [f'c{i}' for i in range(40)]
    text = shifts_markdown(ShiftTable(results), [])
    assert f'- COCO-O val2017, {line}' in text
    assert 'left out of the mean: c0, c1, c2, c3, c4, c5 and 34 more (results.json)' in text
    of_another = r'; the clean column has \d+ images, so it is not COCO val2017'
    line = rf'effective robustness +{found["value"]:.1f} \[.*\]{of_another}'
    assert re.search(line, summary_text(results))


def test_all_forms_show_the_same_numbers(folder):
    results, _ = shift_results()
    value = results['sets']['acdc']['pooled']['score']['value']
    rows = list(csv.DictReader((folder / 'results.csv').open()))
    pooled = next(row for row in rows if row['condition'] == 'pooled')
    assert float(pooled['mIoU']) == value and float(pooled['low']) < value < float(pooled['high'])
    assert f'| pooled | {value:.1f} |' in (folder / 'report.md').read_text()
    assert f'{value:.1f}' in summary_text(results)
    classes = list(csv.DictReader((folder / 'per_class.csv').open()))
    assert {(row['set'], row['split']) for row in classes} == {
        *(('clean', ''), ('acdc', 'val'), ('dark', 'val'))
    }


def test_values_per_class_stand_under_their_condition():
    """The clean column, each condition, the pooled one behind them; of a set its own classes alone."""
    parts = {
        'clean': measured(CLEAN_COLUMN, 0.9),
        'ACDC fog': measured(ShiftCell('acdc', 'fog'), 0.7),
        'ACDC night': measured(ShiftCell('acdc', 'night'), 0.4, absent=(1,)),
        'IDD': measured(ShiftCell('idd', 'all'), 0.5),
    }
    more = [parts[name] for name in ('ACDC night', 'IDD')]
    sets = {'idd': SetInfo('IDD', 'val', scored=(0, 2))}
    results, _ = shift_results(qualities={'fog': 0.7}, more=more, sets=sets)
    table = ShiftTable(results)
    assert table.told('idd')['classes scored'] == '2 of 4'
    assert 'classes scored' not in table.told('acdc')
    found = {name: part.record.per_class['IoU'] for name, part in parts.items()}
    found['IDD'] = {name: found['IDD'][name] for name in ('road', 'car')}
    both = sum(parts[f'ACDC {c}'].statistics.sum(0, dtype=float) for c in ('fog', 'night'))
    pooled = dict(zip(CLASSES, (100 * both[0] / both[1]).round(4).tolist(), strict=True))
    metric, columns = table.class_values()
    order = ['clean', 'ACDC fog', 'ACDC night', 'ACDC pooled', 'IDD']
    assert metric == 'IoU' and list(columns) == order
    for name, values in columns.items():
        assert values == pytest.approx(pooled if name == 'ACDC pooled' else found[name])
    lines = shifts_markdown(table, []).partition('## Per class\n\n')[2].split('\n\n')[0]
    rows = [[c.strip() for c in line.strip('|').split('|')] for line in lines.splitlines()]
    assert rows[0] == ['IoU', *order]
    for name, row in zip(CLASSES, rows[2:], strict=True):
        texts = [columns[column].get(name) for column in order]
        assert row == [name, *('\N{EN DASH}' if t is None else f'{t:.1f}' for t in texts)]

    losses = table.class_losses()
    lost = {
        name: [found['clean'][name] - v if (v := found[c].get(name)) else None for c in order[1:3]]
        for name in CLASSES
    }
    lost = {n: [*both, found['clean'][n] - found['IDD'].get(n, np.nan)] for n, both in lost.items()}
    lost = {name: np.array(values, float) for name, values in lost.items()}
    worst = sorted(CLASSES, key=lambda name: -np.nanmean(lost[name]))
    assert list(losses.classes) == worst and losses.corruptions == ('ACDC fog', 'ACDC night', 'IDD')
    assert np.allclose(losses.losses, [lost[name] for name in worst], equal_nan=True)
    assert losses.clean.tolist() == [found['clean'][name] for name in worst]


def test_what_is_missing_is_said_in_every_form(tmp_path):
    root = tmp_path / 'ood'
    written(root, more=[failed(ShiftCell('acdc', 'rain'))])
    write_report(root, root)
    text, page = read_page(root)
    assert 'class="alarm"' in text and 'no snow' in text
    assert [row[1] for row in page.tables[0] if row[0] == 'pooled'] == ['incomplete']
    markdown = (root / 'report.md').read_text()
    assert 'INCOMPLETE' in markdown and '> - ACDC rain: RuntimeError: no snow\n' in markdown


def test_labels_are_inside_the_figures():
    tables = [ShiftTable(shift_results(name=n * 20, seed=i)[0]) for i, n in enumerate('ab')]
    assert_labels_inside(condition_points(tables[:1]))
    assert_labels_inside(condition_points(tables))
    names = [
        f'{n}-patch4-window12-in22k-384x384-pre_upernet_8xb2-160k_ade20k-512x512' for n in 'abc'
    ]
    assert_labels_inside(condition_points([ShiftTable(shift_results(name=n)[0]) for n in names]))


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


def test_a_part_of_a_set_is_marked_wherever_its_scores_stand(tmp_path):
    """6 pictures of each condition, where the fog of the whole set has 16."""
    published = {'fog': 16, 'night': 6, 'snow': 6, 'all': 28}
    info = dataclasses.replace(ACDC_SET, published=published)
    folder = written(tmp_path / 'part', sets={'acdc': info})
    table = ShiftTable(read_results(folder))
    marked = {row.label: row.remarks for row in table.all_rows() if row.part}
    assert marked == {
        'fog': ('6 of 16 images',),
        'pooled': ('18 of 28 images',),
        'mean of conditions': ('18 of 28 images',),
    }
    assert table.best_known('acdc').label == 'pooled'
    assert re.search(r'ACDC val \| fog \|.*\| 6 of 16 images \|', shifts_markdown(table, []))
    assert re.search(r'ACDC fog .*; 6 of 16 images', summary_text(table.results))
    (notice,) = build_shift_comparison([folder]).notices
    assert notice == (
        'model was measured on 6 of 16 images of ACDC val fog: not to be compared with numbers that are '
        'published of the whole.'
    )


def test_other_pictures_are_neither_ranked_nor_subtracted(tmp_path):
    paths = [written(tmp_path / name, name=name) for name in ('one', 'two')]
    results = json.loads((paths[1] / 'results.json').read_text())
    results['sets']['acdc']['conditions']['fog']['sha256'] = 'others'
    del results['seal']
    (paths[1] / 'results.json').write_text(json.dumps(results))
    comparison = build_shift_comparison(paths)
    assert {column.condition for _, column in comparison.unlike} == {
        *('fog', 'pooled', 'mean_of_conditions')
    }
    assert {d.column.condition for d in comparison.differences} == {'clean', 'night', 'snow'}
    assert comparison.best(Column('acdc', 'fog')) == set()
    assert (
        'two was measured on other images, labels or classes in ACDC val fog'
        in comparison.notices[0]
    )


@pytest.mark.parametrize(
    ('settings', 'differing'),
    [
        (({'iou_thrs': [0.5], 'annotations': 'x'}, {'iou_thrs': [0.75]}), 'iou_thrs'),
        (({'iou_thrs': [0.5], 'annotations': 'x'}, {'iou_thrs': [0.5], 'annotations': 'x'}), ''),
        (({'iou_thrs': [0.5]}, {}), ''),  # of a metric that is not known
        ((None, {'iou_thrs': [0.5]}), ''),  # of an earlier version
    ],
)
def test_other_settings_of_the_metric_are_neither_ranked_nor_subtracted(
    tmp_path, settings, differing
):
    paths = [written(tmp_path / name, name=name) for name in ('one', 'two')]
    for path, own in zip(paths, settings, strict=True):
        results = json.loads((path / 'results.json').read_text())
        for cell in results['cells']:
            if cell['condition'] == 'fog' and own is None:
                del cell['settings']
            elif cell['condition'] == 'fog':
                cell['settings'] = own
        del results['seal']
        (path / 'results.json').write_text(json.dumps(results))
    comparison = build_shift_comparison(paths)
    unlike = {'fog', 'pooled', 'mean_of_conditions'} if differing else set()
    assert {column.condition for _, column in comparison.unlike} == unlike
    compared = {d.column.condition for d in comparison.differences}
    assert compared == {'clean', 'fog', 'night', 'snow', 'pooled', 'mean_of_conditions'} - unlike
    assert comparison.best(Column('acdc', 'fog')) == (set() if differing else {'one', 'two'})
    assert comparison.notices == (
        (
            'two was measured with other settings of the metric (iou_thrs) in ACDC val fog: there it is '
            'neither ranked nor subtracted.',
        )
        if differing
        else ()
    )


def test_an_average_over_other_overlaps_is_said_beside_published_ones(tmp_path):
    path = written(tmp_path / 'one', name='one')
    results = json.loads((path / 'results.json').read_text())
    for said, overlaps in (([], COCO), (['[0.5], published rows over 0.5 to 0.95.'], [0.5])):
        for cell in results['cells']:
            cell['settings'] = {'iou_thrs': list(overlaps)}
        results.pop('seal', None)
        (path / 'results.json').write_text(json.dumps(results))
        notices = build_shift_comparison([path], published=True).notices
        found = [notice for notice in notices if 'averages over overlaps' in notice]
        assert [notice.partition('overlaps of ')[2] for notice in found] == said


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
    assert 'are not ranked' in text
    assert not re.search(
        r'\\textbf\{[^}]*\} [^\n]*published', (tmp_path / 'out/comparison.tex').read_text()
    )


@pytest.mark.parametrize(('pictures', 'score'), [(406, 62.4), (406, 20.0), (405, 62.4)])
def test_a_place_on_acdc_among_semsegbench(tmp_path, pictures, score):
    """By all pictures together, of the same number of pictures; the broken row has no rank."""
    path = written(tmp_path / 'mine', name='mine')
    results = json.loads((path / 'results.json').read_text())
    results['sets']['acdc'] |= {'samples': pictures}
    results['sets']['acdc']['pooled']['score']['value'] = score
    (path / 'results.json').write_text(json.dumps(results))
    with open(CSV, newline='') as file:
        fields = {name: values for name, *values in csv.reader(file)}
    rivals = [
        float(value)
        for name, value, snow in zip(
            fields['architecture'], fields['mIoU_acdc'], fields['mIoU_2d_snow'], strict=True
        )
        if value and snow != '1.98'
    ]
    notices = build_shift_comparison([path], published=True).notices
    place = 1 + sum(value > score for value in rivals)
    said = f'mine: place {place} of {len(rivals) + 1} on ACDC val, pooled, among the models of SemSegBench.'
    assert (said in notices) == (pictures == 406) and len(rivals) == 31


def test_results_of_other_kinds_do_not_mix(tmp_path):
    one = written(tmp_path / 'one')
    sweep = write_results(tmp_path / 'sweep', name='other')
    with pytest.raises(InputError, match='a checkpoint without results'):
        compare_files([one, sweep], tmp_path / 'out')


# ------------------------------------------------------------------------------------ calibration


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
        ('ACDC val fog', 'real'),
        ('fog (simulated)', 'simulated'),
    ]
    assert fog[0].value == results['sets']['acdc']['conditions']['fog']['score']['value']
    assert fog[1].value == sweep.mean('fog')
    assert fog[1].bounds[0] <= fog[1].value <= fog[1].bounds[1]
    assert set(BESIDE) == {'fog', 'snow', 'rain', 'night'}
    other = ShiftTable(shift_results(clean=0.5, qualities={'fog': 0.2})[0])
    figure = simulated_against_real([(sweep, real), (sweep, other)])
    assert_labels_inside(figure)
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    for axes, table in zip(figure.axes, (real, other), strict=True):
        drawn = {float(x) for line in axes.lines for x in line.get_xdata()}
        shown = [line for found in weather_lines(sweep, table).values() for line in found]
        assert drawn == {
            *(sweep.clean, table.clean),
            *(x for line in shown for x in (line.value, *line.bounds)),
        }
        labels = [text.get_text() for text in axes.get_yticklabels()]
        assert labels == [line.label for line in shown]
        for line in axes.lines:  # each value beside its name
            if line.get_marker() == 'o':
                place = axes.get_yticks().tolist().index(line.get_ydata()[0])
                assert line.get_xdata()[0] == shown[place].value


def test_both_of_one_checkpoint_make_the_figure(tmp_path):
    sweep = write_results(tmp_path / 'sweep')
    digest = synthetic_results()['model']['checkpoint_sha256']
    one = written(tmp_path / 'one', checkpoint=digest)
    compare_files([one, sweep], tmp_path / 'out')
    assert (tmp_path / 'out/figures/simulated_real.pdf').is_file()
    text, page = read_page(tmp_path / 'out', 'comparison.html')
    assert_fetches_nothing(text, page)
    assert text.count('<svg') == 2 and 'No corruption simulates night' in text
    words = 'model: its sweep has other settings of the metric (nan_to_num)'
    assert words not in text
    results = [
        json.loads((path / 'results.json').read_text()) for path in (tmp_path / 'sweep', one)
    ]
    results[0]['metric']['settings'] = {'nan_to_num': 0.0, 'annotations': 'a'}
    for cell in results[1]['cells']:
        cell['settings'] = {'nan_to_num': None, 'annotations': 'b'}
    results[1].pop('seal')
    for path, content in zip((tmp_path / 'sweep', one), results, strict=True):
        (path / 'results.json').write_text(json.dumps(content))
    compare_files([one, sweep], tmp_path / 'out')
    assert words in read_page(tmp_path / 'out', 'comparison.html')[0]
