"""Calibration in the report's forms, and what they say where it is missing."""

import csv
import io
import json
import re

import numpy as np
import pytest
from report_checks import Page, assert_labels_inside
from synthetic_results import synthetic_results

from fan_mm.corruptions import find_benchmark
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.calibration.measures import sums_of_labels
from fan_mm.evaluation.calibration.summary import of_cells, summarize_calibration
from fan_mm.evaluation.cells import Cell
from fan_mm.evaluation.scope import choose_scope
from fan_mm.report.calibration import CalibrationTable, calibration_lines, calibration_of
from fan_mm.report.calibration_figures import reliability
from fan_mm.report.comparison_files import write_comparison
from fan_mm.report.figures import new_figure, severity_curves
from fan_mm.report.html import report_page
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.tables import cells_csv, report_markdown

VARIANTS = ('plain', 'scaled')


def calibrated(task='segmentation', absent=(), temperature=True, **options):
    """Synthetic results with the calibration of a few made-up samples per image in each cell."""
    import torch

    results = synthetic_results(task, absent=absent, **options)
    generator = torch.Generator().manual_seed(0)
    cells = {}
    for cell in results['cells']:
        if cell['status'] == 'done':
            logits = 3 * torch.randn(40, 5, generator=generator)
            labels = torch.multinomial((logits / 2).softmax(1), 1, generator=generator)[:, 0]
            temperatures = (1.0, 2.0)[: 1 + temperature]
            sums = sums_of_labels(logits.softmax(1), labels, temperatures)
            cells[Cell(cell['corruption'], cell['severity'])] = sums
    variants = VARIANTS[: 1 + temperature]
    per_image = PerImage('calibration', np.arange(40), cells)
    draws = per_image.resampled(20)
    found = of_cells(per_image, draws, variants)
    for cell in results['cells']:
        key = Cell(cell['corruption'], cell['severity'])
        if key in found:
            cell['calibration'] = found[key]
    hold_outs = results['benchmark']['hold_outs']
    names = [*results['benchmark']['severities'], *hold_outs]
    scope = choose_scope(find_benchmark(results['benchmark']['name']), names, None)
    fitted = {'value': 2.0, 'pictures': 9, 'samples': 99, 'nll': [0.9, 0.8]}
    results['calibration'] = {
        'bins': 15,
        'probabilities': 'softmax of the logits',
        'temperature': fitted if temperature else None,
        'summary': summarize_calibration(scope, found, draws, variants),
    }
    return results


def page_of(table):
    names = [f'{n}{end}' for n in ('reliability', 'ece_curves') for end in ('', '_scaled')]
    figures = {name: new_figure(1, 1) for name in ('severity_curves', 'groups', *names)}
    text = report_page(table, figures, None)
    return text, Page(text)


def test_csv():
    results = calibrated(absent=[('snow', 4)])
    rows = list(csv.DictReader(io.StringIO(cells_csv(RobustnessTable(results)))))
    for cell, row in zip(results['cells'], rows, strict=True):
        found = cell.get('calibration')
        for variant, end in (('plain', ''), ('scaled', '_scaled')):
            for name in ('ECE', 'NLL', 'Brier'):
                texts = [row[f'{name}{end}{bound}'] for bound in ('', '_low', '_high')]
                entry = found[variant][name] if found else None
                expected = [entry['value'], *entry['interval']] if found else [''] * 3
                assert texts == [str(value) for value in expected]


@pytest.mark.parametrize('task', ['segmentation', 'classification'])
@pytest.mark.parametrize('temperature', [False, True])
def test_page_and_markdown_say_the_same(task, temperature):
    table = RobustnessTable(calibrated(task, temperature=temperature))
    found = CalibrationTable(table)
    text, page = page_of(table)
    markdown = report_markdown(table, [])
    assert ('T = 2.000' in text) == ('T = 2.000' in markdown) == temperature
    for variant in found.variants:
        summary = found.summary[variant]['ECE']
        for value in (summary['clean'], summary['mean'], summary['groups']['blur']):
            assert f'{value["value"]:.2f} [' in text
            assert f'{value["value"]:.2f} [' in markdown
        fog = found.value('fog', 2, variant, 'ECE')
        assert any(f'{fog:.2f}' in row for table in page.tables for row in table)
        assert f'| {fog:.2f} |' in markdown
    assert text.count('<svg') == 2 + 2 * len(found.variants)
    assert 'expected calibration error' in text


