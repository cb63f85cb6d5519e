"""A comparison on real adverse conditions as Markdown, LaTeX and HTML, with its figures."""

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from fan_mm.errors import InputError
from fan_mm.evaluation.results import CORRUPTIONS, read_results
from fan_mm.evaluation.shifts.published import PublishedShift
from fan_mm.evaluation.sweeping.truth import differing_settings
from fan_mm.report import page
from fan_mm.report.calibration import calibration_digits, calibration_label
from fan_mm.report.comparison_files import write_files
from fan_mm.report.comparison_words import UNITS, difference_cells
from fan_mm.report.labels import arrow, interval, metric_label, number, task_label
from fan_mm.report.latex import NEEDS, group_heads, latex, latex_row, latex_table, turned
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.score_table import Line, Score, score_latex, score_markdown, score_page
from fan_mm.report.shift_comparison import (
    Column,
    ShiftComparison,
    ShiftDifference,
    build_shift_comparison,
    score_in,
)
from fan_mm.report.shift_figures import condition_points
from fan_mm.report.shift_table import ShiftTable
from fan_mm.report.simulated_real import SAID, simulated_against_real
from fan_mm.report.tables import markdown_table

_DIFFERENCE_HEAD = ['model', 'where', 'measure', 'difference', 'interval', 'excludes 0']


def write_shift_comparison(
    paths: Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    published: bool = False,
    sweeps: Sequence[str | os.PathLike] = (),
) -> Path:
    """Compare results on real adverse conditions and write the comparison.

    Files in ``out_dir``: ``comparison.html`` (self-contained), ``comparison.md``, ``comparison.tex``
    (needs booktabs and graphicx) and ``figures/`` with ``conditions`` and, with sweeps,
    ``simulated_real`` as PNG and PDF.

    Args:
        paths: results.json files or their folders; differences are taken to the first.
        out_dir: folder for the files, made if it is not there.
        published: add what others print of the same sets and splits.
        sweeps: results over corruptions of some of the same checkpoints, to be shown beside them.

    Returns:
        Path of ``comparison.html``.

    Raises:
        InputError: see `build_shift_comparison`; a sweep is of none of the checkpoints.
    """
    comparison = build_shift_comparison(paths, published)
    pairs = _same_checkpoints(comparison.tables, sweeps)
    notices = *comparison.notices, *_other_settings(pairs)
    comparison = dataclasses.replace(comparison, notices=notices)
    drawn = {'conditions': condition_points(comparison.tables)}
    if pairs:
        drawn['simulated_real'] = simulated_against_real(pairs)
    texts = _markdown(comparison, list(drawn)), _latex(comparison)
    tables: list[RobustnessTable | ShiftTable] = [
        *comparison.tables,
        *(sweep for sweep, _ in pairs),
    ]
    return write_files(Path(out_dir), drawn, tables, *texts, partial(_html, comparison))


def _same_checkpoints(
    tables: Sequence[ShiftTable], sweeps: Sequence[str | os.PathLike]
) -> list[tuple[RobustnessTable, ShiftTable]]:
    pairs = []
    for path in sweeps:
        results = read_results(path, CORRUPTIONS)
        digest = results['model'].get('checkpoint_sha256')
        table = next(
            (t for t in tables if t.results['model'].get('checkpoint_sha256') == digest), None
        )
        if table is None:
            raise InputError(
                f'{path} is a sweep of a checkpoint without results on real adverse conditions: give both '
                'for the same checkpoint'
            )
        if results['metric']['name'] != table.metric:
            raise InputError(
                f'{path} has the metric {results["metric"]["name"]}, the other results have {table.metric}'
            )
        pairs.append((RobustnessTable(results, table.name), table))
    return pairs


def _other_settings(pairs: Sequence[tuple[RobustnessTable, ShiftTable]]) -> list[str]:
    """Which sweeps have other settings of the metric than what is drawn beside them, in lines."""
    found = []
    for sweep, real in pairs:
        names = differing_settings(sweep.results['metric'].get('settings'), real.settings)
        if names := [name for name in names if name != 'annotations']:  # of other images
            found.append(
                f"{real.name}: its sweep has other settings of the metric ({', '.join(names)}): the figure's "
                'simulated and real values are not of one score.'
            )
    return found


# ------------------------------------------------------------------------------ shared by all forms


def _title(comparison: ShiftComparison) -> str:
    names = dict.fromkeys(c.set for c in comparison.columns if c.set != 'clean')
    return 'Real adverse conditions: ' + ', '.join(map(comparison.title, names))


