"""A comparison as Markdown, LaTeX and HTML, with its figures."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from fan_mm.fileio import remove_temporaries, write_whole
from fan_mm.report import figures, page
from fan_mm.report.calibration import calibration_digits, calibration_label
from fan_mm.report.comparison import (
    CALIBRATION,
    Comparison,
    Difference,
    Entry,
    build_comparison,
)
from fan_mm.report.labels import (
    UNLIKE,
    arrow,
    corruption_label,
    interval,
    metric_label,
    number,
    signed,
    task_label,
)
from fan_mm.report.latex import NEEDS, latex, latex_table, turned
from fan_mm.report.scatter import accuracy_scatter, plotted
from fan_mm.report.tables import markdown_table


def write_comparison(
    paths: Sequence[str | os.PathLike], out_dir: str | os.PathLike, published: bool = False
) -> Path:
    """Compare results and write the comparison.

    Files in ``out_dir``: ``comparison.html`` (self-contained), ``comparison.md``,
    ``comparison.tex`` (needs booktabs and graphicx) and ``figures/`` with ``scatter`` and, for two
    or more results, ``groups`` as PNG and PDF.

    Args:
        paths: results.json files or their folders; differences are taken to the first.
        out_dir: folder for the files, made if it is not there.
        published: see `build_comparison`.

    Returns:
        Path of ``comparison.html``.

    Raises:
        InputError: see `build_comparison`.
    """
    comparison = build_comparison(paths, published)
    out_dir = Path(out_dir)
    remove_temporaries(out_dir, out_dir / 'figures')
    drawn = {'scatter': accuracy_scatter(comparison)}
    if len(comparison.tables) > 1 and comparison.groups:
        drawn['groups'] = figures.group_bars(comparison.tables)
    protocols = dict.fromkeys(table.protocol for table in comparison.tables)
    for name, figure in drawn.items():
        figures.save(figure, out_dir / 'figures' / name, '; '.join(protocols))
    write_whole(out_dir / 'comparison.md', _markdown(comparison, list(drawn)))
    write_whole(out_dir / 'comparison.tex', _latex(comparison))
    svgs = {name: figures.inline_svg(figure, name, name) for name, figure in drawn.items()}
    path = out_dir / 'comparison.html'
    write_whole(path, _html(comparison, svgs))
    return path


# ------------------------------------------------------------------------------ shared by all forms


def _title(comparison: Comparison) -> str:
    return f'Robustness on {comparison.benchmark}'


def _summary_columns(comparison: Comparison) -> dict[str, Callable[[Entry], str]]:
    """Heading -> text of an entry."""
    columns: dict[str, Callable[[Entry], str]] = {
        f'clean {metric_label(comparison.metric)} ↑': lambda e: number(e.clean),
        'corrupted mean ↑': lambda e: _with_interval(_mean(e, 'mean', e.mean), e.mean_interval),
        'retention ↑': lambda e: _with_interval(
            _mean(e, 'mean', e.retention), e.retention_interval
        ),
    }
    if any(e.worst is not None for e in comparison.entries):
        columns['worst ↑'] = lambda e: _mean(e, 'mean', e.worst)
    if any(e.mce is not None for e in comparison.entries):
        columns['mCE ↓'] = lambda e: number(e.mce)
    columns |= _calibration_columns(comparison, 'ECE')

    def mean(group: str) -> Callable[[Entry], str]:
        return lambda e: _mean(e, group, e.groups.get(group))

    def real(condition: str) -> Callable[[Entry], str]:
        return lambda e: number(e.real.get(condition))

    columns |= {group: mean(group) for group in comparison.groups}
    conditions = dict.fromkeys(name for e in comparison.entries for name in e.real)
    columns |= {f'{condition} ↑': real(condition) for condition in conditions}
    return columns


def _calibration_columns(
    comparison: Comparison, measure: str = ''
) -> dict[str, Callable[[Entry], str]]:
    """The same of calibration: of one measure, or of all, where any entry has them."""
    measured = [
        name for name in CALIBRATION if any(name in e.calibration for e in comparison.entries)
    ]

    def text(entry: Entry, name: str) -> str:
        value = entry.calibration.get(name)
        over = 'mean' if name.startswith('mean') else 'clean'
        return _mean(entry, over, value, calibration_digits(name))

    return {
        f'{calibration_label(name)} ↓': functools.partial(text, name=name)
        for name in measured
        if measure in name
    }


def _other_columns(comparison: Comparison, bare: bool = False) -> dict[str, Callable[[Entry], str]]:
    """The same of the means of other scores; ``bare`` without their intervals."""
    others = [item for entry in comparison.entries for item in entry.others.items()]
    names = dict.fromkeys(name for name, found in others if found.value is not None)

    def text(entry: Entry, name: str) -> str:
        found = entry.others.get(name)
        value = _mean(entry, 'mean', found.value if found else None)
        return value if found is None or bare else _with_interval(value, found.interval)

    return {f'{metric_label(name)} ↑': functools.partial(text, name=name) for name in names}


def _with_others(comparison: Comparison) -> list[Entry]:
    return [entry for entry in comparison.entries if entry.others]


def _others_caption(comparison: Comparison) -> str:
    level = f'{100 * comparison.level:.0f} % ' if comparison.level else ''
    return f'Mean over {comparison.benchmark}, per cent; in brackets {level}bootstrap intervals.'


def _calibrated(comparison: Comparison) -> list[Entry]:
    return [entry for entry in comparison.entries if entry.calibration]


def _mean(entry: Entry, of: str, value: float | None, digits: int = 1) -> str:
    """A mean of an entry, marked if it is over other cells than the first result's."""
    return number(value, digits) + (UNLIKE if value is not None and of in entry.unlike else '')


