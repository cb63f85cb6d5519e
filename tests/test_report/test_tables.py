import csv
import io
import re
from pathlib import Path

import pytest
from matplotlib.text import Text
from synthetic_results import synthetic_results

from fan_mm.report.figures import group_bars, heat_map, new_figure, severity_curves
from fan_mm.report.html import report_page
from fan_mm.report.labels import MINUS, corruption_label, number
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.tables import cells_csv, per_class_csv, report_markdown


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_one_row_per_cell_and_nothing_is_rounded():
    results = synthetic_results(absent=[('snow', 4)], failed=[('fog', 1)])
    rows = rows_of(cells_csv(RobustnessTable(results)))
    assert len(rows) == len(results['cells']) == 1 + 4 * 3 + 12 * 5
    by_cell = {(r['corruption'], int(r['severity'])): r for r in rows}
    for cell in results['cells']:
        row = by_cell[cell['corruption'], cell['severity']]
        assert row['status'] == cell['status']
        for metric in ('mIoU', 'aAcc', 'mAcc'):
            value = cell['metrics'].get(metric)
            assert row[metric] == ('' if value is None else repr(value))
    assert by_cell['fog', 1]['error'].startswith('RuntimeError')
    assert by_cell['snow', 4]['mIoU'] == by_cell['snow', 4]['retention'] == ''
    assert by_cell['clean', 0]['retention'] == '100.0'
    assert by_cell['clean', 0]['in_mean'] == '0'
    assert (by_cell['snow', 3]['in_mean'], by_cell['snow', 3]['group']) == ('1', 'weather')


def test_csv_marks_hold_outs():
    rows = rows_of(cells_csv(RobustnessTable(synthetic_results('classification'))))
    assert {r['group'] for r in rows if r['in_mean'] == '0'} == {'', 'hold-outs'}


def test_per_class_csv_is_long():
    results = synthetic_results(failed=[('fog', 1)])
    rows = rows_of(per_class_csv(RobustnessTable(results)))
    assert len(rows) == 19 * (len(results['cells']) - 1)
    road = next(r for r in rows if (r['corruption'], r['class']) == ('clean', 'road'))
    assert float(road['value']) == results['cells'][0]['per_class']['IoU']['road']
    assert next(r for r in rows if r['class'] == 'train')['value'] == ''
    assert per_class_csv(RobustnessTable(synthetic_results('classification'))) is None


@pytest.mark.parametrize('task', ['segmentation', 'detection', 'classification'])
def test_markdown_shows_every_number(task):
    table = RobustnessTable(synthetic_results(task))
    text = report_markdown(table, ['heat_map'])
    for corruption in table.corruptions:
        assert f'{table.mean(corruption):.1f}' in text
    for measure in table.headline():
        assert f'| {measure.label} ' in text
        assert f'{measure.value:.1f}' in text
    assert '95 % interval' in text
    assert 'INCOMPLETE' not in text
    assert '![heat map](figures/heat_map.png)' in text
    assert table.results['model']['checkpoint_sha256'] in text


@pytest.mark.parametrize('task', ['segmentation', 'detection', 'classification'])
def test_every_cell_stands_in_its_place(task):
    """Rounded to one digit, in italics what is in no mean; then mean and retention."""
    results = synthetic_results(task)
    table = RobustnessTable(results)
    cells = {(c['corruption'], c['severity']): c['metrics'] for c in results['cells']}
    metric, clean = results['metric']['name'], results['summary']['clean']
    text = report_markdown(table, []).partition('## Corruptions and severities\n\n')[2]
    head, _, *lines = (
        [part.strip() for part in line.strip('|').split('|')]
        for line in text.partition('\n\n')[0].splitlines()
    )
    assert head[:2] == ['group', 'corruption'] and head[-2:] == ['mean', 'retention']
    assert head[2:-2] == [f'severity {s}' for s in range(1, 6)]
    hold_outs = results['benchmark']['hold_outs']
    names = [*results['benchmark']['severities'], *hold_outs]
    groups = [name for found in results['benchmark']['groups'].values() for name in found]
    assert sorted(names) == sorted([*groups, *hold_outs])
    for name, (_, label, *found) in zip([*groups, *hold_outs], lines, strict=True):
        assert label == corruption_label(name)
        expected, counted = [], []
        for severity in range(1, 6):
            value = cells.get((name, severity), {}).get(metric)
            counted += [] if value is None else [value]
            words = '·' if value is None else f'{value:.1f}'
            expected.append(f'*{words}*' if name in hold_outs else words)
        mean = sum(counted) / len(counted)
        assert found == [*expected, f'{mean:.1f}', f'{100 * mean / clean:.1f}']


