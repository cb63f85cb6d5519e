"""Several models on real adverse conditions side by side, and paired differences.

A condition is compared where its images and labels (their hash) and the settings of the metric are the same;
differences are stated. The published rows are those of the same set, split and metric; only among SemSegBench's
has a result a place.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fan_mm.evaluation.calibration.measures import MEASURES, calibration
from fan_mm.evaluation.comparison import paired
from fan_mm.evaluation.results import CALIBRATION, PER_IMAGE, SHIFTS, read_arrays
from fan_mm.evaluation.shifts.pooling import (
    MEAN,
    POOLED,
    PooledSums,
    ShiftCell,
    StoredDraws,
    added,
    combined,
    drawn_alike,
)
from fan_mm.evaluation.shifts.published import (
    PublishedShift,
    other_protocols,
    published_shifts,
)
from fan_mm.evaluation.sweeping.truth import differing_settings, other_overlaps
from fan_mm.report.calibration import calibration_digits, csv_columns
from fan_mm.report.comparison import doubts, read_alike
from fan_mm.report.labels import unique_names
from fan_mm.report.shift_table import COMBINED, ShiftTable, condition_label


@dataclass(frozen=True)
class Column:
    """One column: a condition of a set, pooled, or the mean; ('clean', 'clean') is the clean column."""

    set: str
    condition: str

    @property
    def combined(self) -> bool:
        """Whether it is over several conditions."""
        return self.condition in COMBINED

    @property
    def label(self) -> str:
        """As a heading below the set's title."""
        return COMBINED.get(self.condition, condition_label(self.condition))


@dataclass(frozen=True)
class ShiftDifference:
    """Another model minus the first one; see `fan_mm.report.comparison.Difference`."""

    name: str
    measure: str
    column: Column
    points: float
    interval: tuple[float, float] | None
    significant: bool | None


@dataclass(frozen=True)
class ShiftComparison:
    """What the files of a comparison show.

    Attributes:
        tables: of the results, in the order given.
        columns: of all of them, a set's together, the clean column first.
        unlike: (model, column) whose images, labels or settings of the metric are not those of the first result
            that has them.
        published: rows of others.
        differences: of the other results against the first.
        notices: what differs, and what follows.
    """

    tables: tuple[ShiftTable, ...]
    columns: tuple[Column, ...]
    unlike: frozenset[tuple[str, Column]]
    published: tuple[PublishedShift, ...]
    differences: tuple[ShiftDifference, ...]
    notices: tuple[str, ...]

    @property
    def metric(self) -> str:
        """Of all tables."""
        return self.tables[0].metric

    def title(self, name: str) -> str:
        """A set and its split, from the first table that has it."""
        return title_of(self.tables, name)

    @property
    def calibration(self) -> tuple[str, ...]:
        """Measures that any of the tables has: 'ECE', 'ECE_scaled' and so on."""
        return tuple(dict.fromkeys(name for t in self.tables for name in measures_of(t)))

    @property
    def others(self) -> tuple[str, ...]:
        """Other metrics that any of the tables sums up, such as 'segm_mAP'."""
        return tuple(dict.fromkeys(name for t in self.tables for name in t.others))

    def best(self, column: Column, measure: str | None = None) -> set[str]:
        """Names of the models that are best in a column, among those with the same images.

        Args:
            column: which.
            measure: one of `calibration` or `others`; None for the results' metric.
        """
        lower = measure in self.calibration
        digits = calibration_digits(measure) if measure is not None and lower else 1
        values = {
            t.name: round(score['value'], digits)
            for t in self.tables
            if (t.name, column) not in self.unlike
            and (score := score_in(t, column, measure)) is not None
            and score['value'] is not None
        }
        top = (min if lower else max)(values.values(), default=None)
        return {n for n, v in values.items() if v == top} if len(values) > 1 else set()