def _where(comparison: ShiftComparison, column: Column) -> str:
    """'clean', 'ACDC val: fog'."""
    if column.set == 'clean':
        return 'clean'
    title = comparison.title(column.set)
    return title if column.condition == 'all' else f'{title}: {column.label}'


def _metrics(comparison: ShiftComparison) -> list[str]:
    """The results' metric, others of theirs or that published rows are of, and measures of calibration."""
    published = [row.metric for row in comparison.published]
    metrics = [comparison.metric, *comparison.others, *published, *comparison.calibration]
    return list(dict.fromkeys(metrics))


def _columns(comparison: ShiftComparison, metric: str) -> list[Column]:
    """Of a metric that only published rows sum up, the conditions of their sets alone."""
    if metric in (comparison.metric, *comparison.others, *comparison.calibration):
        return list(comparison.columns)
    sets = {row.set for row in comparison.published if row.metric == metric}
    return [c for c in comparison.columns if c.set in sets and not c.combined]


def _head(comparison: ShiftComparison, metric: str) -> str:
    """'mIoU ↑', 'NLL, with temperature ↓'."""
    if metric in comparison.calibration:
        return f'{calibration_label(metric)} {arrow(False)}'
    return f'{metric_label(metric)} {arrow(True)}'


def _heads(comparison: ShiftComparison, metric: str) -> list[str]:
    """Of the columns of a table, the first that of the models."""
    columns = _columns(comparison, metric)
    return [_head(comparison, metric), *(_where(comparison, c) for c in columns)]


def _digits(comparison: ShiftComparison, metric: str) -> int:
    return calibration_digits(metric) if metric in comparison.calibration else 1


def _is_best(comparison: ShiftComparison, metric: str, name: str, column: Column) -> bool:
    """Whether a model is the best in a column; of a metric that only published rows sum up none is."""
    if metric == comparison.metric:
        return name in comparison.best(column)
    ranked = (*comparison.others, *comparison.calibration)
    return metric in ranked and name in comparison.best(column, metric)


def _lines(comparison: ShiftComparison, metric: str) -> list[Line]:
    """The rows of a table, published ones last."""
    columns, digits = _columns(comparison, metric), _digits(comparison, metric)
    lower, none = metric in comparison.calibration, {'value': None, 'interval': None}
    found = {
        t.name: [score_in(t, column, metric) or none for column in columns]
        for t in comparison.tables
    }
    top = max([s['value'] for scores in found.values() for s in scores if s['value']], default=1)

    def score(name: str, column: Column, entry: Mapping) -> Score:
        value = entry['value']
        mark = '*' if (name, column) in comparison.unlike else ''
        share = None if value is None else value / top if lower else 1 - value / top
        best = _is_best(comparison, metric, name, column)
        return Score(number(value, digits) + mark, interval(entry['interval'], digits), best, share)

    lines = [
        Line(name, [score(name, *pair) for pair in zip(columns, scores, strict=True)], False)
        for name, scores in found.items()
    ]
    of_model: dict[tuple[str, str], dict[Column, float]] = {}
    for row in comparison.published:
        if row.metric == metric:
            values_of = of_model.setdefault((row.model, row.source), {})
            for column, (name, value) in itertools.product(columns, row.values.items()):
                if _is_of(comparison, column, row, name):
                    values_of[column] = value
    return lines + [
        Line(f'{model} (published)', [Score(number(values.get(c))) for c in columns], True)
        for (model, _), values in of_model.items()
        if values
    ]


def _is_of(comparison: ShiftComparison, column: Column, row: PublishedShift, name: str) -> bool:
    """Whether a published value belongs in a column; of sets with one condition, pooled is that."""
    if column.set == 'clean':
        return name == 'clean'
    alone = sum(c.set == column.set for c in comparison.columns) == 1
    same = column.condition == name or (name == 'pooled' and alone)
    return column.set == row.set and same


def _difference_row(comparison: ShiftComparison, difference: ShiftDifference) -> list[str]:
    return [
        difference.name,
        _where(comparison, difference.column),
        _head(comparison, difference.measure),
        *difference_cells(difference, _digits(comparison, difference.measure)),
    ]


def _difference_text(comparison: ShiftComparison) -> str:
    return (
        f'Each model minus {comparison.tables[0].name}, in points, with the interval of the paired bootstrap '
        'over scenes. If it excludes 0, the choice of images does not explain the difference.'
        + (f' {UNITS}' if comparison.calibration else '')
    )


def _sources(comparison: ShiftComparison) -> dict[str, str]:
    return {
        f'{row.model}, {comparison.title(row.set)}': f'{row.source}; trained on: {row.training}. {row.note}'
        for row in comparison.published
    }