def test_losses_per_class_have_one_sign_and_the_same_rows_everywhere():
    table = RobustnessTable(synthetic_results('detection'))
    losses = table.class_losses()
    text = report_markdown(table, []).partition('## Losses per class')[2]
    assert 'the class that loses most first' in text
    row = next(line for line in text.splitlines() if line.startswith(f'| {losses.classes[0]} '))
    assert row.split(' | ')[2] == number(losses.losses[0][0])
    assert losses.losses[0][0] > 0
    page = report_page(table, {'severity_curves': new_figure(1, 1)}, None)
    name, _, points = losses.worst()[0]
    assert f': {name} under ' in page and f' {number(points)}; ' in page
    assert f'>{number(points)}</td>' in page
    assert MINUS not in page.partition('Largest losses')[2].partition('.</p>')[0]


def test_markdown_says_what_is_missing():
    results = synthetic_results(absent=[('snow', 4), ('snow', 5)], failed=[('fog', 1)])
    text = report_markdown(RobustnessTable(results), [])
    assert 'INCOMPLETE' in text
    assert 'not evaluated: Snow 4, 5' in text
    assert 'failed: Fog 1: `RuntimeError: cannot read frankfurt_000001`' in text
    assert '| corrupted mean ↑ | incomplete |  |' in text
    assert '| Weather | incomplete |' in text
    snow = next(line for line in text.splitlines() if line.startswith('| Weather | Snow'))
    assert snow.count('**missing**') == 2
    assert snow.endswith('| incomplete | \N{EN DASH} |')


def test_markdown_tables_are_rectangular():
    text = report_markdown(RobustnessTable(synthetic_results(failed=[('fog', 1)])), [])
    width = None
    for line in text.splitlines():
        if not line.startswith('| '):
            width = None
            continue
        columns = line.replace('\\|', '').count('|')
        assert width in (None, columns)
        width = columns


def test_findings_of_the_audit_stand_before_the_numbers():
    entry = {
        'check': 'clean score',
        'cells': ['clean'],
        'evidence': 'the clean mIoU is 2 & no better than guessing',
        'reason': 'a checkpoint that does not fit',
        'advice': 'Look.',
    }
    audits = {'found': [entry], 'nothing found': [], 'none': None}
    for state, findings in audits.items():
        audit = {} if findings is None else {'audit': {'checks': ['a', 'b'], 'findings': findings}}
        table = RobustnessTable(synthetic_results(**audit))
        page = report_page(table, {'severity_curves': new_figure(2, 2)}, Path())
        text = report_markdown(table, [])
        sentence = 'no better than guessing; most likely a checkpoint that does not fit. Look.'
        assert (f'2 & {sentence}' in text) == (f'2 &amp; {sentence}' in page) == (state == 'found')
        assert ('AUDIT' in text) == ('<h2>Audit</h2>' in page) == (state == 'found')
        assert (f'| audit | `2 checks, findings: {len(findings or [])}` |' in text) == bool(audit)


@pytest.mark.parametrize('benchmark', ['cityscapes-c', 'semsegbench-subset'])
def test_every_table_file_and_figure_carries_its_benchmark(benchmark):
    results = synthetic_results()
    results['benchmark']['name'] = benchmark
    table = RobustnessTable(results)
    label = {'cityscapes-c': 'Cityscapes-C', 'semsegbench-subset': 'SemSegBench (part)'}[benchmark]
    for text in (cells_csv(table), per_class_csv(table)):
        assert {row['benchmark'] for row in rows_of(text)} == {benchmark}
    drawn = {
        'heat_map': heat_map(table),
        'severity_curves': severity_curves(table),
        'groups': group_bars([table]),
    }
    for figure in drawn.values():
        assert any(label in text.get_text() for text in figure.findobj(Text))
    page = report_page(table, drawn, Path())
    captions = re.findall(r'<(?:caption|figcaption)>(.*?)</', page)
    assert len(captions) > 4
    quoted = [
        c for c in captions if 'settings and versions' not in c and 'better direction' not in c
    ]
    assert all(label in caption for caption in quoted), quoted
    assert report_markdown(table, []).startswith(f'# fan_hybrid_s: {label}\n')
