"""The report on real adverse conditions as one HTML page: conditions instead of corruptions."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from fan_mm.report import page
from fan_mm.report.calibration import MEASURES, SCALED, text_of
from fan_mm.report.calibration_figures import NAMES
from fan_mm.report.figures import inline_svg
from fan_mm.report.findings import notices
from fan_mm.report.html import (
    classes_section,
    gallery_head,
    grid,
    headline,
    intervals_told,
    picture,
    provenance,
)
from fan_mm.report.labels import arrow, interval, metric_label, number, task_label
from fan_mm.report.shift_table import MEANINGS, OTHERS, Row, ShiftTable
from fan_mm.report.shift_tables import calibrations, other_scores

_PICTURES = {
    'image': 'image',
    'prediction': 'prediction',
    'ground_truth': 'ground truth',
}


def shift_page(table: ShiftTable, figures: Mapping[str, Figure], work_dir: Path) -> str:
    """The whole page.

    Args:
        table: the results.
        figures: 'conditions', and of `fan_mm.report.calibration_figures.drawn_of_conditions`.
        work_dir: folder that the gallery's paths are relative to.
    """
    sections = {
        'conditions': ('Conditions', _conditions_section(table)),
        'figure': ('At a glance', _figure_section(table, figures['conditions'])),
        'others': (OTHERS, _others_section(table)),
        'values': ('Per class', _class_values_section(table)),
        'classes': (
            'Losses per class',
            classes_section(table.class_losses(), str, str, 'clean minus the condition'),
        ),
        'calibration': ('Calibration', _calibration_section(table, figures)),
        'gallery': ('Gallery', _gallery_section(table, work_dir)),
        'definitions': ('Definitions', _definitions(table)),
        'sets': (
            'Sets',
            [page.facts(table.title(n), ('what', 'value'), table.told(n)) for n in table.sets],
        ),
        'provenance': ('Provenance', [provenance(table)]),
    }
    what = task_label(table.results['task']).capitalize()
    about = f'{what} on real adverse conditions: {table.about}.'
    above = [*(notice.html() for notice in notices(table)), headline(table)]
    return page.page(f'{table.name}: {table.about}', table.name, about, above, sections)


def _conditions_section(table: ShiftTable) -> list[str]:
    head = [page.head_cell('set'), page.head_cell('condition', kind='left')]
    head += [page.head_cell(table.metric_label), page.head_cell(table.interval_label)]
    head += [page.head_cell('retention %'), page.head_cell('images')]
    bodies = []
    if (clean := table.clean_row()) is not None:
        bodies.append([page.head_cell('Clean', 'rowgroup') + _row(table, clean)])
    for name in table.sets:
        rows = [_row(table, row) for row in table.rows(name)]
        rows[0] = page.head_cell(table.title(name), 'rowgroup', rows=len(rows)) + rows[0]
        bodies.append(rows)
    caption = (
        f'{table.metric_label} {arrow(True)} in per cent; retention and colour are relative to the '
        'clean column.'
    )
    remarks = [
        f'{table.cell_label(row.set, row.label)}: {remark}.'
        for row in table.all_rows()
        for remark in row.remarks
    ]
    return [
        page.table(caption, head, bodies, 'heat'),
        page.ramp('none of the clean metric lost', 'all of it') if clean else '',
        page.notice(remarks),
    ]


def _row(table: ShiftTable, row: Row) -> str:
    head = page.head_cell(row.label, 'row', 'total' if row.kind == 'combined' else '')
    pictures = '' if row.samples is None else str(row.samples)
    kept = row.retention['value'] if row.retention else None
    if row.score['value'] is None and not (row.state == 'done' and row.score['complete']):
        cell = page.cell(row.text, 'absent', title=row.error or '')
    else:
        kind = 'mean' if row.kind == 'combined' else ''
        cell = page.cell(row.text, kind, share=table.lost_share(row))
    cells = [page.cell(interval(row.score['interval'])), page.cell(number(kept))]
    return ''.join([head, cell, *cells, page.cell(pictures, below=row.part)])


def _figure_section(table: ShiftTable, figure: Figure) -> list[str]:
    svg = inline_svg(figure, 'conditions', f'{table.metric_label} in each condition')
    caption = (
        'Points: conditions; bars: the bootstrap interval; hollow: pooled and mean of conditions. '
        'The dashed line is the clean column.'
    )
    return [page.figure(svg, caption)]


def _others_section(table: ShiftTable) -> list[str]:
    """Boxes and masks, at fixed overlaps and by object size; nothing of other tasks."""
    if not table.others:
        return []
    head = [page.head_cell('condition'), *(page.head_cell(metric_label(n)) for n in table.others)]
    tables = {name: table.of(name) for name in table.others}
    rows = []
    for (name, label), found in other_scores(table).items():
        cells = ''.join(
            page.cell(
                row.text,
                'mean' if row.kind == 'combined' else '',
                share=None if row.score['value'] is None else of.lost_share(row),
                below=interval(row.score['interval']),
            )
            for row, of in zip(found, tables.values(), strict=True)
        )
        where = f'{table.title(name)}: {label}' if name in table.sets else name
        rows.append(page.head_cell(where, 'row') + cells)
    missing = table.without_interval()
    caption = f'Per cent, higher is better. {missing}'.strip()
    return [page.table(caption, head, [rows], 'heat')]


def _class_values_section(table: ShiftTable) -> list[str]:
    found = table.class_values()
    if found is None:
        return []
    metric, columns = found
    head = [page.head_cell('class'), *map(page.turned_head_cell, columns)]
    rows = []
    for name in table.results['dataset']['classes']:
        cells = ''
        for values in columns.values():
            value = values.get(name)
            cells += page.cell(number(value), share=None if value is None else 1 - value / 100)
        rows.append(page.head_cell(name, 'row') + cells)
    caption = (
        f'{metric_label(metric)} in per cent. A dash: neither in the ground truth nor predicted, or a class '
        'that the dataset does not have.'
    )
    return [page.table(caption, head, [rows], 'heat classes'), page.ramp('100 %', '0 %')]


def _calibration_section(table: ShiftTable, figures: Mapping[str, Figure]) -> list[str]:
    """ECE, NLL and Brier score of every condition, and its diagrams, where they were measured."""
    rows = []
    for label, values in calibrations(table):
        cells = ''
        for measure, digits in MEASURES.items():
            entry = values[measure]
            cells += page.cell(
                text_of(entry, digits),
                'absent' if entry.get('missing') else '',
                below=interval(entry['interval'], digits),
            )
        rows.append(page.head_cell(label, 'row') + cells)
    if not rows:
        return []
    head = [page.head_cell('condition')]
    head += [page.head_cell(f'{measure} {arrow(False)}') for measure in MEASURES]
    caption = 'Expected calibration error in per cent, NLL in nats, Brier score from 0 to 2.'
    temperature = table.results['calibration'].get('temperature')
    if temperature:
        caption += (
            f' The temperature, {temperature["value"]:.3f}, was fitted on {temperature["pictures"]} '
            'clean images of the training split.'
        )
    return [
        page.paragraph(f'Probabilities: {table.results["calibration"]["probabilities"]}.'),
        page.table(caption, head, [rows], 'lines'),
        *(_diagrams(name, figures[name]) for name in NAMES if name in figures),
    ]


def _diagrams(name: str, figure: Figure) -> str:
    what = 'Accuracy against confidence' + (', with temperature' if SCALED in name else '')
    return page.figure(
        inline_svg(figure, name, what),
        f'{what}, clean next to each condition. Below the dashed line: overconfident. Bottom: the share of '
        'pixels by confidence.',
    )


def _gallery_section(table: ShiftTable, work_dir: Path) -> list[str]:
    entries = table.results['gallery']
    if not entries:
        return []
    parts = gallery_head(table.results['dataset'])
    by_cell: dict[tuple[str, str], list] = {}
    for entry in entries:
        by_cell.setdefault((entry['set'], entry['condition']), []).append(entry)
    for key, samples in by_cell.items():
        pictures = [
            picture(work_dir, entry['images'][role], caption, entry['key'])
            for entry in samples
            for role, caption in _PICTURES.items()
            if role in entry['images']
        ]
        parts += [f'<h3>{escape(table.cell_label(*key))}</h3>', grid(pictures, 'conditions')]
    return parts


def _definitions(table: ShiftTable) -> list[str]:
    facts = page.facts('Per cent, higher is better.', ('number', 'meaning'), MEANINGS)
    return [facts, *map(page.paragraph, intervals_told(table.results['bootstrap']))]
