"""Reliability diagrams (DeGroot and Fienberg 1983; Guo et al. 2017): accuracy against confidence."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fan_mm.report import colours
from fan_mm.report.calibration import PLAIN, Bins, CalibrationTable, calibration_of, text_of
from fan_mm.report.figures import WIDTH, new_figure, severity_curves, style
from fan_mm.report.robustness_table import HOLD_OUTS, RobustnessTable

NAMES = ('reliability', 'ece_curves', 'reliability_scaled', 'ece_curves_scaled')


class _Line(NamedTuple):
    text: str
    bins: Bins | None
    colour: str
    marker: str


def drawn(table: RobustnessTable) -> dict[str, Figure]:
    """The figures of calibration by their names; none where it was not measured.

    ``reliability`` and ``ece_curves``, and the same of the logits with a temperature.
    """
    found = calibration_of(table)
    if not found:
        return {}
    figures = {}
    for variant in found.variants:
        end = '' if variant == PLAIN else f'_{variant}'
        figures[f'reliability{end}'] = reliability(found, variant)
        figures[f'ece_curves{end}'] = severity_curves(found.ece(variant))
    return figures


def reliability(found: CalibrationTable, variant: str) -> Figure:
    """Accuracy against confidence, clean beside each group, and below how the samples are spread.

    The numbers are the mean ECE of the group's cells, as in the tables; the lines are of all samples of
    its cells together.
    """
    groups = list(found.table.rows)
    ece = found.summary[variant]['ECE']
    clean = _Line(
        f'clean: ECE {text_of(ece["clean"], 2)}',
        found.bins([('clean', 0)], variant),
        colours.INK,
        'o',
    )
    columns = min(2, len(groups))
    rows = -(-len(groups) // 2)
    with style():
        figure = new_figure(WIDTH * (0.55 if columns == 1 else 1), 3.3 * rows + 0.2)
        panels = figure.subplots(
            2 * rows, columns, squeeze=False, sharex=True, height_ratios=[3.2, 1] * rows
        )
        for place in range(rows * columns):
            row, column = divmod(place, columns)
            axes, below = panels[2 * row, column], panels[2 * row + 1, column]
            if place >= len(groups):
                axes.set_visible(False)
                below.set_visible(False)
                continue
            group = groups[place]
            text = (
                f': mean ECE {text_of(ece["groups"][group], 2)}' if group in ece['groups'] else ''
            )
            bins = found.bins(found.cells_of(group), variant)
            lines = [clean, _Line(f'{group}{text}', bins, *colours.series(place))]
            _diagram(axes, lines)
            _spread(below, lines)
            axes.set_title('Hold-outs' if group == HOLD_OUTS else group.capitalize())
            if column == 0:
                axes.set_ylabel('accuracy (%)')
                below.set_ylabel('samples (%)')
            below.set_xlabel('confidence (%)')
        figure.supxlabel(f'on {found.table.benchmark}', fontsize=7.5, color=colours.QUIET)
    return figure


def _diagram(axes: Axes, lines: list[_Line]) -> None:
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


def _spread(axes: Axes, lines: list[_Line]) -> None:
    for line in lines:
        if line.bins:
            edges = np.linspace(0, 100, len(line.bins.share) + 1)
            axes.stairs(100 * line.bins.share, edges, color=line.colour, linewidth=1.0)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.grid(visible=False, axis='x')