def measures_of(table: ShiftTable) -> dict[str, tuple[str, str]]:
    """The measures of calibration of a model: 'ECE_scaled' -> ('scaled', 'ECE')."""
    return {name: key for key, name in csv_columns(table.results).items()}


def score_in(
    table: ShiftTable, column: Column, metric: str | None = None
) -> Mapping[str, Any] | None:
    """'value' and 'interval' of a model in a column; None where it has none.

    Args:
        table: of the model.
        column: which.
        metric: another one of the results' than theirs (of earlier versions only conditions have it); or a
            measure of calibration.
    """
    if metric in measures_of(table):
        variant, measure = measures_of(table)[metric]
        return _calibration_in(table, column).get(variant, {}).get(measure)
    if metric in table.others:
        return score_in(table.of(metric), column)
    if metric not in (None, table.metric):
        cell = table.cells.get((column.set, column.condition))
        value = cell['metrics'].get(metric) if cell and cell['status'] == 'done' else None
        return None if value is None else {'value': value, 'interval': None}
    if column.set == 'clean':
        row = table.clean_row()
        return None if row is None else row.score
    entry = table.sets.get(column.set)
    if entry is None:
        return None
    found = entry if column.combined else entry['conditions']
    return found[column.condition]['score'] if column.condition in found else None


def _calibration_in(table: ShiftTable, column: Column) -> Mapping[str, Any]:
    """Variant -> measure -> number of a model in a column; nothing where it has none."""
    if column.combined:
        found = table.sets.get(column.set, {}).get(column.condition)
    else:
        found = table.cells.get((column.set, column.condition))
    return (found or {}).get('calibration') or {}


def title_of(tables: Sequence[ShiftTable], name: str) -> str:
    """A set and its split, from the first table that has it."""
    return next(t.title(name) for t in tables if name in t.sets)


def build_shift_comparison(
    paths: Sequence[str | os.PathLike], published: bool = False
) -> ShiftComparison:
    """Put results on real adverse conditions side by side.

    Args:
        paths: results.json files or their folders; the first is the one that the others are compared
            with.
        published: add what others print of the same sets and splits.

    Raises:
        InputError: unreadable results, or results of different tasks or metrics.
    """
    results = read_alike(paths, SHIFTS)
    names = unique_names(results, paths)
    tables = tuple(ShiftTable(r, name) for r, name in zip(results, names, strict=True))
    columns = tuple(_columns(tables))
    unlike = _unlike(tables, columns)
    rows, notices = [], [*doubts(tables), *_notices(tables, unlike)]
    if published:
        for name, split, metric in _splits(tables):
            rows += published_shifts(name, split, metric)
            notices += other_protocols(name, split)
    if rows:
        places = _places(tables, rows)
        notices.append(
            'Published rows are from other authors, with models trained differently; they were not '
            'measured here and are not ranked'
            + (', except those of SemSegBench, trained on Cityscapes alone.' if places else '.')
        )
        notices += _other_overlaps(tables)
        notices += places
    return ShiftComparison(
        tables=tables,
        columns=columns,
        unlike=frozenset(unlike),
        published=tuple(rows),
        differences=tuple(_differences(paths, tables, columns, frozenset(unlike))),
        notices=tuple(notices),
    )


def _columns(tables: Sequence[ShiftTable]) -> list[Column]:
    found: dict[str, dict[Column, None]] = {}
    if any(table.clean_row() is not None for table in tables):
        found['clean'] = {Column('clean', 'clean'): None}
    for table in tables:
        for name, entry in table.sets.items():
            lines = found.setdefault(name, {})
            lines |= dict.fromkeys(Column(name, condition) for condition in entry['conditions'])
    for name, lines in found.items():
        if len(lines) > 1:
            lines |= dict.fromkeys(Column(name, key) for key in COMBINED)
    return [column for lines in found.values() for column in lines]


