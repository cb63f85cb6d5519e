"""Accuracy against robustness: one point per model, lines of equal retention."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from fan_mm.report import colours
from fan_mm.report.comparison import Comparison, Entry
from fan_mm.report.figures import WIDTH, new_figure, style
from fan_mm.report.labels import metric_label, wrapped

_NAME = 34  # letters of a name in a line
# Where a label may stand: offset from its point in points, horizontal and vertical alignment. First
# beside it, then ever farther around it, with a line that leads to it.
_PLACES = [
    ((6.0, 0.0), 'left', 'center'),
    ((-6.0, 0.0), 'right', 'center'),
    ((0.0, 6.0), 'center', 'bottom'),
    ((0.0, -6.0), 'center', 'top'),
    *(
        ((r * np.cos(t), r * np.sin(t)), 'left' if np.cos(t) > 0 else 'right', 'center')
        for r in (10, 16, 24, 34, 46)
        for t in np.radians([30, 150, -30, -150, 60, 120, -60, -120])
    ),
]


def plotted(comparison: Comparison) -> list[Entry]:
    """The entries that have both coordinates."""
    return [e for e in comparison.entries if e.clean is not None and e.mean is not None]


def accuracy_scatter(comparison: Comparison) -> Figure:
    """Benchmark mean against the clean metric; published models are grey, incomparable ones hollow."""
    entries = plotted(comparison)
    name = metric_label(comparison.metric)
    with style():
        figure = new_figure(WIDTH, 4.6)
        axes = figure.add_subplot()
        for i, entry in enumerate(e for e in entries if not e.published):
            colour, marker = colours.series(i)
            _point(axes, [entry], colour, marker, _filled(entry), markersize=7, zorder=4)
            if entry.mean_interval:
                axes.plot([_place(entry)[0]] * 2, entry.mean_interval, color=colour, zorder=3)
        for filled in (True, False):
            printed = [e for e in entries if e.published and _filled(e) == filled]
            if printed:
                _point(axes, printed, colours.QUIET, 'o', filled, zorder=3)
        _limits(axes, entries, least=10.0**-comparison.digits * 10)
        _retention_lines(axes)
        axes.set_xlabel(f'clean {name}{comparison.unit_label}')
        one_mean = not any('mean' in e.unlike for e in entries)
        where = f'on {comparison.benchmark}{"" if one_mean else ", hollow: on others"}'
        axes.set_ylabel(f'mean {name} {where}{comparison.unit_label}')
        _legend(axes, comparison, entries)
        figure.draw_without_rendering()  # settles the layout, so that label boxes are final
        figure.set_layout_engine('none')
        _labels(axes, entries)
    return figure


def _filled(entry: Entry) -> bool:
    """Whether it is comparable with the first result, its mean included."""
    return entry.comparable and 'mean' not in entry.unlike


def _place(entry: Entry) -> tuple[float, float]:
    """Of one that is `plotted`."""
    assert entry.clean is not None and entry.mean is not None
    return entry.clean, entry.mean


def _point(
    axes: Axes, entries: Sequence[Entry], colour: str, marker: str, filled: bool, **style: Any
) -> None:
    axes.plot(
        *zip(*map(_place, entries), strict=True),
        linestyle='none',
        marker=marker,
        markerfacecolor=colour if filled else colours.PAPER,
        markeredgecolor=colour,
        **style,
    )


def _legend(axes: Axes, comparison: Comparison, entries: Sequence[Entry]) -> None:
    """What grey and hollow mean, where there are such points."""
    kinds = {}
    if printed := [e for e in entries if e.published]:
        kinds['published'] = colours.QUIET if any(map(_filled, printed)) else colours.PAPER
    if not all(map(_filled, entries)):
        name = wrapped(comparison.entries[0].name, 2 * _NAME)
        kinds[f'hollow: not comparable with {name}'] = colours.PAPER
    handles = [
        Line2D([], [], ls='', marker='o', mfc=face, mec=colours.QUIET, label=label)
        for label, face in kinds.items()
    ]
    if handles:
        axes.figure.legend(handles=handles, loc='outside upper right', ncols=2, frameon=False)


def _limits(axes: Axes, entries: Sequence[Entry], least: float) -> None:
    clean = [e.clean for e in entries] or [0.0, 100.0]
    means = [v for e in entries for v in (e.mean, *(e.mean_interval or ()))] or [0.0, 100.0]
    for values, setter, room in ((clean, axes.set_xlim, 0.2), (means, axes.set_ylim, 0.1)):
        low, high = min(values), max(values)
        margin = max(room * (high - low), least)
        setter(low - margin, high + margin)


def _retention_lines(axes: Axes) -> None:
    """Dotted lines of equal retention with their per cent at the right or upper edge."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_autoscale_on(False)
    for per_cent in range(10, 100, 10):
        slope = per_cent / 100
        axes.plot(
            [left, right], [slope * left, slope * right], ':', color=colours.QUIET, linewidth=0.7
        )
        x = min(right, high / slope)
        if x <= left or slope * x <= low:
            continue
        place = ((3, 0), 'left', 'center') if x == right else ((0, 2), 'center', 'bottom')
        offset, horizontal, vertical = place
        text = axes.annotate(
            f'{per_cent} %',
            (x, slope * x),
            xytext=offset,
            textcoords='offset points',
            ha=horizontal,
            va=vertical,
            color=colours.QUIET,
            annotation_clip=False,
        )
        text.set_in_layout(True)


