"""What a comparison says in all of its forms: titles, columns and their texts, captions."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fan_mm.report.calibration import calibration_digits, calibration_label
from fan_mm.report.comparison import CALIBRATION, Comparison, Difference, Entry
from fan_mm.report.labels import (
    UNLIKE,
    arrow,
    in_brackets,
    interval,
    metric_label,
    number,
    signed,
    with_interval,
)
from fan_mm.report.score_table import Line, Score
from fan_mm.report.shift_comparison import ShiftDifference


def title(comparison: Comparison) -> str:
    """The heading."""
    return f'Robustness on {comparison.benchmark}'


def summary_columns(comparison: Comparison) -> dict[str, Callable[[Entry], str]]:
    """Heading -> text of an entry."""
    digits = comparison.digits
    columns: dict[str, Callable[[Entry], str]] = {
        f'clean {metric_label(comparison.metric)} ↑': lambda e: number(e.clean, digits),
        'corrupted mean ↑': lambda e: with_interval(
            marked_mean(e, 'mean', e.mean, digits), e.mean_interval
        ),
        'retention ↑': lambda e: with_interval(
            marked_mean(e, 'mean', e.retention), e.retention_interval
        ),
    }
    if any(e.worst is not None for e in comparison.entries):
        columns['worst ↑'] = lambda e: marked_mean(e, 'worst', e.worst, digits)
    if any(e.mce is not None for e in comparison.entries):
        columns['mCE ↓'] = lambda e: number(e.mce)
    columns |= calibration_columns(comparison, 'ECE')

    def of_group(name: str) -> Callable[[Entry], str]:
        return lambda e: marked_mean(e, name, e.groups.get(name), digits)

    def real(condition: str) -> Callable[[Entry], str]:
        return lambda e: number(e.real.get(condition))

    columns |= {group: of_group(group) for group in comparison.groups}
    conditions = dict.fromkeys(name for e in comparison.entries for name in e.real)
    columns |= {f'{condition} ↑': real(condition) for condition in conditions}
    return columns


def calibration_columns(
    comparison: Comparison, measure: str = ''
) -> dict[str, Callable[[Entry], str]]:
    """The same of calibration: of one measure, or of all, where any entry has them."""
    measured = [
        name for name in CALIBRATION if any(name in e.calibration for e in comparison.entries)
    ]

    def text(entry: Entry, name: str) -> str:
        value = entry.calibration.get(name)
        over = 'mean' if name.startswith('mean') else 'clean'
        return marked_mean(entry, over, value, calibration_digits(name))

    return {
        f'{calibration_label(name)} ↓': functools.partial(text, name=name)
        for name in measured
        if measure in name
    }


def other_columns(comparison: Comparison) -> dict[str, Callable[[Entry], str]]:
    """The same of the means of other scores."""
    others = [item for entry in comparison.entries for item in entry.others.items()]
    names = dict.fromkeys(name for name, found in others if found.value is not None)

    def text(entry: Entry, name: str) -> str:
        found = entry.others.get(name)
        value = marked_mean(entry, 'mean', found.value if found else None, comparison.digits)
        return value if found is None else with_interval(value, found.interval)

    return {f'{metric_label(name)} ↑': functools.partial(text, name=name) for name in names}


def columnwise(
    columns: Mapping[str, Callable[[Entry], str]], entries: Sequence[Entry]
) -> list[list[str]]:
    """A row of texts for each entry: its name, and what the columns say of it."""
    return [[labelled(e), *(text(e) for text in columns.values())] for e in entries]


class Further(NamedTuple):
    """A table beside that of the scores.

    Attributes:
        key: of its section.
        title: of it.
        caption: what its numbers are.
        intervals: a sentence on what stands in brackets, ' ' before it; '' without brackets.
        columns: heading -> text of an entry.
        entries: those that have any of the numbers.
    """

    key: str
    title: str
    caption: str
    intervals: str
    columns: dict[str, Callable[[Entry], str]]
    entries: list[Entry]


def further_tables(comparison: Comparison) -> list[Further]:
    """Other scores, and calibration, where any entry has them."""
    unit = ', per cent' if comparison.unit_label else ''
    others = Further(
        'others',
        comparison.tables[0].others_title,
        f'Mean over {comparison.benchmark}{unit}.',
        in_brackets(comparison.level),
        other_columns(comparison),
        [entry for entry in comparison.entries if entry.others],
    )
    calibration = Further(
        'calibration',
        'Calibration',
        f'Calibration on clean images, and the mean over {comparison.benchmark}: ECE in per cent, NLL in '
        'nats, Brier score from 0 to 2; lower is better.',
        '',
        calibration_columns(comparison),
        [entry for entry in comparison.entries if entry.calibration],
    )
    return [table for table in (others, calibration) if table.columns]


def marked_mean(entry: Entry, of: str, value: float | None, digits: int = 1) -> str:
    """A mean of an entry, marked if it is over other cells than the first result's."""
    return number(value, digits) + (UNLIKE if value is not None and of in entry.unlike else '')