def _identity(table: ShiftTable, column: Column) -> tuple | None:
    """What identifies the images, labels and classes of a column of a model."""
    if column.set == 'clean':
        cell = table.cells.get(('clean', 'clean'))
        return None if cell is None else (table.results['dataset'].get('sha256'), cell['samples'])
    entry = table.sets.get(column.set)
    if entry is None:
        return None
    conditions = entry['conditions']
    if column.combined:
        hashes = tuple((name, found['sha256']) for name, found in conditions.items())
    elif column.condition in conditions:
        hashes = conditions[column.condition]['sha256']
    else:
        return None
    return entry['split'], tuple(entry['scored']), hashes


def _unlike(
    tables: Sequence[ShiftTable], columns: Sequence[Column]
) -> dict[tuple[str, Column], str]:
    """(Model, column) that are not as in the first model that has the column -> how they were measured."""
    found = {}
    for column in columns:
        identities = {t.name: _identity(t, column) for t in tables}
        first, *others = (t for t in tables if identities[t.name] is not None)
        for table in others:
            if identities[table.name] != identities[first.name]:
                found[table.name, column] = 'on other images, labels or classes'
            elif names := _other_settings(first, table, column):
                few = ', '.join(names)
                found[table.name, column] = f'with other settings of the metric ({few})'
    return found


def _other_settings(first: ShiftTable, other: ShiftTable, column: Column) -> list[str]:
    """Names of the metric's settings that two results do not have in common in a column."""
    names = [
        name
        for key, cell in first.cells.items()
        if key[0] == column.set and (column.combined or key[1] == column.condition)
        for name in differing_settings(
            cell.get('settings'), other.cells.get(key, {}).get('settings')
        )
    ]
    return list(dict.fromkeys(names))


def _notices(tables: Sequence[ShiftTable], unlike: Mapping[tuple[str, Column], str]) -> list[str]:
    found = []
    for table in tables:
        columns: dict[str, list[str]] = {}
        for name, c in sorted(unlike, key=lambda pair: (pair[1].set, pair[1].condition)):
            if name == table.name and not c.combined:
                where = 'clean' if c.set == 'clean' else f'{title_of(tables, c.set)} {c.label}'
                columns.setdefault(unlike[name, c], []).append(where)
        found += [
            f'{table.name} was measured {how} in {", ".join(names)}: there it is neither ranked nor subtracted.'
            for how, names in columns.items()
        ]
        if parts := [
            f'{row.part} of {"clean" if row.kind == "clean" else table.title(row.set)}'
            f'{"" if row.label == "all" or row.kind == "clean" else f" {row.label}"}'
            for row in table.all_rows()
            if row.kind != 'combined' and row.part
        ]:
            found.append(
                f'{table.name} was measured on {", ".join(parts)}: not to be compared with numbers that are '
                'published of the whole.'
            )
        if lost := [what for _, what, _ in table.lacking()]:
            found.append(f'{table.name} is incomplete: no result in {", ".join(lost)}.')
    return found


def _splits(tables: Sequence[ShiftTable]) -> list[tuple[str, str, str]]:
    """Sets, splits and metrics of all tables; of boxes the AP at 0.5, too, which papers print."""
    metrics = [tables[0].metric]
    metrics += ['bbox_mAP_50'] if tables[0].metric == 'bbox_mAP' else []
    pairs = dict.fromkeys((n, t.sets[n]['split']) for t in tables for n in t.sets)
    return [(name, split, metric) for name, split in pairs for metric in metrics]


def _other_overlaps(tables: Sequence[ShiftTable]) -> list[str]:
    """Which results average over other overlaps than published ones, in lines."""
    return [
        f'{table.name} averages over overlaps of {overlaps}, published rows over 0.5 to 0.95.'
        for table in tables
        if (overlaps := other_overlaps(table.settings))
    ]