def _labels(axes: Axes, entries: Sequence[Entry]) -> None:
    """Label every point where its name covers no other point or name; own results without room go to a legend."""
    frame = axes.get_window_extent()
    points = [axes.transData.transform(_place(entry)) for entry in entries]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in points]
    own_first = sorted(range(len(entries)), key=lambda i: bool(entries[i].published))
    unnamed: list[Line2D] = []
    for i in own_first:
        entry = entries[i]
        others = [box for j, box in enumerate(taken) if j != i]
        for offset, horizontal, vertical in _PLACES:
            label = _label(axes, entry, offset, horizontal, vertical)
            box = text_box(label)
            inside = (
                frame.x0 <= box.x0
                and box.x1 <= frame.x1
                and frame.y0 <= box.y0
                and box.y1 <= frame.y1
            )
            if inside and not any(box.overlaps(other) for other in others):
                taken.append(box)
                break
            label.remove()
        else:
            if not entry.published:
                colour, marker = colours.series(own_first.index(i))
                face = colour if _filled(entry) else colours.PAPER
                name = wrapped(entry.name, _NAME)
                unnamed.append(
                    Line2D([], [], ls='', marker=marker, mfc=face, mec=colour, label=name)
                )
    if unnamed:
        axes.legend(handles=unnamed, loc='best', framealpha=0.9)


def text_box(label: Annotation) -> Bbox:
    """Where an annotation's text stands, in pixels, without the line that leads to it."""
    canvas: Any = label.figure.canvas
    label.update_positions(canvas.get_renderer())
    return Text.get_window_extent(label)


def _label(
    axes: Axes, entry: Entry, offset: tuple[float, float], horizontal: str, vertical: str
) -> Annotation:
    beside = 0.0 in offset
    return axes.annotate(
        wrapped(entry.name, _NAME),
        (entry.clean, entry.mean),
        xytext=offset,
        textcoords='offset points',
        ha=horizontal,
        va=vertical,
        fontsize=6.5 if entry.published else 7.5,
        fontweight='normal' if entry.published else 'bold',
        color=colours.QUIET if entry.published else colours.INK,
        arrowprops=None
        if beside
        else {'arrowstyle': '-', 'color': colours.QUIET, 'linewidth': 0.5},
        bbox={'facecolor': colours.PAPER, 'edgecolor': 'none', 'pad': 0.4, 'alpha': 0.85},
        zorder=5,
    )
