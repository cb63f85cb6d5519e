"""Figures for papers and for the page: a results table in, a matplotlib Figure out.

Figures are made without pyplot, so no global figure list or backend is touched, and saved as PNG and
PDF (`save`) or as SVG inside a page (`inline_svg`). The same drawing serves both: in the page its
tones become CSS variables and its text takes the page's font.
"""

import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from fan_mm.fileio import write_whole
from fan_mm.report import colours
from fan_mm.report.fonts import drawable_figure, letters_of_the_page
from fan_mm.report.labels import UNLIKE, arrow, corruption_label, number, wrapped
from fan_mm.report.robustness_table import HOLD_OUTS, INCOMPLETE, RobustnessTable

WIDTH = 7.0  # inches, a text width of most papers
DPI = 200
_NAME = 34  # letters of a model's name in a line beside bars
_LEGEND_NAME, _LEGEND = 50, 112  # the same in a legend, and letters of its lines
_PAGE_SCALE = 8.5  # rem per inch: 7.5 points of a paper read as the page's small text


def style() -> AbstractContextManager:
    """The rcParams under which figures are made and saved; restored on leaving."""
    return matplotlib.rc_context(
        {
            'font.family': 'sans-serif',
            'font.sans-serif': ['DejaVu Sans'],  # comes with matplotlib: the same on every machine
            'font.size': 7.5,
            'axes.titlesize': 8.5,
            'axes.titleweight': 'bold',
            'axes.titlelocation': 'left',
            'axes.edgecolor': colours.QUIET,
            'axes.labelcolor': colours.QUIET,
            'axes.titlecolor': colours.INK,
            'axes.linewidth': 0.6,
            'axes.spines.top': False,
            'axes.spines.right': False,
            'axes.grid': True,
            'axes.axisbelow': True,
            'axes.facecolor': 'none',
            'grid.color': colours.LINE,
            'grid.linewidth': 0.6,
            'text.color': colours.INK,
            'text.parse_math': False,  # a name may have dollar signs
            'xtick.color': colours.QUIET,
            'ytick.color': colours.QUIET,
            'xtick.major.size': 0,
            'ytick.major.size': 0,
            'lines.linewidth': 1.3,
            'lines.markersize': 3.6,
            'hatch.linewidth': 0.6,
            'pdf.fonttype': 42,  # text stays text, as publishers ask
            'svg.fonttype': 'none',
        }
    )


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (inches) that lays its axes out so that every label is inside."""
    figure = Figure(figsize=(width, height), layout='constrained', facecolor=colours.PAPER)
    FigureCanvasAgg(figure)
    return figure


def legend_of_models(figure: Figure, models: Iterable[str], above: bool) -> None:
    """A legend outside the axes, in as few lines as the names allow.

    Args:
        figure: that the legend belongs to.
        models: names, each drawn as `colours.series` says for its place.
        above: it stands at the upper right; else below the middle.
    """
    names = [wrapped(model, _LEGEND_NAME) for model in models]
    looks = map(colours.series, range(len(names)))
    handles = [Line2D([], [], color=colour, marker=marker) for colour, marker in looks]
    longest = max(len(line) for name in names for line in name.split('\n'))
    columns = max(1, min(4, len(names), _LEGEND // (longest + 6)))
    place: Any = 'outside upper right' if above else 'outside lower center'
    figure.legend(handles, names, loc=place, ncols=columns, frameon=False)


def save(figure: Figure, stem: Path, title: str | None = None) -> list[Path]:
    """Write ``stem.png`` (200 dpi) and ``stem.pdf``, the same bytes for the same figure; returns their paths.

    Args:
        figure: what one of the functions below returned.
        stem: path without the suffix.
        title: among the files' own data: the name of the protocol that its numbers are of.
    """
    files = []
    with style(), drawable_figure(figure):
        for suffix, left_out in (('.png', 'Software'), ('.pdf', 'CreationDate')):
            # not into the file itself: matplotlib's own writers do not end well on a full disk
            content = io.BytesIO()
            metadata = {left_out: None, 'Title': title}
            figure.savefig(content, format=suffix[1:], dpi=DPI, metadata=metadata)
            files.append(stem.with_suffix(suffix))
            write_whole(files[-1], content.getvalue())
    return files


def inline_svg(figure: Figure, key: str, description: str) -> str:
    """The figure as an ``<svg>`` element that follows the page's colours and font.

    Args:
        figure: what one of the functions below returned.
        key: unique in the page; keeps the ids of several figures apart.
        description: what a screen reader says.
    """
    buffer = io.StringIO()
    salt = matplotlib.rc_context({'svg.hashsalt': key})
    with style(), salt, letters_of_the_page():
        figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
    svg = buffer.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', '', svg)
    svg = re.sub(r'<style.*?</style>', '', svg, flags=re.DOTALL)
    svg = re.sub(r' font-family: [^;\"]*;?', '', svg)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'(url\(|xlink:href=")#', rf'\1#{key}-', svg).replace('xlink:href', 'href')
    for tone, expression in colours.page_colours().items():
        svg = svg.replace(tone, expression)
    width, _ = figure.get_size_inches()
    svg = re.sub(
        r'<svg [^>]*(viewBox="[^"]*")[^>]*>',
        rf'<svg role="img" \1 style="max-width: {_PAGE_SCALE * width:.1f}rem">',
        svg,
        count=1,
    )
    head, rest = svg.split('>', 1)
    return f'{head}><title>{escape(description)}</title>{rest.strip()}'


def heat_map(table: RobustnessTable) -> Figure:
    """Corruptions by severities, coloured by the share of the clean metric that is lost."""
    severities = table.severities
    lines = sum(len(names) + 0.45 for names in table.rows.values())
    with style():
        figure = new_figure(WIDTH * 0.72, 1.05 + 0.2 * lines)
        axes = figure.add_subplot()
        _bare(axes)
        columns = [*range(len(severities)), len(severities) + 0.3, len(severities) + 1.6]
        heads = [*map(str, severities), 'mean', 'retention %']
        for x, head in zip(columns, heads, strict=True):
            axes.text(x + 0.5, -0.25, head, ha='center', va='bottom', color=colours.QUIET)
        middle = len(severities) / 2
        axes.text(middle, -1.05, 'severity', ha='center', va='bottom', color=colours.QUIET)
        y = 0.0
        for group, names in table.rows.items():
            axes.text(-2.75, y + 0.5, group.capitalize(), va='center', ha='right', weight='bold')
            for name in names:
                axes.text(-0.15, y + 0.5, corruption_label(name), va='center', ha='right')
                for x, severity in zip(columns, severities, strict=False):
                    _heat_cell(axes, x, y, table, name, severity)
                text, share = table.mean_text(table.row(name)), table.lost_share(table.mean(name))
                draw_mean = _alarming_cell if text == INCOMPLETE else _filled_cell
                draw_mean(axes, columns[-2], y, text, share)
                kept = number(table.retention(name))
                axes.text(columns[-1] + 0.5, y + 0.5, kept, ha='center', va='center')
                y += 1
            y += 0.45
        axes.set_xlim(-4.2, columns[-1] + 1.3)
        axes.set_ylim(y - 0.45, -1.85)
        what = f'{table.metric_label} {arrow(True)}{table.unit_label} on {table.benchmark}'
        name = wrapped(table.name, 52)
        axes.set_title(f'{name}\n{textwrap.fill(f"{what}, clean {table.text(table.clean)}", 64)}')
    return figure


def severity_curves(table: RobustnessTable) -> Figure:
    """The metric against severity, one panel per group, every line labelled at its end."""
    groups = list(table.rows.items())
    columns = min(len(groups), 3 if len(groups) == 3 else 2)
    rows = -(-len(groups) // columns)
    with style():
        height = 2.15 * rows + 0.1
        figure = new_figure(WIDTH if columns > 1 else WIDTH * 0.6, height)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        values = [
            v
            for c in table.corruptions
            for s in table.severities
            if (v := table.value(c, s)) is not None
        ]
        top = max([*values, table.clean or 0.0, 1.0 if table.in_per_cent else 1e-3])
        bottom = min([*values, top if table.clean is None else table.clean])
        margin = 0.06 * (top - bottom) + (0.5 if table.in_per_cent else 0.005 * top)
        for axes, (group, names) in zip(panels, groups, strict=False):
            _curve_panel(axes, table, names)
            title = 'Hold-outs (not in the mean)' if group == HOLD_OUTS else group.capitalize()
            axes.set_title(title)
            axes.set_ylim(max(bottom - margin, 0) if bottom >= 0 else bottom - margin, top + margin)
            _spread_labels(axes)
        for axes in panels[len(groups) :]:
            axes.remove()
        for axes in panels[: len(groups)][-columns:]:
            axes.set_xlabel('severity')
        what = f'{table.metric_label}{table.unit_label} on {table.benchmark}'
        what = textwrap.fill(what, round(15 * height))
        figure.supylabel(what, fontsize=7.5, color=colours.QUIET)
    return figure


def group_bars(tables: Sequence[RobustnessTable]) -> Figure:
    """Mean under each group of corruptions as bars, the clean metric as a mark.

    One model: a bar per group. Several: a panel per group with a bar per model.
    """
    groups = tables[0].groups
    if len(tables) == 1:
        panels = {'': [(g.capitalize(), tables[0], g) for g in groups]}
    else:
        panels = {g.capitalize(): [(wrapped(t.name, _NAME), t, g) for t in tables] for g in groups}
    bars = len(next(iter(panels.values())))
    further = sum(name.count('\n') for name, _, _ in next(iter(panels.values())))
    highest = max(
        [t.clean or 0.0 for t in tables]
        + [t.group(g)['mean'] or 0.0 for t in tables for g in groups]
    )
    marked = False
    step = 10 if tables[0].in_per_cent else 10 ** np.floor(np.log10(max(highest, 1e-3)))
    top = step * np.ceil(max(highest, step / 10) / step)
    with style():
        figure = new_figure(
            WIDTH * (0.72 if len(panels) == 1 else 1), 0.8 + 0.26 * bars + 0.12 * further
        )
        subplots = figure.subplots(1, len(panels), squeeze=False, sharey=True, sharex=True)[0]
        for axes, (title, rows) in zip(subplots, panels.items(), strict=True):
            axes.set_title(title)
            axes.grid(visible=False)
            for y, (_, table, group) in enumerate(rows):
                unlike = table.cells_of(group) != tables[0].cells_of(group)
                marked |= unlike and table.group(group)['mean'] is not None
                _bar(axes, y, table, group, top, UNLIKE if unlike else '')
            axes.set_yticks(range(bars), [name for name, _, _ in rows])
            axes.set_ylim(bars - 0.4, -0.6)
            axes.set_xlim(0, top * (1.25 if len(panels) == 1 else 1.75))
            axes.set_xticks([0, top / 2, top])
            axes.spines['left'].set_color(colours.LINE)
            axes.spines['bottom'].set_bounds(0, top)
        first = tables[0]
        what = f'{first.metric_label}{first.unit_label} on {first.benchmark}'
        lines = [f'{what}, mean under the group (retention); line: clean images']
        lines += [f'{UNLIKE} over other corruptions or severities than {first.name}'] * marked
        letters = 84 if len(panels) == 1 else 118
        what = '\n'.join(textwrap.fill(line, letters) for line in lines)
        figure.supxlabel(what, fontsize=7.5, color=colours.QUIET)
    return figure


def _bar(axes: Axes, y: float, table: RobustnessTable, group: str, top: float, mark: str) -> None:
    entry, clean = table.group(group), table.clean
    text = table.mean_text(entry)
    if entry['mean'] is None:
        colour = colours.ALARM if text == INCOMPLETE else colours.QUIET
        axes.text(0.02 * top, y, text, va='center', color=colour)
    else:
        colour, _ = colours.series(0)
        axes.barh(y, entry['mean'], height=0.56, color=colour)
        kept = '' if entry['retention'] is None else f' ({entry["retention"]:.0f} %)'
        axes.text(1.04 * top, y, text + mark + kept, va='center')
    if clean is not None:
        axes.plot([clean, clean], [y - 0.38, y + 0.38], color=colours.INK, linewidth=1.2)


def _bare(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _heat_cell(
    axes: Axes, x: float, y: float, table: RobustnessTable, name: str, severity: int
) -> None:
    value = table.value(name, severity)
    if value is not None:
        _filled_cell(
            axes, x, y, table.text(value), table.lost_share(value), table.counts(name, severity)
        )
        return
    state = table.state(name, severity)
    if state == 'outside':
        axes.text(x + 0.5, y + 0.5, '·', ha='center', va='center', color=colours.QUIET)
        return
    _alarming_cell(axes, x, y, state)


def _alarming_cell(axes: Axes, x: float, y: float, text: str, _: float | None = None) -> None:
    corner = (x + 0.06, y + 0.06)
    frame = Rectangle(corner, 0.88, 0.88, fill=False, edgecolor=colours.ALARM, linewidth=0.8)
    axes.add_patch(frame)
    axes.text(x + 0.5, y + 0.5, text, ha='center', va='center', color=colours.ALARM, fontsize=5.5)


def _filled_cell(
    axes: Axes, x: float, y: float, text: str, share: float | None, counts: bool = True
) -> None:
    """A number on the colour of its loss; on none without a clean score."""
    ink = colours.INK
    if share is not None:
        fill = colours.heat(share)
        ink = colours.ink_on(fill)
        plate = Rectangle((x, y), 1, 1, facecolor=fill, edgecolor=colours.PAPER, linewidth=1.2)
        axes.add_patch(plate)
    face = 'normal' if counts else 'italic'
    axes.text(x + 0.5, y + 0.5, text, ha='center', va='center', color=ink, style=face)


def _curve_panel(axes: Axes, table: RobustnessTable, names: Sequence[str]) -> None:
    if table.clean is not None:
        axes.axhline(table.clean, color=colours.QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    clean = np.nan if table.clean is None else table.clean
    for i, name in enumerate(names):
        colour, marker = colours.series(i)
        values = [table.value(name, s) for s in table.severities]
        line = [clean, *(np.nan if v is None else v for v in values)]
        axes.plot(
            [0, *table.severities], line, color=colour, marker=marker, markevery=slice(1, None)
        )
        known = [(s, v) for s, v in zip(table.severities, values, strict=True) if v is not None]
        if known:
            axes.annotate(
                corruption_label(name),
                known[-1],
                xytext=(5, 0),
                textcoords='offset points',
                va='center',
                color=colour,
                annotation_clip=False,
            )
    axes.set_xlim(0, max(table.severities) + 0.1)
    axes.set_xticks([0, *table.severities], ['clean', *map(str, table.severities)])
    axes.grid(visible=False, axis='x')


def _spread_labels(axes: Axes) -> None:
    """Move line-end labels that stand at the same severity apart, keeping their order."""
    low, high = axes.get_ylim()
    gap = 0.078 * (high - low)  # a line of text in a panel of this height
    by_end: dict[float, list[Annotation]] = {}
    for label in axes.texts:
        if isinstance(label, Annotation):
            by_end.setdefault(label.xy[0], []).append(label)
    for labels in by_end.values():
        labels.sort(key=lambda label: label.xy[1])
        places = spread([label.xy[1] for label in labels], gap)
        lift = max(0.0, low + gap / 2 - places[0])
        for label, place in zip(labels, places, strict=True):
            label.xy = (label.xy[0], place + lift)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending positions moved as little as needed to stand at least ``gap`` apart.

    The least-squares answer: neighbours that would overlap form a block around the mean of their
    wishes (pool adjacent violators).
    """
    blocks: list[tuple[float, int]] = []  # mean wish of the block's first member, size
    for i, place in enumerate(places):
        blocks.append((place - i * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [((a * n + b * m) / (n + m), n + m)]
    starts = [start for start, size in blocks for _ in range(size)]
    return [start + i * gap for i, start in enumerate(starts)]
