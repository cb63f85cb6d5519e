"""The page's section on calibration."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from fan_mm.report import page
from fan_mm.report.calibration import (
    OUTSIDE,
    CalibrationTable,
    calibration_of,
    ece_rows,
    entry_text,
    suffix,
)
from fan_mm.report.figures import inline_svg
from fan_mm.report.labels import arrow, in_brackets, number
from fan_mm.report.robustness_table import RobustnessTable


def calibration_section(table: RobustnessTable, figures: Mapping[str, Figure]) -> list[str]:
    """Tables and figures of calibration; nothing where it was not measured."""
    found = calibration_of(table)
    if found is None:
        return []
    rows = [
        page.head_cell(label, 'row')
        + ''.join(
            page.cell(entry_text(entry, digits), 'absent' if entry['missing'] else '')
            for entry in entries
        )
        for label, digits, entries in found.rows()
    ]
    head = [page.head_cell('measure', kind='left'), *map(page.head_cell, found.heads())]
    caption = f'Means are over severities, then over corruptions, of {table.benchmark}.'
    caption += in_brackets(table.level)
    parts = [page.paragraph(found.about()), page.table(caption, head, [rows], 'lines')]
    for variant in found.variants:
        parts += _of_variant(found, variant, figures)
    return parts


def _of_variant(found: CalibrationTable, variant: str, figures: Mapping[str, Figure]) -> list[str]:
    scaled = found.scaled(variant)
    diagram, curves = 'reliability' + suffix(variant), 'ece_curves' + suffix(variant)
    what = f'Accuracy against confidence{scaled}, clean next to each group of corruptions'
    parts = [
        page.figure(
            inline_svg(figures[diagram], diagram, what),
            f'{what} of {found.table.benchmark}; all samples of its cells together. Below the dashed line: '
            'overconfident. Bottom: the share of samples by confidence.',
        ),
        page.figure(
            inline_svg(figures[curves], curves, f'ECE against severity{scaled}'),
            f'ECE on {found.table.benchmark} in per cent at each severity{scaled}; the dashed line '
            'is clean, lower is better.',
        ),
    ]
    lines = ece_rows(found, variant)
    top = max([value for _, cells in lines for _, value in cells if value is not None], default=0)
    head = [page.head_cell('corruption', kind='left')]
    head += [page.head_cell(f'severity {s}') for s in found.table.severities]
    rows = [
        page.head_cell(name, 'row')
        + ''.join(
            page.cell(text, share=value / top if top else 0)
            if value is not None
            else page.cell(text, 'outside' if text == OUTSIDE else 'absent')
            for text, value in cells
        )
        for name, cells in lines
    ]
    caption = f'ECE {arrow(False)} on {found.table.benchmark}, in per cent by corruption and severity{scaled}.'
    parts.append(page.table(caption, [*head, page.head_cell('mean')], [rows], 'heat'))
    return [*parts, page.ramp('0 %', f'{number(top, 2)} %')]