def test_no_mean_over_a_part():
    table = RobustnessTable(calibrated(absent=[('snow', 4)]))
    found = CalibrationTable(table)
    summary = found.summary['plain']['ECE']
    assert summary['mean']['value'] is None and summary['groups']['weather']['value'] is None
    assert summary['mean']['missing'] == ['snow/4']
    assert found.bins(found.cells_of('weather'), 'plain') is None
    assert found.bins(found.cells_of('blur'), 'plain').share.sum() == pytest.approx(1)
    for text in (page_of(table)[0], report_markdown(table, [])):
        part = text[text.index('Calibration</h2>' if '<html' in text else '## Calibration') :]
        assert 'incomplete' in part.partition('Losses')[0]
    (plain, scaled) = calibration_lines(table.results['calibration']['summary'])
    assert 'ECE clean' in plain and 'mean incomplete' in plain
    assert scaled.startswith('with temperature: ')


def test_without_calibration_nothing_is_said():
    table = RobustnessTable(synthetic_results())
    assert calibration_of(table) is None
    assert 'alibration' not in report_markdown(table, []) + cells_csv(table)


@pytest.mark.parametrize('task', ['segmentation', 'classification'])
def test_figures(task):
    """Hold-outs have a panel of their own, and a group without all its cells says so."""
    table = RobustnessTable(calibrated(task, absent=[('snow', 4)]))
    found = CalibrationTable(table)
    figure = reliability(found, 'scaled')
    assert_labels_inside(figure)
    panels = [axes for axes in figure.axes if axes.get_title('left')]
    assert len(panels) == len(table.rows)
    texts = [text.get_text() for axes in panels for text in axes.texts]
    clean = found.value('clean', 0, 'scaled', 'ECE')
    assert texts.count(f'clean: ECE {clean:.2f}') == len(panels)
    assert 'weather: mean ECE incomplete' in texts
    lines = {axes.get_title('left'): len(axes.lines) for axes in panels}
    assert lines['Weather'] == 2 and lines['Blur'] == 3  # the diagonal, clean and the group
    curves = severity_curves(found.ece('plain'))
    values = [v for axes in curves.axes for line in axes.lines for v in line.get_ydata()]
    assert found.value('fog', 2, 'plain', 'ECE') in values


def test_a_comparison_has_it_in_every_form(tmp_path):
    """Of results with and without it, ECE beside the score and all measures in a table of their own."""
    found = [calibrated(name='a_1'), calibrated(name='b', quality=1.3, temperature=False)]
    for results in (*found, synthetic_results(name='none')):
        folder = tmp_path / results['model']['name']
        folder.mkdir()
        (folder / 'results.json').write_text(json.dumps(results))
    write_comparison([tmp_path / name for name in ('a_1', 'b', 'none')], tmp_path / 'out')
    texts = [(tmp_path / 'out' / f'comparison.{end}').read_text() for end in ('html', 'md', 'tex')]
    tables = Page(texts[0]).tables
    (table,) = [t for t in tables if 'mean Brier, with temperature ↓' in t[0]]
    assert [row[0] for row in table[1:]] == ['a_1', 'b'] and len(table[0]) == 1 + 12
    for results, row in zip(found, table[1:], strict=True):
        value = results['calibration']['summary']['plain']['NLL']['mean']['value']
        assert row[table[0].index('mean NLL ↓')] == f'{value:.3f}'
        assert all(f'{value:.3f}' in text for text in texts)
    assert table[2][table[0].index('mean NLL, with temperature ↓')] == '\N{EN DASH}'
    tex = texts[2]
    assert tex.count('\\begin{table*}') == 2 and not re.search(r'[^\x00-\x7f]', tex)
    for part in tex.split('\\begin{table*}')[1:]:
        width = len(re.search(r'\{(lr+)\}', part)[1])
        for line in part.splitlines():
            if line.endswith('\\\\') and 'multicolumn' not in line:
                assert len(re.findall(r'(?<!\\)&', line)) + 1 == width, line
        assert 'mean ECE, with temperature $\\downarrow$' in part