def _places(comparison: Comparison) -> list[str]:
    """Sentences that say where own results stand among published ones."""
    words = {
        'clean': 'on clean images',
        'mean': 'by the corrupted mean',
        'worst': 'by the worst corruption',
    }
    return [
        f'{name}: '
        + ', '.join(
            f'place {place} of {of} {words[measure]}' for measure, (place, of) in found.items()
        )
        + '.'
        for name, found in comparison.places.items()
    ]


def _with_interval(text: str, bounds: tuple[float, float] | None) -> str:
    return f'{text} {interval(bounds)}'.strip()


def _difference_row(difference: Difference) -> list[str]:
    measure, digits = difference.measure, 1
    label = {'mean': 'corrupted mean'}.get(measure, metric_label(measure))
    if measure in CALIBRATION:
        label, digits = calibration_label(measure), calibration_digits(measure)
    if difference.score:
        label = f'{metric_label(difference.score)}: {label}'
    lower = measure in ('mCE', 'relative_mCE', *CALIBRATION)
    verdict = {True: 'yes', False: 'no', None: 'no per-image data'}[difference.significant]
    return [
        difference.name,
        f'{label} {arrow(not lower)}',
        signed(difference.points, digits),
        interval(difference.interval, digits),
        verdict,
    ]


_DIFFERENCE_HEAD = ['model', 'measure', 'difference', 'interval', 'excludes 0']


def _difference_text(comparison: Comparison) -> str:
    level = f'{100 * comparison.level:.0f} %' if comparison.level else ''
    nats = any('NLL' in d.measure for d in comparison.differences)
    return (
        f'Each model minus {comparison.entries[0].name}, in points, with the {level} interval of the '
        'paired bootstrap over images. If it excludes 0, the choice of images does not explain the '
        'difference.' + (' NLL is in nats, the Brier score goes from 0 to 2.' if nats else '')
    )


def _calibration_caption(comparison: Comparison) -> str:
    return (
        f'Calibration on clean images, and the mean over {comparison.benchmark}: ECE in per cent, NLL in '
        'nats, Brier score from 0 to 2; lower is better.'
    )


def _with_corruptions(comparison: Comparison) -> list[Entry]:
    """The entries that have a value for any corruption."""
    wanted = comparison.corruptions
    return [e for e in comparison.entries if any(e.corruptions.get(c) is not None for c in wanted)]


def _best(comparison: Comparison, corruption: str) -> set[str]:
    return {name for name, ranks in comparison.ranks.items() if ranks.get(corruption) == 1}