def _places(tables: Sequence[ShiftTable], rows: Sequence[PublishedShift]) -> list[str]:
    """Where results stand among published rows that are ranked, by the score of all images together."""
    found = []
    for table in tables:
        for name, entry in table.sets.items():
            value = entry[POOLED]['score']['value']
            like = (name, entry['split'], table.metric, entry['samples'])
            others = [
                round(row.values[POOLED], 1)
                for row in rows
                if row.ranked and (row.set, row.split, row.metric, row.samples) == like
            ]
            if others and value is not None:
                better = sum(other > round(value, 1) for other in others)  # as printed
                found.append(
                    f'{table.name}: place {better + 1} of {len(others) + 1} on {table.title(name)}, pooled, '
                    'among the models of SemSegBench.'
                )
    return found


def _differences(
    paths: Sequence[str | os.PathLike],
    tables: Sequence[ShiftTable],
    columns: Sequence[Column],
    unlike: frozenset[tuple[str, Column]],
) -> list[ShiftDifference]:
    """Differences to the first model, with intervals by common draws of scenes where there are any."""
    first, found = tables[0], []
    for path, table in zip(paths[1:], tables[1:], strict=True):
        for measure, draws in _draws_of(first, table, paths[0], path).items():
            for column in columns:
                scores = [score_in(t, column, measure) for t in (first, table)]
                values = [None if score is None else score['value'] for score in scores]
                if None in values or (table.name, column) in unlike:
                    continue
                drawn = [
                    _drawn(t, column, measure, d)
                    for t, d in zip((first, table), draws or (None, None), strict=True)
                ]
                known = [d for d in drawn if d is not None]
                difference = paired(values, known if len(known) == 2 else None)
                bounds = difference['interval']
                found.append(
                    ShiftDifference(
                        *(table.name, measure, column, difference['difference']),
                        tuple(bounds) if bounds else None,
                        difference['significant'],
                    )
                )
    return found


def _draws_of(
    first: ShiftTable, table: ShiftTable, one: str | os.PathLike, other: str | os.PathLike
) -> dict[str, tuple[PooledSums | StoredDraws, ...] | None]:
    """Measure -> common draws of two models, None where there are none; from the tables and their files."""
    ours, theirs = (read_arrays(path, PER_IMAGE) for path in (one, other))
    draws = {first.metric: drawn_alike(ours, theirs)}
    draws |= {n: drawn_alike(ours, theirs, n) for n in first.others if n in table.others}
    if names := [n for n in measures_of(first) if n in measures_of(table)]:
        ours, theirs = (read_arrays(path, CALIBRATION) for path in (one, other))
        draws |= dict.fromkeys(names, drawn_alike(ours, theirs))
    return draws


def _drawn(
    table: ShiftTable, column: Column, measure: str, draws: PooledSums | StoredDraws | None
) -> np.ndarray | None:
    """Resampled values ``(R,)`` of a column; None where a cell has no statistics of both models."""
    names = [column.condition]
    if column.combined:
        names = list(table.sets[column.set]['conditions'])
    cells = [ShiftCell(column.set, name) for name in names]
    if draws is None or not all(cell in draws for cell in cells):
        return None
    over = column.condition if column.combined else POOLED
    if measure in measures_of(table):
        variant, name = measures_of(table)[measure]
        v, m = table.variants.index(variant), MEASURES.index(name)
        assert isinstance(draws, PooledSums)  # calibration.npz has no draws
        sums = [draws.drawn_sums(cell) for cell in cells]
        return combined(over, sums, lambda s: calibration(s[:, v])[:, m])
    classes = table.results['dataset']['classes']
    names = classes if column.set == 'clean' else table.sets[column.set]['scored']
    scored = [classes.index(name) for name in names]
    groups = [[cell] for cell in cells] if over == MEAN else [cells]
    drawn = [found for group in groups if (found := draws.drawn(group, scored)) is not None]
    return added(drawn) / len(groups) if len(drawn) == len(groups) else None
