"""Reliability diagrams (DeGroot and Fienberg 1983; Guo et al. 2017): accuracy against confidence.

Clean beside each group of corruptions, or beside each real condition.
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fan_mm.report import colours
from fan_mm.report.calibration import (
    Bins,
    CalibrationTable,
    bins_of,
    calibration_of,
    suffix,
    text_of,
)
from fan_mm.report.figures import WIDTH, new_figure, severity_curves, style
from fan_mm.report.robustness_table import HOLD_OUTS, RobustnessTable
from fan_mm.report.shift_table import Row, ShiftTable

NAMES = ('reliability', 'ece_curves', 'reliability_scaled', 'ece_curves_scaled')


class Line(NamedTuple):
    """A curve of a diagram; its label is printed even without samples."""

    text: str
    bins: Bins | None
    colour: str
    marker: str


class Panel(NamedTuple):
    """A diagram and its title."""

    title: str
    lines: list[Line]


def drawn(table: RobustnessTable) -> dict[str, Figure]:
    """The figures of calibration by their names; none where it was not measured.

    ``reliability`` and ``ece_curves``, and the same of the logits with a temperature.
    """
    found = calibration_of(table)
    if not found:
        return {}
    figures = {}
    for variant in found.variants:
        figures['reliability' + suffix(variant)] = reliability(found, variant)
        figures['ece_curves' + suffix(variant)] = severity_curves(found.ece(variant))
    return figures


def drawn_of_conditions(table: ShiftTable) -> dict[str, Figure]:
    """``reliability`` and, with a temperature, ``reliability_scaled`` of real conditions; none without."""
    return {
        'reliability' + suffix(variant): conditions(table, variant)
        for variant in table.variants
        if any(row.kind == 'condition' for row in table.calibrated_rows(variant))
    }


def conditions(table: ShiftTable, variant: str) -> Figure:
    """Accuracy against confidence in each condition, beside clean where there is a clean column."""
    rows = table.calibrated_rows(variant)

    def line(row: Row, label: str, colour: str, marker: str) -> Line:
        found = row.calibration[variant]
        return Line(
            f'{label}: ECE {text_of(found["ECE"], 2)}', bins_of([found['bins']]), colour, marker
        )

    clean = [line(row, 'clean', colours.INK, 'o') for row in rows if row.kind == 'clean']
    panels = []
    for place, row in enumerate(row for row in rows if row.kind == 'condition'):
        look = colours.series(place % 5)  # the sixth is as dark as clean is
        title = table.cell_label(row.set, row.label)
        panels.append(Panel(title, [*clean, line(row, 'condition', *look)]))
    return diagrams(panels, f'on {table.about}', across=2 if len(panels) < 5 else 3)


def reliability(found: CalibrationTable, variant: str) -> Figure:
    """Accuracy against confidence, clean beside each group, and below how the samples are spread.

    The numbers are the mean ECE of the group's cells, as in the tables; the lines are of all samples of
    its cells together.
    """
    ece = found.summary[variant]['ECE']
    clean = Line(
        f'clean: ECE {text_of(ece["clean"], 2)}',
        found.bins([('clean', 0)], variant),
        colours.INK,
        'o',
    )
    panels = []
    for place, group in enumerate(found.table.rows):
        text = f': mean ECE {text_of(ece["groups"][group], 2)}' if group in ece['groups'] else ''
        bins = found.bins(found.cells_of(group), variant)
        title = 'Hold-outs' if group == HOLD_OUTS else group.capitalize()
        panels.append(Panel(title, [clean, Line(f'{group}{text}', bins, *colours.series(place))]))
    return diagrams(panels, f'on {found.table.benchmark}')


def diagrams(panels: Sequence[Panel], about: str, across: int = 2) -> Figure:
    """Reliability diagrams side by side.

    Args:
        panels: one or more.
        about: what they are of, in words.
        across: most of them in a row, two or three.
    """
    columns = min(across, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        height = 3.3 if across == 2 else 2.5
        figure = new_figure(WIDTH * (0.55 if columns == 1 else 1), height * rows + 0.2)
        grid = figure.subplots(
            2 * rows, columns, squeeze=False, sharex=True, height_ratios=[3.2, 1] * rows
        )
        for place in range(rows * columns):
            row, column = divmod(place, columns)
            axes, below = grid[2 * row, column], grid[2 * row + 1, column]
            if place >= len(panels):
                axes.set_visible(False)
                below.set_visible(False)
                continue
            _diagram(axes, panels[place].lines)
            _spread(below, panels[place].lines)
            axes.set_title(panels[place].title)
            if column == 0:
                axes.set_ylabel('accuracy (%)')
                below.set_ylabel('samples (%)')
            below.set_xlabel('confidence (%)')
            below.tick_params(labelbottom=place + columns >= len(panels))  # nothing stands below
        figure.supxlabel(textwrap.fill(about, 100), fontsize=7.5, color=colours.QUIET)
    return figure


def _diagram(axes: Axes, lines: list[Line]) -> None:
    axes.plot([0, 100], [0, 100], color=colours.QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    for place, line in enumerate(lines):
        axes.text(
            3,
            97 - 8.5 * place,
            line.text,
            color=line.colour if line.bins else colours.ALARM,
            va='top',
        )
        if line.bins:
            axes.plot(
                line.bins.confidence,
                line.bins.accuracy,
                color=line.colour,
                marker=line.marker,
                clip_on=False,
            )
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_yticks([0, 25, 50, 75, 100])


def _spread(axes: Axes, lines: list[Line]) -> None:
    for line in lines:
        if line.bins:
            edges = np.linspace(0, 100, len(line.bins.share) + 1)
            axes.stairs(100 * line.bins.share, edges, color=line.colour, linewidth=1.0)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.grid(visible=False, axis='x')