_CAPTION = (
    '; in brackets bootstrap intervals; the best of the results in bold. A star: other images, labels, '
    'classes or settings of the metric than the first result.'
)
_IN = {'ECE': 'In per cent', 'NLL': 'In nats', 'Brier': 'From 0 to 2'}


def _caption(comparison: ShiftComparison, metric: str) -> str:
    if metric in comparison.calibration:
        return _IN[metric.partition('_')[0]] + _CAPTION
    return f'In per cent{_CAPTION} Published rows are not ranked.'


# ---------------------------------------------------------------------------------------- Markdown


def _markdown(comparison: ShiftComparison, drawn: Sequence[str]) -> str:
    parts = [
        f'# {_title(comparison)}',
        f'{task_label(comparison.tables[0].results["task"]).capitalize()}.',
        '\n'.join(f'> - {notice}' for notice in comparison.notices),
    ]
    for metric in _metrics(comparison):
        parts.append(score_markdown(_heads(comparison, metric), _lines(comparison, metric)))
    parts.append(_caption(comparison, comparison.metric))
    parts += [UNITS] if comparison.calibration else []
    if comparison.differences:
        rows = [_difference_row(comparison, d) for d in comparison.differences]
        parts += ['## Differences', _difference_text(comparison)]
        parts.append(markdown_table(_DIFFERENCE_HEAD, rows))
    parts += ['## Figures', *(f'![{name}](figures/{name}.png)' for name in drawn)]
    if 'simulated_real' in drawn:
        parts.append(SAID)
    if sources := _sources(comparison):
        parts += ['## Sources of the published rows']
        parts.append('\n'.join(f'- {name}: {text}'.strip() for name, text in sources.items()))
    return '\n\n'.join(part for part in parts if part) + '\n'


# ------------------------------------------------------------------------------------------- LaTeX


def _latex(comparison: ShiftComparison) -> str:
    """A ``table*`` of each score, and one of each measure of calibration."""
    metrics = (comparison.metric, *comparison.others, *comparison.calibration)
    tables = [_latex_table(comparison, metric) for metric in metrics]
    return '\n'.join([NEEDS, *tables, ''])


def _latex_table(comparison: ShiftComparison, metric: str) -> str:
    """A column for each condition, the sets above them."""
    columns = list(comparison.columns)
    sets = Counter(c.set for c in columns)
    titles = [('' if name == 'clean' else comparison.title(name), n) for name, n in sets.items()]
    lines = [
        latex_row([latex(line.name), *score_latex(line.scores)])
        for line in _lines(comparison, metric)
    ]
    own = len(comparison.tables)
    unit = {'NLL': ' (nats)', 'Brier': ''}.get(metric.partition('_')[0], ' (\\%)')
    caption = f'{latex(_title(comparison))}, {latex(_head(comparison, metric))}{unit}. '
    caption += ' '.join(latex(notice) for notice in comparison.notices)
    rows = [
        *group_heads(titles, 1),
        latex_row(['model', *(turned(c.label) for c in columns)]),
        '\\midrule',
        *lines[:own],
        *(['\\midrule', *lines[own:]] if lines[own:] else []),
    ]
    return latex_table(1 + len(columns), rows, caption)


# -------------------------------------------------------------------------------------------- HTML


def _html(comparison: ShiftComparison, svgs: dict[str, str]) -> str:
    sections = {
        'conditions': (
            'Conditions',
            [_table(comparison, metric) for metric in _metrics(comparison)],
        ),
        'figure': (
            'At a glance',
            [page.figure(svgs['conditions'], 'With bootstrap intervals; hollow: pooled and mean.')],
        ),
        'simulated': (
            'Simulated and real',
            [page.figure(svgs['simulated_real'], SAID)] if 'simulated_real' in svgs else [],
        ),
        'differences': (
            'Differences',
            [
                page.text_table(
                    _difference_text(comparison),
                    _DIFFERENCE_HEAD,
                    [_difference_row(comparison, d) for d in comparison.differences],
                )
            ],
        ),
        'sources': (
            'Sources of the published rows',
            [page.facts('Where each row was published.', ('row', 'source'), _sources(comparison))],
        ),
        'provenance': (
            'Provenance',
            [page.facts(t.name, ('what', 'value'), t.provenance()) for t in comparison.tables],
        ),
    }
    title = _title(comparison)
    task = task_label(comparison.tables[0].results['task']).capitalize()
    lead = f'{task}, all numbers in per cent.'
    return page.page(title, title, lead, [page.notice(comparison.notices)], sections)


def _table(comparison: ShiftComparison, metric: str) -> str:
    head, lines = _heads(comparison, metric), _lines(comparison, metric)
    return score_page(_caption(comparison, metric), head, lines)
