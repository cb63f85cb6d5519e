"""Figures of real adverse conditions: every condition with its interval."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from fan_mm.report import colours
from fan_mm.report.figures import WIDTH, legend_of_models, new_figure, style
from fan_mm.report.labels import number
from fan_mm.report.shift_table import Row, ShiftTable


def condition_points(tables: Sequence[ShiftTable]) -> Figure:
    """The score of every condition, pooled and of their mean, with its interval; a colour per model."""
    lines = _lines(tables)
    with style():
        figure = new_figure(WIDTH, 0.9 + 0.21 * len(lines) * (0.4 + 0.6 * len(tables)))
        axes = figure.add_subplot()
        for i, table in enumerate(tables):
            colour, marker = colours.series(i)
            shift = 0.0 if len(tables) == 1 else 0.6 * (i / (len(tables) - 1) - 0.5)
            found = {(r.set, r.label): r for name in table.sets for r in table.rows(name)}
            for y, key in enumerate(lines):
                if key in found:
                    _point(axes, y + shift, found[key], colour, marker)
            if table.clean is not None:
                axes.axvline(table.clean, color=colour, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(lines)), [lines[key] for key in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.margins(x=0.08)  # for the numbers behind the intervals
        axes.grid(visible=False, axis='y')
        axes.set_xlabel(f'{tables[0].metric_label} (%); dashed: clean column')
        if len(tables) > 1:
            legend_of_models(figure, [table.name for table in tables], above=True)
    return figure


def _lines(tables: Sequence[ShiftTable]) -> dict[tuple[str, str], str]:
    """Labels of the lines of all tables, a set's together."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    for table in tables:
        for name in table.sets:
            for row in table.rows(name):
                title = table.title(name)
                label = title if row.label == 'all' else f'{title}: {row.label}'
                found.setdefault(name, {}).setdefault((row.set, row.label), label)
    return {key: label for lines in found.values() for key, label in lines.items()}


def _point(axes: Axes, y: float, row: Row, colour: str, marker: str) -> None:
    value = row.score['value']
    if value is None:
        return
    if row.score['interval']:
        axes.plot(row.score['interval'], [y, y], color=colour, linewidth=1.1)
    axes.plot(
        [value],
        [y],
        ls='none',
        marker=marker,
        markersize=5,
        markerfacecolor=colours.PAPER if row.kind == 'combined' else colour,
        markeredgecolor=colour,
        zorder=3,
    )
    axes.annotate(
        number(value),
        (max([value, *(row.score['interval'] or ())]), y),
        xytext=(5, 0),
        textcoords='offset points',
        ha='left',
        va='center_baseline',
        fontsize=5.5,
        color=colour,
        zorder=4,
        path_effects=[withStroke(linewidth=2, foreground=colours.PAPER)],  # the clean column's line
    )
