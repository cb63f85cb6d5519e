"""A comparison as one HTML page."""

from collections.abc import Mapping, Sequence
from html import escape

from fan_mm.report import comparison_words as words
from fan_mm.report import page
from fan_mm.report.comparison import Comparison, Entry
from fan_mm.report.labels import corruption_label, in_brackets, metric_label, task_label
from fan_mm.report.scatter import plotted
from fan_mm.report.score_table import score_page


def comparison_page(comparison: Comparison, svgs: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        comparison: of results.
        svgs: 'scatter' and, where they were drawn, 'groups'.
    """
    printed = [e for e in comparison.entries if e.published]
    sections = {
        'summary': ('Summary', _summary_section(comparison)),
        'scatter': ('Accuracy against robustness', _scatter_section(comparison, svgs['scatter'])),
        'groups': (
            'Groups',
            [page.figure(svgs['groups'], f'Mean under each group of {comparison.benchmark}.')]
            if 'groups' in svgs
            else [],
        ),
        'corruptions': ('Corruptions', _corruptions_section(comparison)),
        **{t.key: (t.title, [_further(t)]) for t in words.further_tables(comparison)},
        'differences': (
            'Differences',
            [
                page.text_table(
                    words.difference_text(comparison),
                    words.DIFFERENCE_HEAD,
                    [words.difference_row(comparison, d) for d in comparison.differences],
                )
            ],
        ),
        'sources': ('Sources of the published rows', [_sources(printed)]),
        'provenance': (
            'Provenance',
            [page.facts(t.name, ('what', 'value'), t.provenance()) for t in comparison.tables],
        ),
    }
    title = words.title(comparison)
    lead = f'{task_label(comparison.task).capitalize()}. {comparison.tables[0].unit_told}'
    return page.page(title, title, lead, [page.notice(comparison.notices)], sections)


def _summary_section(comparison: Comparison) -> list[str]:
    columns = words.summary_columns(comparison)
    head = [page.head_cell('model'), *map(page.head_cell, columns)]
    rows = [
        page.row(
            page.head_cell(words.labelled(e), 'row')
            + ''.join(page.cell(text(e)) for text in columns.values()),
            'published' if e.published else '',
        )
        for e in comparison.entries
    ]
    caption = f'Corrupted mean: mean {metric_label(comparison.metric)} over {comparison.benchmark}.'
    caption += in_brackets(comparison.level)
    places = ''.join(f'<li>{escape(place)}</li>' for place in words.places(comparison))
    return [
        page.table(caption, head, [rows], 'lines'),
        *([f'<ul>{places}</ul>'] if places else []),
    ]


def _scatter_section(comparison: Comparison, svg: str) -> list[str]:
    caption = (
        'Colour: own results, with the interval of the mean. Grey: published. Hollow: other cells '
        f'or images than {comparison.entries[0].name}, not comparable with it. Dotted lines: '
        f'equal retention.{_not_plotted(comparison)}'
    )
    return [page.figure(svg, caption)]


def _corruptions_section(comparison: Comparison) -> list[str]:
    top = words.top_score(comparison)
    unit = ' %' if comparison.unit_label else ''
    head = ['model', *map(corruption_label, comparison.corruptions)]
    caption = (
        f'Mean {metric_label(comparison.metric)} over severities of {comparison.benchmark}; in '
        'parentheses the rank among the comparable models, the best in bold. A dash: not evaluated, '
        'incomplete, or published under a doubtful heading.'
    )
    return [
        score_page(caption, head, words.score_lines(comparison)),
        page.ramp(f'{top:.{comparison.digits}f}{unit}', f'0{unit}'),
    ]


def _further(table: words.Further) -> str:
    rows = words.columnwise(table.columns, table.entries)
    caption, head = table.caption + table.intervals, ['model', *table.columns]
    return page.text_table(caption, head, rows, turned=len(head) > 8)


def _sources(entries: Sequence[Entry]) -> str:
    pairs = {e.name: ' '.join([f'{"; ".join(e.published)}.', *e.notes]) for e in entries}
    caption = 'Where each row was published, and inconsistencies.'
    return page.facts(caption, ('model', 'source'), pairs)


def _not_plotted(comparison: Comparison) -> str:
    shown = {e.name for e in plotted(comparison)}
    left_out = [e.name for e in comparison.entries if e.name not in shown]
    return (
        f' Not shown, because they have no clean metric or mean: {", ".join(left_out)}.'
        if left_out
        else ''
    )
