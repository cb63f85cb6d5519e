"""An evaluation on real adverse conditions as CSV, Markdown and plain text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fan_mm.report.calibration import (
    MEASURES,
    PLAIN,
    calibration_lines,
    csv_columns,
    csv_numbers,
    csv_values,
    entry_text,
)
from fan_mm.report.findings import notices
from fan_mm.report.labels import arrow, interval, metric_label, number, task_label, with_interval
from fan_mm.report.robustness_table import INCOMPLETE
from fan_mm.report.shift_table import EFFECTIVE, MEANINGS, OTHERS, Row, ShiftTable
from fan_mm.report.tables import as_csv, markdown_table, with_doubt


def conditions_csv(table: ShiftTable) -> str:
    """One row per condition, and of each set pooled and the mean of conditions; nothing rounded.

    Columns: protocol (set and split in words), set, split, condition, kind ('clean', 'condition',
    'combined'), status, samples, total, the score, its interval, retention, its interval, other scores (of
    boxes and masks), each with its interval's bounds, error. Where calibration was measured, before the error:
    ECE, NLL and Brier, each with its interval's bounds, and the same with the temperature, _scaled. Of
    results that were edited last 'doubt'.
    """
    calibration = csv_columns(table.results)
    others = other_scores(table)
    rows = [_csv_row(table, row, calibration, others) for row in table.all_rows()]
    head = ['protocol', 'set', 'split', 'condition', 'kind', 'status', 'samples', 'total']
    head += [table.metric, 'low', 'high', 'retention', 'retention_low', 'retention_high']
    names = [*table.others, *calibration.values()]
    head += [f'{name}{end}' for name in names for end in ('', '_low', '_high')]
    return as_csv(*with_doubt([*head, 'error'], rows, table.results))


def other_scores(table: ShiftTable) -> dict[tuple[str, str], list[Row]]:
    """Set and label of a row -> the same row of each of the table's other metrics."""
    found: dict[tuple[str, str], list[Row]] = {}
    for metric in table.others:
        for row in table.of(metric).all_rows():
            found.setdefault((row.set, row.label), []).append(row)
    return found


def classes_csv(table: ShiftTable) -> str | None:
    """One row per condition, per-class metric and class; None if the results have no such values."""
    rows = [
        [*_where(table, cell['set']), cell['condition'], metric, name, value]
        for cell in table.results['cells']
        for metric, values in cell['per_class'].items()
        for name, value in values.items()
    ]
    head = ['protocol', 'set', 'split', 'condition', 'metric', 'class', 'value']
    return as_csv(head, rows) if rows else None


def shifts_markdown(table: ShiftTable, figures: Iterable[str]) -> str:
    """The report as Markdown."""
    parts = [
        f'# {table.name}: {table.about}',
        f'{task_label(table.results["task"]).capitalize()} on real adverse conditions. '
        'All numbers in per cent.',
        *(notice.markdown() for notice in notices(table)),
        _table(table),
        _effective(table),
        _others(table),
        _calibration(table),
        '\n'.join(f'- *{what}*: {meaning}.' for what, meaning in MEANINGS.items()),
        _classes(table),
        '## Figures',
        *(f'![{name.replace("_", " ")}](figures/{name}.png)' for name in figures),
        '## Sets',
        *(
            f'### {table.title(name)}\n\n'
            + markdown_table(['what', 'value'], [list(pair) for pair in table.told(name).items()])
            for name in table.sets
        ),
        '## Provenance',
        markdown_table(['what', 'value'], [[k, f'`{v}`'] for k, v in table.provenance().items()]),
    ]
    return '\n\n'.join(part for part in parts if part) + '\n'


def summary_text(results: dict) -> str:
    """The numbers, as plain text."""
    table = ShiftTable(results)
    lines = [f'{table.about}: {table.metric_label} in %']
    if (clean := table.clean_row()) is not None:
        lines.append(_line('clean', clean))
    for name in table.sets:
        for row in table.rows(name):
            label = '' if row.label == 'all' else f' {row.label}'
            lines.append(_line(f'{table.sets[name]["title"]}{label}', row))
        effective = table.sets[name]['mean_of_conditions'].get('effective_robustness')
        if effective is not None:
            value = number(effective['value']) if effective['complete'] else INCOMPLETE
            line = with_interval(f'  {EFFECTIVE:36}{value:>6}', effective['interval'])
            notes = table.sets[name].get('notes') or ()
            about = [n.removeprefix(f'{EFFECTIVE}: ') for n in notes if n.startswith(EFFECTIVE)]
            lines.append('; '.join([line, *about]))
    for metric in table.others:
        other = table.of(metric)
        for name in other.sets:
            row = other.best_known(name)
            label = '' if row.label == 'all' else f' {row.label}'
            lines.append(_line(f'{metric_label(metric)}, {other.sets[name]["title"]}{label}', row))
    for label, values in calibrations(table):
        (line,) = calibration_lines({PLAIN: values})
        lines.append(f'  calibration, {label}: {line}')
    return '\n'.join(lines)


