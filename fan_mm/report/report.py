"""From ``results.json`` to the report's files."""

import os
from pathlib import Path

from fan_mm.evaluation.results import SHIFTS, protocol_of, read_results
from fan_mm.fileio import remove_temporaries, write_whole
from fan_mm.report import calibration_figures, figures
from fan_mm.report.html import report_page
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.shift_figures import condition_points
from fan_mm.report.shift_page import shift_page
from fan_mm.report.shift_table import ShiftTable
from fan_mm.report.shift_tables import classes_csv, conditions_csv, shifts_markdown
from fan_mm.report.tables import cells_csv, per_class_csv, report_markdown

_FILES = (
    *('report.html', 'report.md', 'results.csv', 'per_class.csv'),
    *(
        f'figures/{name}.{kind}'
        for name in (
            *('heat_map', 'severity_curves', 'groups', 'conditions'),
            *calibration_figures.NAMES,
        )
        for kind in ('png', 'pdf')
    ),
)


def write_report(results_path: str | os.PathLike, out_dir: str | os.PathLike) -> Path:
    """Write the report of one sweep, or of one evaluation on real adverse conditions.

    Files in ``out_dir``: ``report.html`` (self-contained), ``report.md``, ``results.csv``,
    ``per_class.csv`` if the results have classes, and ``figures/`` with ``heat_map``,
    ``severity_curves`` and ``groups``, or ``conditions``, as PNG and PDF, and those of
    `calibration_figures`.

    Args:
        results_path: a results.json, or the folder that contains it. The images of its gallery
            are expected next to it.
        out_dir: output folder, created if necessary; may be the work dir.

    Returns:
        Path of ``report.html``.

    Raises:
        InputError: there are no readable results with this schema.
    """
    results = read_results(results_path)
    work_dir = Path(results_path)
    work_dir = work_dir if work_dir.is_dir() else work_dir.parent
    out_dir = Path(out_dir)
    parts = _of_shifts if results['kind'] == SHIFTS else _of_corruptions
    drawn, texts = parts(results, work_dir)
    remove_report(out_dir)  # what this one lacks must not stay from an earlier one
    for name, figure in drawn.items():
        figures.save(figure, out_dir / 'figures' / name, protocol_of(results)['name'])
    for name, text in texts.items():
        if text is not None:
            write_whole(out_dir / name, text)
    return out_dir / 'report.html'


def _of_corruptions(results: dict, work_dir: Path) -> tuple[dict, dict]:
    """Figures and texts by their names."""
    table = RobustnessTable(results)
    drawn = {'heat_map': figures.heat_map(table), 'severity_curves': figures.severity_curves(table)}
    if results['benchmark']['groups']:
        drawn['groups'] = figures.group_bars([table])
    drawn |= calibration_figures.drawn(table)
    return drawn, {
        'results.csv': cells_csv(table),
        'per_class.csv': per_class_csv(table),
        'report.md': report_markdown(table, drawn),
        'report.html': report_page(table, drawn, work_dir),
    }


def _of_shifts(results: dict, work_dir: Path) -> tuple[dict, dict]:
    """Figures and texts by their names."""
    table = ShiftTable(results)
    drawn = {'conditions': condition_points([table])}
    drawn |= calibration_figures.drawn_of_conditions(table)
    return drawn, {
        'results.csv': conditions_csv(table),
        'per_class.csv': classes_csv(table),
        'report.md': shifts_markdown(table, drawn),
        'report.html': shift_page(table, drawn, work_dir),
    }


def remove_report(out_dir: str | os.PathLike) -> None:
    """Remove the files that `write_report` wrote to a folder, complete or not."""
    remove_temporaries(out_dir, Path(out_dir, 'figures'))
    for name in _FILES:
        Path(out_dir, name).unlink(missing_ok=True)
