"""Results that were changed since they were written: each report, table and comparison says it."""

import csv
import json

import numpy as np
import pytest
from striped_results import written
from synthetic_results import synthetic_results

from fan_mm.evaluation.results import PER_IMAGE, RESULTS, read_results, write_with_arrays
from fan_mm.report.comparison import build_comparison
from fan_mm.report.findings import notices
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.shift_comparison import build_shift_comparison
from fan_mm.report.shift_table import ShiftTable
from fan_mm.report.shift_tables import conditions_csv, shifts_markdown
from fan_mm.report.tables import cells_csv, report_markdown


def sweep(folder):
    folder.mkdir(parents=True)
    arrays = {PER_IMAGE: [('kind', np.array('iou')), ('keys', np.array(['a', 'b']))]}
    write_with_arrays(folder, synthetic_results(), arrays)
    return folder


def forms(folder):
    """What a report and a comparison of the results show, by form."""
    results = read_results(folder)
    if 'sets' in results:
        table = ShiftTable(results)
        found = {'md': shifts_markdown(table, []), 'csv': conditions_csv(table)}
        comparison = build_shift_comparison([folder])
    else:
        table = RobustnessTable(results)
        found = {'md': report_markdown(table, []), 'csv': cells_csv(table)}
        comparison = build_comparison([folder])
    shown = ''.join(notice.html() for notice in notices(table))
    return {**found, 'html': shown, 'notices': '\n'.join(comparison.notices)}


def cell_and_mean(results):
    """Consistently, so that the file still agrees with itself."""
    metric = results['metric']['name']
    if 'sets' in results:
        results['sets']['acdc']['conditions']['fog']['score']['value'] = 99.0
        results['cells'][1]['metrics'][metric] = 99.0
    else:
        results['summary']['clean'] = results['cells'][0]['metrics'][metric] = 99.0


def a_class(results):
    cell = results['cells'][0]
    cell['per_class']['IoU']['road'] = 99.5


def an_interval(results):
    found = results['sets']['acdc']['conditions']['fog']['score'] if 'sets' in results else None
    (found or results['summary']['mean'])['interval'] = [98.0, 99.0]


@pytest.mark.parametrize('edit', [cell_and_mean, a_class, an_interval])
@pytest.mark.parametrize('write', [sweep, written])
def test_edited_results_say_it_in_every_form(write, edit, tmp_path):
    folder = write(tmp_path / 'out')
    whole = forms(folder)
    assert not any('edited' in text for text in whole.values())
    content = json.loads((folder / RESULTS).read_text())
    edit(content)
    (folder / RESULTS).write_text(json.dumps(content))
    for text in forms(folder).values():
        assert f'{folder / RESULTS} was edited or replaced since it was written' in text
    rows = list(csv.reader(forms(folder)['csv'].splitlines()))
    assert rows[0][-1] == 'doubt' and all('was edited' in row[-1] for row in rows[1:])


def test_everything_that_a_report_shows_is_sealed(tmp_path):
    folder = sweep(tmp_path / 'out')
    content = json.loads((folder / RESULTS).read_text())
    for part in ('benchmark', 'metric', 'dataset', 'other_summaries'):
        edited = {**content, part: {**content.get(part, {}), 'more': {}}}
        (folder / RESULTS).write_text(json.dumps(edited))
        assert 'was edited' in read_results(folder)['doubt'], part
    (folder / RESULTS).write_text(json.dumps({**content, 'task': 'another'}))
    assert 'was edited' in read_results(folder)['doubt']
    (folder / RESULTS).write_text(json.dumps({**content, 'model': {'name': 'renamed'}}))
    assert 'doubt' not in read_results(folder)


@pytest.mark.parametrize('write', [sweep, written])
def test_other_statistics_beside_results_are_told(write, tmp_path):
    folder = write(tmp_path / 'out')
    with np.load(folder / PER_IMAGE) as file:
        arrays = dict(file)
    changed = {n: a if n in ('kind', 'protocol') else a[::-1].copy() for n, a in arrays.items()}
    np.savez_compressed(folder / PER_IMAGE, **changed)
    for text in forms(folder).values():
        assert f'{folder / PER_IMAGE} was edited or replaced since it was written with' in text
    (folder / PER_IMAGE).unlink()  # a results.json may be handed on alone
    assert 'doubt' not in read_results(folder)


def shortest(text):
    """As jq and JavaScript write a number: 87 for 87.0."""
    return int(float(text)) if float(text).is_integer() else float(text)


@pytest.mark.parametrize('write', [sweep, written])
def test_what_is_no_score_may_be_changed_and_results_of_earlier_versions_have_no_seal(
    write, tmp_path
):
    folder = write(tmp_path / 'out')
    content = json.loads((folder / RESULTS).read_text())
    content['dataset']['type'] += ' \u00e9'
    write_with_arrays(folder, content, {})
    content = json.loads((folder / RESULTS).read_text(), parse_float=shortest)
    content['model']['name'] = 'a better name'
    text = json.dumps(content, indent=4, ensure_ascii=False)  # as other programs write it
    (folder / RESULTS).write_bytes(text.encode())
    assert 'doubt' not in read_results(folder)
    del content['seal']
    cell_and_mean(content)
    (folder / RESULTS).write_text(json.dumps(content))
    assert 'doubt' not in read_results(folder)
