"""Scores of a metric that is not known: no per cent, and enough digits for shares of 1."""

import json

import pytest
from matplotlib.text import Text
from synthetic_results import summarise, synthetic_results

from fan_mm.report import figures
from fan_mm.report.comparison import build_comparison
from fan_mm.report.comparison_tables import comparison_latex, comparison_markdown
from fan_mm.report.html import report_page
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.tables import report_markdown


def shares(name, quality=1.0):
    """Results of a user's metric that gives shares of 1."""
    results = synthetic_results(name=name, quality=quality)
    results['metric'] |= {'name': 'my/score', 'unit': None, 'others': []}
    for cell in results['cells']:
        cell['metrics'] = {'my/score': cell['metrics']['mIoU'] / 100}
        cell['per_class'] = {}
    benchmark = results['benchmark']
    results['summary'] = summarise(
        'segmentation',
        'my/score',
        benchmark['severities'],
        benchmark['groups'],
        (),
        results['cells'],
    )
    return results


@pytest.fixture(scope='module')
def table():
    return RobustnessTable(shares('a'))


def printed(table):
    """Every score as it must be printed."""
    values = [c['metrics']['my/score'] for c in table.results['cells']]
    values += [g['mean'] for g in table.results['summary']['groups'].values()]
    return {f'{value:.3f}' for value in values}


def test_reports_print_scores_as_they_are(table):
    drawn = {'severity_curves': figures.severity_curves(table)}
    markdown, html = report_markdown(table, ()), report_page(table, drawn, '')
    for text in (markdown, html):
        assert all(value in text for value in printed(table))
        assert 'in a unit that is not known' in text
        assert 'per cent' not in text.partition('Definitions')[0].lower()
    retention = table.results['summary']['retention']['value']
    assert f'| retention ↑ | {retention:.1f} % |' in markdown


def test_figures_have_no_per_cent_but_retention(table):
    for draw in (figures.heat_map, figures.severity_curves):
        texts = [t.get_text() for t in draw(table).findobj(Text)]
        assert not any('%' in text for text in texts if text != 'retention %')
    for axes in figures.severity_curves(table).axes:
        assert axes.get_ylim()[1] < 0.9  # not as if a point were little
    bars = figures.group_bars([table]).axes[0]
    assert bars.get_xticks()[-1] == pytest.approx(0.8)


def test_models_that_differ_by_a_hundredth_do_not_share_a_rank(tmp_path):
    for name, quality in (('a', 1.0), ('b', 1.05)):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'results.json').write_text(json.dumps(shares(name, quality)))
    comparison = build_comparison([tmp_path / 'a', tmp_path / 'b'])
    assert {model: ranks['fog'] for model, ranks in comparison.ranks.items()} == {'a': 2, 'b': 1}
    fog = comparison.entries[1].corruptions['fog']
    markdown, tex = comparison_markdown(comparison, ()), comparison_latex(comparison)
    assert f'**{fog:.3f} (1)**' in markdown and f'\\textbf{{{fog:.3f}}}' in tex
    assert 'per cent' not in markdown and '\\%' not in tex
