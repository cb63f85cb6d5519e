"""The report as CSV and Markdown."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from fan_mm.report.calibration import (
    calibration_of,
    csv_columns,
    csv_values,
    ece_rows,
    entry_text,
)
from fan_mm.report.findings import notices
from fan_mm.report.labels import (
    arrow,
    corruption_label,
    interval,
    metric_label,
    number,
    task_label,
)
from fan_mm.report.robustness_table import HOLD_OUTS, RobustnessTable


def cells_csv(table: RobustnessTable) -> str:
    """One row per cell.

    Columns: benchmark, corruption ('clean' for the images as they are), group, severity (0 for clean),
    in_mean (1 if the cell enters the benchmark's mean), status, samples, seconds, one column per metric
    (per cent, or as a metric of unknown unit returned it; empty where there is none), retention (per cent
    of the clean metric), error. Where calibration was measured, before the error: ECE, NLL and Brier, each
    with its interval's bounds _low and _high, and the same with the temperature, _scaled. Of results that
    were edited last 'doubt'.
    """
    benchmark = table.results['benchmark']['name']
    calibration = csv_columns(table.results)
    metrics = [table.metric, *table.results['metric']['others']]
    group_of = {name: group for group, names in table.rows.items() for name in names}
    rows = []
    for cell in table.results['cells']:
        name, severity = cell['corruption'], cell['severity']
        share = table.retained(table.value(name, severity))
        rows.append(
            [benchmark, name, group_of.get(name, ''), severity, int(table.counts(name, severity))]
            + [cell['status'], cell['samples'], cell['seconds']]
            + [table.value(name, severity, metric) for metric in metrics]
            + [share, *csv_values(cell.get('calibration') or {}, calibration), cell['error']]
        )
    head = [
        'benchmark',
        'corruption',
        'group',
        'severity',
        'in_mean',
        'status',
        'samples',
        'seconds',
    ]
    more = [f'{name}{end}' for name in calibration.values() for end in ('', '_low', '_high')]
    return as_csv(*with_doubt([*head, *metrics, 'retention', *more, 'error'], rows, table.results))


def with_doubt(head: list[str], rows: list[list], results: Mapping) -> tuple[list[str], list[list]]:
    """The same with a column that states the problem if results were edited."""
    if 'doubt' not in results:
        return head, rows
    return [*head, 'doubt'], [[*row, results['doubt']] for row in rows]


def per_class_csv(table: RobustnessTable) -> str | None:
    """One row per cell, per-class metric and class; None if the results have no such values.

    Columns: benchmark, corruption, severity, metric, class, value (per cent, empty where there is none).
    """
    benchmark = table.results['benchmark']['name']
    head = ['benchmark', 'corruption', 'severity', 'metric', 'class', 'value']
    rows = [
        [benchmark, cell['corruption'], cell['severity'], metric, name, value]
        for cell in table.results['cells']
        for metric, values in cell['per_class'].items()
        for name, value in values.items()
    ]
    return as_csv(head, rows) if rows else None


def report_markdown(table: RobustnessTable, figures: Iterable[str]) -> str:
    """The report as Markdown."""
    parts = [
        f'# {table.name}: {table.benchmark}',
        f'Robustness of {task_label(table.results["task"])}, {table.images}. {table.unit_told}',
        *(notice.markdown() for notice in notices(table)),
        _headline(table),
        '## Corruptions and severities',
        _cells(table),
        '`·` not part of the benchmark, *italic* evaluated, but not part of any mean.',
        _groups(table),
        _other_metrics(table),
        _masks(table),
        _calibration(table),
        _classes(table),
        '## Figures',
        *(f'![{name.replace("_", " ")}](figures/{name}.png)' for name in figures),
        '## Provenance',
        markdown_table(['what', 'value'], [[k, f'`{v}`'] for k, v in table.provenance().items()]),
    ]
    return '\n\n'.join(part for part in parts if part) + '\n'


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table; the first column is left-aligned, the others right."""
    lines = [head, ['---', *['---:'] * (len(head) - 1)], *rows]
    return '\n'.join(
        '| ' + ' | '.join(c.replace('|', '\\|') for c in line) + ' |' for line in lines
    )


def as_csv(head: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def _headline(table: RobustnessTable) -> str:
    rows = [
        [
            f'{m.label} {arrow(m.higher_is_better)}',
            m.text if table.in_per_cent or m.value is None else f'{m.text} {m.unit}'.strip(),
            interval(m.interval, m.digits),
        ]
        for m in table.headline()
    ]
    return markdown_table(['', '%' if table.in_per_cent else 'value', table.interval_label], rows)


def _cells(table: RobustnessTable) -> str:
    rows = []
    for group, names in table.rows.items():
        for i, name in enumerate(names):
            cells = [_cell(table, name, s) for s in table.severities]
            label = group.capitalize() + (' (not in the mean)' if group == HOLD_OUTS else '')
            means = [table.mean_text(table.row(name)), number(table.retention(name))]
            rows.append([label if i == 0 else '', corruption_label(name), *cells, *means])
    severities = (f'severity {s}' for s in table.severities)
    head = ['group', 'corruption', *severities, 'mean', 'retention']
    return markdown_table(head, rows)


def _cell(table: RobustnessTable, name: str, severity: int) -> str:
    value = table.value(name, severity)
    if value is None:
        state = table.state(name, severity)
        return '·' if state == 'outside' else f'**{state}**'
    return table.text(value) if table.counts(name, severity) else f'*{table.text(value)}*'


def _groups(table: RobustnessTable) -> str:
    rows = [
        [
            group.capitalize(),
            table.mean_text(table.group(group)),
            number(table.group(group)['retention']),
        ]
        for group in table.groups
    ]
    if not rows:
        return ''
    return '## Groups\n\n' + markdown_table(
        ['group', f'mean {table.metric_label}', 'retention'], rows
    )


def _other_metrics(table: RobustnessTable) -> str:
    """Boxes and masks, at fixed overlaps and by object size; in other tasks other datasets, if any."""
    if len(table.summed_up()) < 2:
        return ''
    rows = [
        [
            found.metric_label,
            *(found.measure(name).with_interval for name in table.overall()),
            *(found.text(found.group(group)['mean']) for group in table.groups),
        ]
        for found in map(table.of, table.summed_up())
    ]
    head = ['metric', *table.overall(), *map(str.capitalize, table.groups)]
    parts = [f'## {table.others_title}', markdown_table(head, rows), table.without_interval()]
    return '\n\n'.join(part for part in parts if part)


def _masks(table: RobustnessTable) -> str:
    if 'segm_mAP' not in table.summed_up()[1:]:
        return ''
    return '## Mask mAP by corruption and severity\n\n' + _cells(table.of('segm_mAP'))


def _calibration(table: RobustnessTable) -> str:
    found = calibration_of(table)
    if found is None:
        return ''
    rows = [
        [label, *(entry_text(entry, digits) for entry in entries)]
        for label, digits, entries in found.rows()
    ]
    parts = ['## Calibration', found.about(), markdown_table(['', *found.heads()], rows)]
    severities = [f'severity {s}' for s in table.severities]
    for variant in found.variants:
        parts.append(f'ECE in per cent by corruption and severity{found.scaled(variant)}:')
        lines = [[name, *(text for text, _ in cells)] for name, cells in ece_rows(found, variant)]
        parts.append(markdown_table(['corruption', *severities, 'mean'], lines))
    return '\n\n'.join(parts)


def _classes(table: RobustnessTable) -> str:
    losses = table.class_losses()
    if losses is None:
        return ''
    rows = [
        [name, number(clean), *map(number, points)]
        for name, clean, points in zip(losses.classes, losses.clean, losses.losses, strict=True)
    ]
    head = [
        'class',
        f'clean {metric_label(losses.metric)}',
        *map(corruption_label, losses.corruptions),
    ]
    text = (
        f'Points of {metric_label(losses.metric)} lost, clean minus the mean over severities; '
        f'{losses.shown}.'
    )
    return f'## Losses per class\n\n{text}\n\n{markdown_table(head, rows)}'