def _labelled(entry: Entry) -> str:
    return (
        f'{entry.name} (published)'
        if entry.published and '(published)' not in entry.name
        else entry.name
    )


def _not_plotted(comparison: Comparison) -> str:
    shown = {e.name for e in plotted(comparison)}
    left_out = [e.name for e in comparison.entries if e.name not in shown]
    return (
        f' Without a clean metric or a mean, and so not shown: {", ".join(left_out)}.'
        if left_out
        else ''
    )


# ---------------------------------------------------------------------------------------- Markdown


def _markdown(comparison: Comparison, drawn: Sequence[str]) -> str:
    columns = _summary_columns(comparison)
    rows = [[_labelled(e), *(text(e) for text in columns.values())] for e in comparison.entries]
    parts = [
        f'# {_title(comparison)}',
        f'{task_label(comparison.task).capitalize()}, per cent; in brackets bootstrap intervals.',
        '\n'.join(f'> - {notice}' for notice in comparison.notices),
        markdown_table(['model', *columns], rows),
        '\n'.join(f'- {place}' for place in _places(comparison)),
        '## Corruptions',
        'Mean over severities, and the rank in parentheses.',
        markdown_table(
            ['model', *map(corruption_label, comparison.corruptions)],
            [[_labelled(e), *_ranked_cells(comparison, e)] for e in _with_corruptions(comparison)],
        ),
    ]
    if columns := _other_columns(comparison):
        rows = [[_labelled(e), *(t(e) for t in columns.values())] for e in _with_others(comparison)]
        parts += [f'## {comparison.tables[0].others_title}', _others_caption(comparison)]
        parts.append(markdown_table(['model', *columns], rows))
    if columns := _calibration_columns(comparison):
        rows = [[_labelled(e), *(t(e) for t in columns.values())] for e in _calibrated(comparison)]
        parts += ['## Calibration', _calibration_caption(comparison)]
        parts.append(markdown_table(['model', *columns], rows))
    if comparison.differences:
        parts += ['## Differences', _difference_text(comparison)]
        parts.append(markdown_table(_DIFFERENCE_HEAD, map(_difference_row, comparison.differences)))
    parts += ['## Figures', *(f'![{name}](figures/{name}.png)' for name in drawn)]
    if notes := [e for e in comparison.entries if e.published]:
        parts += ['## Sources of the published rows', _sources_markdown(notes)]
    return '\n\n'.join(part for part in parts if part) + '\n'


def _ranked_cells(comparison: Comparison, entry: Entry) -> list[str]:
    ranks = comparison.ranks.get(entry.name, {})
    cells = []
    for corruption in comparison.corruptions:
        text = _mean(entry, corruption, entry.corruptions.get(corruption))
        if corruption in ranks:
            text = f'{text} ({ranks[corruption]})'
        cells.append(f'**{text}**' if entry.name in _best(comparison, corruption) else text)
    return cells


def _sources_markdown(entries: Sequence[Entry]) -> str:
    return '\n'.join(
        f'- {e.name}: {"; ".join(e.published)}.' + ''.join(f' {note}' for note in e.notes)
        for e in entries
    )


# ------------------------------------------------------------------------------------------- LaTeX


def _latex(comparison: Comparison) -> str:
    """One ``table*`` as papers print it, and one of other scores and of calibration where any result has them."""
    tables = [_latex_scores(comparison)]
    if columns := _other_columns(comparison, bare=True):
        caption = latex(f'{_title(comparison)}: mean over {comparison.benchmark} (%).')
        tables.append(_latex_columnwise(columns, _with_others(comparison), caption))
    if columns := _calibration_columns(comparison):
        caption = latex(f'{_title(comparison)}: {_calibration_caption(comparison)}')
        tables.append(_latex_columnwise(columns, _calibrated(comparison), caption))
    return '\n'.join([NEEDS, *tables, ''])