def _line(label: str, row: Row) -> str:
    text = with_interval(f'  {label:36}{row.text:>6}', row.score['interval'])
    if row.retention and row.retention['value'] is not None:
        text += f', {row.retention["value"]:.1f} % of clean'
    return '; '.join([text, *row.remarks])


def _where(table: ShiftTable, name: str) -> list[str]:
    """Protocol, set and split; of the clean column its dataset, and no split."""
    if name in table.sets:
        return [table.title(name), name, table.sets[name]['split']]
    return [table.results['dataset']['type'] or name, name, '']


def _csv_row(
    table: ShiftTable,
    row: Row,
    calibration: Mapping[tuple[str, str], str],
    others: Mapping[tuple[str, str], Sequence[Row]],
) -> list:
    scores = [other.score for other in others.get((row.set, row.label), ())]
    return [
        *(*_where(table, row.set), row.label, row.kind, row.state, row.samples, row.total),
        *(*csv_numbers(row.score), *csv_numbers(row.retention or {})),
        *(number for score in scores for number in csv_numbers(score)),
        *(*csv_values(row.calibration, calibration), row.error),
    ]


def _table(table: ShiftTable) -> str:
    head = ['set', 'condition', f'{table.metric_label} {arrow(True)}', table.interval_label]
    head += ['retention', 'images', 'remarks']
    rows = []
    for row in table.all_rows():
        kept = row.retention['value'] if row.retention else None
        rows.append(
            [
                row.set if row.kind == 'clean' else table.title(row.set),
                row.label,
                row.text,
                interval(row.score['interval']),
                number(kept),
                '' if row.samples is None else str(row.samples),
                '; '.join(row.remarks),
            ]
        )
    return markdown_table(head, rows)


def _others(table: ShiftTable) -> str:
    """Boxes and masks, at fixed overlaps and by object size."""
    if not table.others:
        return ''
    rows = [
        [
            table.title(name) if name in table.sets else name,
            label,
            *(with_interval(row.text, row.score['interval']) for row in found),
        ]
        for (name, label), found in other_scores(table).items()
    ]
    head = ['set', 'condition', *(f'{metric_label(n)} {arrow(True)}' for n in table.others)]
    parts = [f'## {OTHERS}', markdown_table(head, rows), table.without_interval()]
    return '\n\n'.join(part for part in parts if part)


def _effective(table: ShiftTable) -> str:
    """Effective robustness, where a set's field reports it."""
    found = [m for m in table.headline() if m.label.endswith(EFFECTIVE)]
    return '\n'.join(f'- {m.label}: {m.with_interval}' for m in found)


def _calibration(table: ShiftTable) -> str:
    """ECE, NLL and Brier score of every condition, where they were measured."""
    rows = [
        [label, *(entry_text(values[m], digits) for m, digits in MEASURES.items())]
        for label, values in calibrations(table)
    ]
    return markdown_table(['calibration', *MEASURES], rows) if rows else ''


def calibrations(table: ShiftTable) -> list[tuple[str, Mapping[str, Mapping[str, Any]]]]:
    """Per row, and with the temperature once more, its name and its measures."""
    return [
        (
            table.cell_label(row.set, row.label)
            + ('' if variant == PLAIN else ', with temperature'),
            row.calibration[variant],
        )
        for variant in table.variants
        for row in table.calibrated_rows(variant)
    ]


def _classes(table: ShiftTable) -> str:
    found = table.class_values()
    if found is None:
        return ''
    metric, columns = found
    rows = [
        [name, *(number(values.get(name)) for values in columns.values())]
        for name in table.results['dataset']['classes']
    ]
    return f'## Per class\n\n{markdown_table([metric_label(metric), *columns], rows)}'