def places(comparison: Comparison) -> list[str]:
    """Sentences that say where own results stand among published ones."""
    words = {
        'clean': 'on clean images',
        'mean': 'by the corrupted mean',
        'worst': 'by the worst corruption',
    }
    return [
        f'{name}: '
        + ', '.join(
            f'place {place} of {of} {words[measure]}' for measure, (place, of) in found.items()
        )
        + '.'
        for name, found in comparison.places.items()
    ]


def difference_row(comparison: Comparison, difference: Difference) -> list[str]:
    """The texts of a row below `DIFFERENCE_HEAD`."""
    measure = difference.measure
    digits = comparison.digits if measure in ('clean', 'mean', 'worst') else 1
    label = {'mean': 'corrupted mean'}.get(measure, metric_label(measure))
    if measure in CALIBRATION:
        label, digits = calibration_label(measure), calibration_digits(measure)
    if difference.score:
        label = f'{metric_label(difference.score)}: {label}'
    lower = measure in ('mCE', 'relative_mCE', *CALIBRATION)
    return [difference.name, f'{label} {arrow(not lower)}', *difference_cells(difference, digits)]


def difference_cells(difference: Difference | ShiftDifference, digits: int) -> list[str]:
    """The texts of a difference: points, interval, and whether that excludes 0."""
    return [
        signed(difference.points, digits),
        interval(difference.interval, digits),
        {True: 'yes', False: 'no', None: 'no interval'}[difference.significant],
    ]


UNITS = 'NLL is in nats, the Brier score goes from 0 to 2.'
DIFFERENCE_HEAD = ['model', 'measure', 'difference', 'interval', 'excludes 0']


def difference_text(comparison: Comparison) -> str:
    """What the differences are, and their units."""
    told = ''
    if comparison.level:
        told = (
            f', with the {100 * comparison.level:.0f} % interval of the paired bootstrap over images. If it '
            'excludes 0, the choice of images does not explain the difference'
        )
    points = 'points' if comparison.unit_label else "the metric's unit (retention in points)"
    nats = any('NLL' in d.measure for d in comparison.differences)
    return f'Each model minus {comparison.entries[0].name}, in {points}{told}.' + (
        f' {UNITS}' if nats else ''
    )


def with_corruptions(comparison: Comparison) -> list[Entry]:
    """The entries that have a value for any corruption."""
    wanted = comparison.corruptions
    return [e for e in comparison.entries if any(e.corruptions.get(c) is not None for c in wanted)]


def top_score(comparison: Comparison) -> float:
    """The highest score of all, at which the colours of losses begin."""
    entries = comparison.entries
    return max([v for e in entries for v in (e.clean, *e.corruptions.values()) if v], default=1)


def scores(comparison: Comparison, entry: Entry) -> list[Score]:
    """An entry's mean over the severities of each corruption, and its ranks."""
    ranks, top, found = comparison.ranks.get(entry.name, {}), top_score(comparison), []
    for corruption in comparison.corruptions:
        value, rank = entry.corruptions.get(corruption), ranks.get(corruption)
        text = marked_mean(entry, corruption, value, comparison.digits)
        share = None if value is None else 1 - value / top
        found.append(Score(text, f'({rank})' if rank else '', rank == 1, share))
    return found


def score_lines(comparison: Comparison) -> list[Line]:
    """The scores of the entries that have any."""
    return [
        Line(labelled(e), scores(comparison, e), bool(e.published))
        for e in with_corruptions(comparison)
    ]


def labelled(entry: Entry) -> str:
    """A model's name, marked if it is published."""
    return (
        f'{entry.name} (published)'
        if entry.published and '(published)' not in entry.name
        else entry.name
    )