def _latex_scores(comparison: Comparison) -> str:
    """Model, clean, mean, retention, calibration, corruptions by group."""
    heads = _latex_columns(comparison)
    first = len(heads) + 2
    spans, rules = [], []
    for group, names in comparison.groups.items():
        spans.append(f'\\multicolumn{{{len(names)}}}{{c}}{{{latex(group.capitalize())}}}')
        rules.append(f'\\cmidrule(lr){{{first}-{first + len(names) - 1}}}')
        first += len(names)
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
    caption = (
        f'{_title(comparison)}, {task_label(comparison.task)}, {metric_label(comparison.metric)} (\\%). '
        + ' '.join(latex(notice) for notice in comparison.notices)
    )
    lines = [
        ' & '.join(['', *[''] * len(heads), *spans]).strip() + ' \\\\',
        ''.join(rules),
        ' & '.join(['model', *map(_latex_head, heads), *corruptions]) + ' \\\\',
        '\\midrule',
        *own,
        *printed,
    ]
    return latex_table(width, lines, caption)


def _latex_columnwise(
    columns: Mapping[str, Callable[[Entry], str]], entries: Sequence[Entry], caption: str
) -> str:
    """Models downwards, columns across.

    Args:
        columns: heading -> text of an entry.
        entries: the rows.
        caption: LaTeX.
    """
    lines = [' & '.join(['model', *map(turned, columns)]) + ' \\\\', '\\midrule']
    lines += [
        ' & '.join([latex(e.name), *(latex(text(e)) for text in columns.values())]) + ' \\\\'
        for e in entries
    ]
    return latex_table(1 + len(columns), lines, caption)


def _latex_columns(comparison: Comparison) -> dict[str, Callable[[Entry], str]]:
    """Heading -> text of an entry, of the columns before the corruptions."""
    columns = {
        f'clean {metric_label(comparison.metric)}': lambda e: number(e.clean),
        'mean': lambda e: _mean(e, 'mean', e.mean),
        'retention': lambda e: _mean(e, 'mean', e.retention),
    }
    if any(e.mce is not None for e in comparison.entries):
        columns['mCE ↓'] = lambda e: number(e.mce)
    return columns | _calibration_columns(comparison, 'ECE')


def _latex_head(text: str) -> str:
    """Upright, but turned where it is long."""
    return turned(text) if 'ECE' in text else latex(text)


def _latex_row(comparison: Comparison, entry: Entry) -> str:
    cells = [latex(text(entry)) for text in _latex_columns(comparison).values()]
    for corruption in comparison.corruptions:
        text = latex(_mean(entry, corruption, entry.corruptions.get(corruption)))
        best = entry.name in _best(comparison, corruption)
        cells.append(f'\\textbf{{{text}}}' if best else text)
    return ' & '.join([latex(entry.name), *cells]) + ' \\\\'


# -------------------------------------------------------------------------------------------- HTML


def _html(comparison: Comparison, svgs: dict[str, str]) -> str:
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
        'others': (comparison.tables[0].others_title, _others_section(comparison)),
        'calibration': ('Calibration', _calibration_section(comparison)),
        'differences': ('Differences', _differences_section(comparison)),
        'sources': ('Sources of the published rows', _sources_section(printed)),
        'provenance': (
            'Provenance',
            [page.facts(t.name, ('what', 'value'), t.provenance()) for t in comparison.tables],
        ),
    }
    sections = {key: (title, parts) for key, (title, parts) in sections.items() if parts}
    notices = ''.join(f'<li>{escape(notice)}</li>' for notice in comparison.notices)
    body = [
        f'<header>\n<h1>{escape(_title(comparison))}</h1>',
        f'<p class="lead">{escape(task_label(comparison.task).capitalize())}, all numbers in per cent.</p>',
        page.contents({key: title for key, (title, _) in sections.items()}) + '</header>\n<main>',
        f'<aside class="notice" role="note"><ul>{notices}</ul></aside>' if notices else '',
        *(page.section(key, title, *parts) for key, (title, parts) in sections.items()),
        '</main>',
    ]
    return page.page(_title(comparison), body)


