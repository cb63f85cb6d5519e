"""Reliability diagrams (DeGroot and Fienberg 1983; Guo et al. 2017): accuracy against confidence."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fan_mm.report import colours
from fan_mm.report.calibration import Bins, CalibrationTable
from fan_mm.report.figures import WIDTH, new_figure, style
from fan_mm.report.labels import number
from fan_mm.report.robustness_table import HOLD_OUTS

_CLEAN = dict(color=colours.INK, marker='o', linewidth=1.0)


def reliability(found: CalibrationTable, variant: str) -> Figure:
    """Accuracy against confidence, clean beside each group, and below how the samples are spread."""
    groups = list(found.table.rows)
    clean = found.bins([('clean', 0)], variant)
    rows = -(-len(groups) // 2)
    columns = min(2, len(groups))
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
            colour, marker = colours.series(place)
            lines = {'clean': (clean, _CLEAN)}
            of_group = found.bins(found.cells_of(group), variant)
            lines[group] = (of_group, dict(color=colour, marker=marker, linewidth=1.3))
            _diagram(axes, lines)
            _spread(below, lines)
            axes.set_title('Hold-outs' if group == HOLD_OUTS else group.capitalize())
            if of_group is None:
                axes.text(50, 50, 'incomplete', ha='center', va='center', color=colours.ALARM)
            if column == 0:
                axes.set_ylabel('accuracy (%)')
                below.set_ylabel('samples (%)')
            below.set_xlabel('confidence (%)')
    return figure


def _diagram(axes: Axes, lines: dict[str, tuple[Bins | None, dict]]) -> None:
    axes.plot([0, 100], [0, 100], color=colours.QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    for number_of, (name, (bins, look)) in enumerate(lines.items()):
        if bins is None:
            continue
        axes.plot(bins.confidence, bins.accuracy, label=name, **look)
        gap = float(np.nansum(bins.share * np.abs(bins.accuracy - bins.confidence)))
        words = f'{name}: ECE {number(gap, 2)}'
        axes.text(3, 96 - 8.5 * number_of, words, color=look['color'], va='top')
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_yticks([0, 25, 50, 75, 100])


def _spread(axes: Axes, lines: dict[str, tuple[Bins | None, dict]]) -> None:
    edges = np.linspace(0, 100, 16)
    for bins, look in lines.values():
        if bins is not None:
            axes.stairs(100 * bins.share, edges, color=look['color'], linewidth=1.0)
    axes.set_ylim(0, None)
    axes.grid(visible=False, axis='x')
