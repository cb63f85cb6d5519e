"""Simulated against real: what a sweep's corruptions say of the weather, beside what the weather does.

Over 31 models of SemSegBench simulated fog and real fog correlate with r = 0.40, snow with 0.88
(`fan_mm.evaluation.semsegbench`): the one does not stand for the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fan_mm.report import colours
from fan_mm.report.figures import WIDTH, new_figure, style
from fan_mm.report.labels import corruption_in_sentence, number, wrapped
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.shift_table import ShiftTable, condition_label

# The corruptions that stand beside a weather. None is a night or a rain: these come nearest.
BESIDE = {
    'fog': ('fog',),
    'snow': ('snow', 'frost'),
    'rain': ('spatter',),
    'night': ('contrast', 'brightness'),
}
SAID = (
    'Filled: real images, with the bootstrap interval. Half filled: rain or fog rendered into real images. '
    'Hollow: the corruption, mean over its severities, with a line from the highest to the lowest. '
    'Dashed: the clean column; dotted: the clean images of the sweep. No corruption simulates night or rain; '
    'contrast and brightness, which makes images brighter, and spatter are the closest.'
)


@dataclass(frozen=True)
class Line:
    """One value of the figure.

    Attributes:
        label: such as 'ACDC fog', or 'fog (simulated)'.
        kind: 'real', 'computed' or 'simulated'.
        value: per cent.
        bounds: interval, or lowest and highest severity.
    """

    label: str
    kind: str
    value: float
    bounds: tuple[float, float] | None


def weather_lines(sweep: RobustnessTable, real: ShiftTable) -> dict[str, list[Line]]:
    """The values of each weather that both have something of, real ones first."""
    found = {}
    for weather, corruptions in BESIDE.items():
        seen = []
        for name, entry in real.sets.items():
            for condition, numbers in entry['conditions'].items():
                score = numbers['score']
                if numbers.get('weather') == weather and score['value'] is not None:
                    kind = 'computed' if entry.get('made_of') else 'real'
                    bounds = tuple(score['interval']) if score['interval'] else None
                    where = '' if condition == 'all' else f' {condition_label(condition)}'
                    label = f'{real.title(name)}{where}'
                    seen.append(Line(label, kind, score['value'], bounds))
        simulated = [line for c in corruptions if (line := _simulated(sweep, c)) is not None]
        if seen and simulated:
            found[weather] = [*seen, *simulated]
    return found


def _simulated(sweep: RobustnessTable, corruption: str) -> Line | None:
    mean = sweep.mean(corruption)
    if mean is None:
        return None
    values = [v for s in sweep.severities if (v := sweep.value(corruption, s)) is not None]
    label = f'{corruption_in_sentence(corruption)} (simulated)'
    return Line(label, 'simulated', mean, (min(values), max(values)))


def simulated_against_real(pairs: Sequence[tuple[RobustnessTable, ShiftTable]]) -> Figure:
    """A panel for each model: weather by weather, real conditions and the corruptions beside them."""
    panels = [(sweep, real, weather_lines(sweep, real)) for sweep, real in pairs]
    tallest = max(sum(len(lines) + 0.7 for lines in found.values()) for *_, found in panels)
    with style():
        figure = new_figure(WIDTH, (0.75 + 0.2 * max(tallest, 2)) * len(panels))
        axes_of = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (sweep, real, found) in zip(axes_of, panels, strict=True):
            _panel(axes, sweep, real, found)
        axes_of[-1].set_xlabel(f'{pairs[0][1].metric_label} (%)')
    return figure


def _panel(
    axes: Axes, sweep: RobustnessTable, real: ShiftTable, found: dict[str, list[Line]]
) -> None:
    axes.set_title(wrapped(f'{real.name}; simulated: {sweep.benchmark}', 64))
    if not found:
        axes.text(0.5, 0.5, 'no weather in common', ha='center', transform=axes.transAxes)
    places, labels, y = [], [], 0.0
    for i, lines in enumerate(found.values()):
        colour, _ = colours.series(i)
        for line in lines:
            _point(axes, y, line, colour)
            places.append(y)
            labels.append(line.label)
            y += 1
        y += 0.7
    for clean, dashes in ((real.clean, (4, 3)), (sweep.clean, (1, 2))):
        if clean is not None:
            axes.axvline(clean, color=colours.QUIET, linewidth=0.8, linestyle=(0, dashes))
    axes.set_yticks(places, labels)
    axes.set_ylim(max(y - 0.9, 0.6), -0.7)
    axes.grid(visible=False, axis='y')


def _point(axes: Axes, y: float, line: Line, colour: str) -> None:
    if line.bounds:
        axes.plot(line.bounds, [y, y], color=colour, linewidth=1.1, zorder=2)
    axes.plot(
        [line.value],
        [y],
        ls='none',
        marker='o',
        markersize=5,
        fillstyle={'real': 'full', 'computed': 'left', 'simulated': 'none'}[line.kind],
        markerfacecolor=colour,
        markerfacecoloralt=colours.PAPER,
        markeredgecolor=colour,
        zorder=3,
    )
    axes.annotate(
        number(line.value),
        (line.value, y),
        xytext=(0, 4),
        textcoords='offset points',
        ha='center',
        va='bottom',
        fontsize=5.5,
        color=colour,
    )