def _summary_section(comparison: Comparison) -> list[str]:
    columns = _summary_columns(comparison)
    head = [page.head_cell('model'), *map(page.head_cell, columns)]
    rows = [
        page.row(
            page.head_cell(_labelled(e), 'row')
            + ''.join(page.cell(text(e)) for text in columns.values()),
            'published' if e.published else '',
        )
        for e in comparison.entries
    ]
    level = (
        f' In brackets the {100 * comparison.level:.0f} % bootstrap interval.'
        if comparison.level
        else ''
    )
    caption = f'Corrupted mean: mean {metric_label(comparison.metric)} over {comparison.benchmark}.{level}'
    places = ''.join(f'<li>{escape(place)}</li>' for place in _places(comparison))
    return [
        page.table(caption, head, [rows], 'lines'),
        *([f'<ul>{places}</ul>'] if places else []),
    ]


def _scatter_section(comparison: Comparison, svg: str) -> list[str]:
    caption = (
        'In colour: own results, with the interval of the mean. Grey: published. Hollow: of other '
        f'cells or images than {comparison.entries[0].name}, not comparable with it. Dotted lines: '
        f'equal retention.{_not_plotted(comparison)}'
    )
    return [page.figure(svg, caption)]


def _corruptions_section(comparison: Comparison) -> list[str]:
    top = max(
        [v for e in comparison.entries for v in (e.clean, *e.corruptions.values()) if v], default=1
    )
    head = [page.head_cell('model')]
    head += [page.turned_head_cell(corruption_label(c)) for c in comparison.corruptions]
    rows = []
    for entry in _with_corruptions(comparison):
        ranks = comparison.ranks.get(entry.name, {})
        cells = ''
        for corruption in comparison.corruptions:
            value = entry.corruptions.get(corruption)
            share = None if value is None else min(max(1 - value / top, 0), 1)
            kind = 'mean' if entry.name in _best(comparison, corruption) else ''
            rank = f'({ranks[corruption]})' if corruption in ranks else ''
            text = _mean(entry, corruption, value)
            cells += page.cell(text, kind, share=share, below=rank)
        rows.append(
            page.row(
                page.head_cell(_labelled(entry), 'row') + cells,
                'published' if entry.published else '',
            )
        )
    caption = (
        f'Mean {metric_label(comparison.metric)} over severities of {comparison.benchmark}; in '
        'parentheses the rank among the comparable models, the best in bold. A dash: not evaluated, '
        'incomplete, or printed under a doubtful heading.'
    )
    return [page.table(caption, head, [rows], 'heat classes'), page.ramp(f'{top:.1f} %', '0 %')]


def _others_section(comparison: Comparison) -> list[str]:
    columns = _other_columns(comparison)
    if not columns:
        return []
    rows = [
        page.head_cell(_labelled(e), 'row') + ''.join(page.cell(t(e)) for t in columns.values())
        for e in _with_others(comparison)
    ]
    head = [page.head_cell('model'), *map(page.head_cell, columns)]
    return [page.table(_others_caption(comparison), head, [rows], 'lines')]


def _calibration_section(comparison: Comparison) -> list[str]:
    columns = _calibration_columns(comparison)
    if not columns:
        return []
    rows = [
        page.head_cell(_labelled(e), 'row') + ''.join(page.cell(t(e)) for t in columns.values())
        for e in _calibrated(comparison)
    ]
    head = [page.head_cell('model'), *map(page.turned_head_cell, columns)]
    return [page.table(_calibration_caption(comparison), head, [rows], 'lines')]


def _differences_section(comparison: Comparison) -> list[str]:
    if not comparison.differences:
        return []
    rows = []
    for d in comparison.differences:
        name, *texts = _difference_row(d)
        rows.append(page.head_cell(name, 'row') + ''.join(page.cell(text) for text in texts))
    head = [page.head_cell(text) for text in _DIFFERENCE_HEAD]
    return [page.table(_difference_text(comparison), head, [rows], 'lines')]


def _sources_section(entries: Sequence[Entry]) -> list[str]:
    if not entries:
        return []
    pairs = {e.name: ' '.join([f'{"; ".join(e.published)}.', *e.notes]) for e in entries}
    return [
        page.facts(
            'Where each row is printed, and what contradicts it.', ('model', 'source'), pairs
        )
    ]
