"""A comparison as Markdown and LaTeX."""

from collections.abc import Callable, Sequence

from fan_mm.report import comparison_words as words
from fan_mm.report.comparison import Comparison, Entry
from fan_mm.report.labels import corruption_label, metric_label, number, task_label
from fan_mm.report.latex import NEEDS, bare, group_heads, latex, latex_row, latex_table, turned
from fan_mm.report.score_table import score_latex, score_markdown
from fan_mm.report.tables import markdown_table


def comparison_markdown(comparison: Comparison, drawn: Sequence[str]) -> str:
    """The whole comparison, with links to its figures."""
    columns = words.summary_columns(comparison)
    unit = ', per cent' if comparison.unit_label else ''
    rows = words.columnwise(columns, comparison.entries)
    parts = [
        f'# {words.title(comparison)}',
        f'{task_label(comparison.task).capitalize()}{unit}; in brackets bootstrap intervals.',
        '\n'.join(f'> - {notice}' for notice in comparison.notices),
        markdown_table(['model', *columns], rows),
        '\n'.join(f'- {place}' for place in words.places(comparison)),
        '## Corruptions',
        'Mean over severities, and the rank in parentheses.',
        score_markdown(
            ['model', *map(corruption_label, comparison.corruptions)],
            words.score_lines(comparison),
        ),
    ]
    for table in words.further_tables(comparison):
        rows = words.columnwise(table.columns, table.entries)
        parts += [f'## {table.title}', table.caption + table.intervals]
        parts.append(markdown_table(['model', *table.columns], rows))
    if comparison.differences:
        parts += ['## Differences', words.difference_text(comparison)]
        parts.append(
            markdown_table(
                words.DIFFERENCE_HEAD,
                [words.difference_row(comparison, d) for d in comparison.differences],
            )
        )
    parts += ['## Figures', *(f'![{name}](figures/{name}.png)' for name in drawn)]
    if notes := [e for e in comparison.entries if e.published]:
        parts += ['## Sources of the published rows', _sources_markdown(notes)]
    return '\n\n'.join(part for part in parts if part) + '\n'


def _sources_markdown(entries: Sequence[Entry]) -> str:
    return '\n'.join(
        f'- {e.name}: {"; ".join(e.published)}.' + ''.join(f' {note}' for note in e.notes)
        for e in entries
    )


def comparison_latex(comparison: Comparison) -> str:
    """One ``table*`` as papers print it, and one of other scores and of calibration where any result has them."""
    title, tables = words.title(comparison), words.further_tables(comparison)
    further = [_latex_further(table, latex(f'{title}: {table.caption}')) for table in tables]
    return '\n'.join([NEEDS, _latex_scores(comparison), *further, ''])


def _latex_scores(comparison: Comparison) -> str:
    """Model, clean, mean, retention, calibration, corruptions by group."""
    heads = _latex_columns(comparison)
    groups = [(group.capitalize(), len(names)) for group, names in comparison.groups.items()]
    corruptions = [turned(corruption_label(c)) for c in comparison.corruptions]
    own = [_latex_row(comparison, e) for e in comparison.entries if not e.published]
    width = 1 + len(heads) + len(comparison.corruptions)
    printed = []
    for publication in dict.fromkeys(e.publication for e in comparison.entries if e.published):
        printed += [
            '\\midrule',
            f'\\multicolumn{{{width}}}{{l}}{{\\emph{{As published ({latex(publication)})}}}} \\\\',
        ]
        printed += [
            _latex_row(comparison, e) for e in comparison.entries if e.publication == publication
        ]
    caption = latex(
        f'{words.title(comparison)}, {task_label(comparison.task)}, '
        f'{metric_label(comparison.metric)}{comparison.unit_label}. ' + ' '.join(comparison.notices)
    )
    lines = [
        *group_heads(groups, 1 + len(heads)),
        latex_row(['model', *(turned(h) if 'ECE' in h else latex(h) for h in heads), *corruptions]),
        '\\midrule',
        *own,
        *printed,
    ]
    return latex_table(width, lines, caption)


def _latex_further(table: words.Further, caption: str) -> str:
    """Models downwards, columns across."""
    lines = [latex_row(['model', *map(turned, table.columns)]), '\\midrule']
    for e in table.entries:
        texts = (latex(bare(text(e))) for text in table.columns.values())
        lines.append(latex_row([latex(e.name), *texts]))
    return latex_table(1 + len(table.columns), lines, caption)


def _latex_columns(comparison: Comparison) -> dict[str, Callable[[Entry], str]]:
    """Heading -> text of an entry, of the columns before the corruptions."""
    digits = comparison.digits
    columns = {
        f'clean {metric_label(comparison.metric)}': lambda e: number(e.clean, digits),
        'mean': lambda e: words.marked_mean(e, 'mean', e.mean, digits),
        'retention': lambda e: words.marked_mean(e, 'mean', e.retention),
    }
    if any(e.mce is not None for e in comparison.entries):
        columns['mCE ↓'] = lambda e: number(e.mce)
    return columns | words.calibration_columns(comparison, 'ECE')


def _latex_row(comparison: Comparison, entry: Entry) -> str:
    cells = [latex(text(entry)) for text in _latex_columns(comparison).values()]
    return latex_row([latex(entry.name), *cells, *score_latex(words.scores(comparison, entry))])
