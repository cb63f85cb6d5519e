"""Several models side by side: what may be compared, ranks, and paired differences.

Results are put into one table only if they are of one task and metric. What else may differ (the
benchmark's cells, the images, the seed, the channel order, the corruptions' version) is said in
notices, and decides how far the comparison goes: ranks need the same cells of the same images,
differences the same everything.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fan_mm.corruptions import BENCHMARKS
from fan_mm.errors import InputError
from fan_mm.evaluation import semsegbench
from fan_mm.evaluation.comparison import OVERALL, compare
from fan_mm.evaluation.published import Publication, PublishedModel, publications
from fan_mm.evaluation.results import CORRUPTIONS, protocol_of, read_results
from fan_mm.evaluation.sweeping.truth import differing_settings, other_overlaps, unusual
from fan_mm.few_names import few_and_more
from fan_mm.report.calibration import MEASURES, PLAIN, SCALED, suffix
from fan_mm.report.labels import (
    UNLIKE,
    benchmark_label,
    corruption_in_sentence,
    scope_label,
    unique_names,
)
from fan_mm.report.robustness_table import Measure, RobustnessTable
from fan_mm.report.shift_table import ShiftTable

_COPIES = 'corrupted images'
_SETTINGS = 'settings of the metric'
# What must be equal for a rank, and what else for a difference: label -> value in the results.
_SAME_CELLS = {
    'benchmark': lambda r: protocol_of(r)['name'],
    'dataset': lambda r: r['dataset']['type'],
    'number of images': lambda r: r['dataset']['samples'],
    'images and labels': lambda r: r['dataset']['sha256'],
    _SETTINGS: lambda r: r['metric'].get('settings'),
}
_SAME_CORRUPTIONS = {
    'seed of the corruptions': lambda r: r['seed'],
    'channel order of the corruptions': lambda r: r['channel_order'],
    'version of the corruptions': lambda r: r['corruption_version'],
    _COPIES: lambda r: (
        f'read from {root}' if (root := r.get('corrupted_root')) else 'made on the fly'
    ),
}
_LONG = ('images and labels',)  # said to differ, without the values
DIFFERENCES = ('clean', 'mean', 'retention', 'worst', 'mCE', 'relative_mCE')
PLACED = ('clean', 'mean', 'worst')
# Of calibration: measures of cells, as `compare` names their differences.
CALIBRATION = tuple(
    f'{of}_{measure}{suffix(variant)}'
    for variant in (PLAIN, SCALED)
    for measure in MEASURES
    for of in PLACED[:2]
)


@dataclass(frozen=True)
class Entry:
    """One model in a comparison; values in per cent, None where there is none.

    Attributes:
        name: unique among the entries.
        publication: who prints the numbers, in few words; '' for results of our own.
        published: where they are printed, such as ('Table 9, row 17', 'Table 13, row 16').
        clean: metric on clean images.
        mean: benchmark mean.
        mean_interval: its bootstrap interval.
        retention: mean / clean.
        retention_interval: its bootstrap interval.
        worst: mean of the worst corruption.
        mce: mean corruption error (classification), lower is better.
        real: condition of a real data set -> metric, of published rows.
        groups: mean per group.
        corruptions: mean over severities per corruption.
        comparable: whether it is of the cells and images of the first result, and so ranked.
        unlike: which of its means are over other cells than those of the first result: groups,
            corruptions, and of the whole benchmark 'mean' and 'worst'.
        notes: what a reader of the row must know.
        calibration: of `CALIBRATION` those that were measured.
        others: other score that the results sum up -> its mean.
    """

    name: str
    publication: str
    published: tuple[str, ...]
    clean: float | None
    mean: float | None
    mean_interval: tuple[float, float] | None
    retention: float | None
    retention_interval: tuple[float, float] | None
    worst: float | None
    mce: float | None
    real: dict[str, float]
    groups: dict[str, float | None]
    corruptions: dict[str, float | None]
    comparable: bool
    unlike: frozenset[str]
    notes: tuple[str, ...] = ()
    calibration: dict[str, float | None] = field(default_factory=dict)
    others: dict[str, Measure] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """Another model minus the first one.

    Attributes:
        name: of the other model.
        measure: one of `DIFFERENCES` or `CALIBRATION`.
        points: the difference in points; None where a value is missing.
        interval: paired bootstrap interval; None without per-image data of both.
        significant: whether the interval excludes zero; None without one.
        score: that it is of, where that is not the results' metric.
    """

    name: str
    measure: str
    points: float | None
    interval: tuple[float, float] | None
    significant: bool | None
    score: str = ''


@dataclass(frozen=True)
class Comparison:
    """What the files of a comparison show.

    Attributes:
        task: of all entries.
        metric: of all entries.
        benchmark: of the first result, as printed.
        level: of its intervals, None without any.
        groups: corruptions by group, as in the first result's benchmark.
        entries: own results in the order given, then published ones in the order of the tables.
        tables: of the own results.
        ranks: entry -> corruption -> rank (1 is best) among the ranked entries.
        places: own entry -> 'clean', 'mean', 'worst' -> rank among the ranked entries that have it, and
            their number; empty without published rows that are ranked.
        differences: of the other own results against the first.
        notices: what differs between the results, and what follows.
    """

    task: str
    metric: str
    benchmark: str
    level: float | None
    groups: dict[str, tuple[str, ...]]
    entries: tuple[Entry, ...]
    tables: tuple[RobustnessTable, ...]
    ranks: dict[str, dict[str, int]]
    places: dict[str, dict[str, tuple[int, int]]]
    differences: tuple[Difference, ...]
    notices: tuple[str, ...]

    @property
    def digits(self) -> int:
        """Printed of a score."""
        return self.tables[0].digits

    @property
    def unit_label(self) -> str:
        """Of scores, see `ResultsTable.unit_label`."""
        return self.tables[0].unit_label

    @property
    def corruptions(self) -> tuple[str, ...]:
        """All corruptions of the first result's benchmark."""
        return tuple(c for names in self.groups.values() for c in names)


def read_alike(paths: Sequence[str | os.PathLike], kind: str) -> list[dict]:
    """Read results that can be compared.

    Args:
        paths: results.json files or their folders.
        kind: `CORRUPTIONS` or `SHIFTS`.

    Raises:
        InputError: none, unreadable ones, or of different tasks or metrics.
    """
    if not paths:
        raise InputError('nothing to compare: give at least one results.json or its folder')
    results = [read_results(path, kind) for path in paths]
    for path, other in zip(paths, results, strict=True):
        for what in ('task', 'metric'):
            a, b = (
                r['metric']['name'] if what == 'metric' else r[what] for r in (results[0], other)
            )
            if a != b:
                raise InputError(
                    f'{path} has the {what} {b}, {paths[0]} has {a}: compare results of one {what}'
                )
    return results


def build_comparison(paths: Sequence[str | os.PathLike], published: bool = False) -> Comparison:
    """Put results side by side.

    Args:
        paths: results.json files or their folders; the first is the one that the others are
            compared with.
        published: add what others print of the first result's protocol: SemSegBench's models for its
            own, for others the FAN paper's and its successors'.

    Raises:
        InputError: no paths, unreadable results, or results of different tasks or metrics.
    """
    results = read_alike(paths, CORRUPTIONS)
    first = results[0]
    names = unique_names(results, paths)
    tables = tuple(RobustnessTable(r, name) for r, name in zip(results, names, strict=True))
    entries, notices = [], doubts(tables)
    for table, other in zip(tables, results, strict=True):
        cells, corrupted = _other_cells(first, other), _differing(first, other, _SAME_CORRUPTIONS)
        entries.append(_own(table, tables[0], comparable=not cells))
        if cells or corrupted:
            follows = 'It is neither ranked nor subtracted.' if cells else 'No difference is given.'
            notices.append(
                f'{table.name} was not measured in the same way as {names[0]}: '
                f'{"; ".join(cells + corrupted)}. {follows}'
            )
    if published:
        for publication in _publications(first):
            obstacle = _measured_otherwise(first, publication)
            entries += [
                _printed(model, publication, tables[0], set(names), comparable=not obstacle)
                for model in publication.models
            ]
            notices += _published_notices(publication, obstacle)
    if any(entry.unlike for entry in entries):
        notices.append(
            f'{UNLIKE} marks a mean over other corruptions or severities than those of {names[0]}.'
        )
    notices += [f'{t.name} is incomplete: {_count_absent(t)}.' for t in tables if _count_absent(t)]
    return Comparison(
        task=first['task'],
        metric=first['metric']['name'],
        benchmark=tables[0].benchmark,
        level=tables[0].level,
        groups=tables[0].groups,
        entries=tuple(entries),
        tables=tables,
        ranks=_ranks([e for e in entries if e.comparable], tables[0]),
        places=_places([e for e in entries if e.comparable]),
        differences=tuple(_differences(paths, results, names)),
        notices=tuple(notices),
    )


def doubts(tables: Sequence[RobustnessTable | ShiftTable]) -> list[str]:
    """What is wrong with edited results, for the notices."""
    return [f'{t.name}: {t.results["doubt"]}.' for t in tables if t.results.get('doubt')]


def _differing(first: dict, other: dict, fields: dict) -> list[str]:
    found = []
    for label, value in fields.items():
        a, b = value(first), value(other)
        if label == _SETTINGS:
            if names := differing_settings(a, b):
                found.append(f'other {label} ({", ".join(names)})')
        elif a != b and not (label == _COPIES and _same_copies(first, other)):
            a, b = ('unknown' if v is None else v for v in (a, b))
            found.append(f'other {label}' if label in _LONG else f'{label} {b} instead of {a}')
    return found


def _same_copies(first: dict, other: dict) -> bool:
    """Whether two sweeps read the same corrupted images, wherever they lay; not of older results."""
    a, b = (r.get('corrupted_images') or {} for r in (first, other))
    both = a.keys() & b.keys()
    return bool(both) and all(a[cell] == b[cell] for cell in both)


def _other_cells(first: dict, other: dict) -> list[str]:
    """Why results cannot be ranked together: see `_SAME_CELLS`, other corruptions, other severities."""
    found = _differing(first, other, _SAME_CELLS)
    a, b = (r['benchmark']['severities'] for r in (first, other))
    sides = {'without': [c for c in a if c not in b], 'with': [c for c in b if c not in a]}
    if any(sides.values()):
        words = '; '.join(
            f'{side} {few_and_more(map(corruption_in_sentence, names))}'
            for side, names in sides.items()
            if names
        )
        found.append(f'other corruptions ({words})')
    if any(a[c] != b[c] for c in a if c in b):
        found.append('other severities')
    return found


def _unlike(ours: RobustnessTable, theirs: dict, groups: dict) -> frozenset[str]:
    """The means that are over other cells than the first result's."""
    wanted = ours.results['benchmark']['severities']
    found = {c for c, levels in theirs.items() if list(levels) != list(wanted.get(c, levels))}
    found |= {
        group
        for group, names in ours.groups.items()
        if set(names) != set(groups.get(group, ())) or found & set(names)
    }
    return frozenset(
        found | {'mean', 'worst'} if found or theirs.keys() != wanted.keys() else found
    )


def _own(table: RobustnessTable, first: RobustnessTable, comparable: bool) -> Entry:
    mean, retention = table.measure('mean'), table.measure('retention')
    mce = table.measure('mCE').value if 'mCE' in table.results['summary'] else None
    worst = table.measure('worst').value if 'worst' in table.results['summary'] else None
    return Entry(
        name=table.name,
        publication='',
        published=(),
        clean=table.clean,
        mean=mean.value,
        mean_interval=mean.interval,
        retention=retention.value,
        retention_interval=retention.interval,
        worst=worst,
        mce=mce,
        real={},
        groups={g: table.group(g)['mean'] for g in table.groups},
        corruptions={c: table.mean(c) for c in table.corruptions},
        comparable=comparable,
        unlike=_unlike(first, table.results['benchmark']['severities'], table.groups),
        calibration=_calibration(table),
        others={name: table.of(name).measure('mean') for name in table.summed_up()[1:]},
    )


def _calibration(table: RobustnessTable) -> dict[str, float | None]:
    summary = (table.results.get('calibration') or {}).get('summary') or {}
    return {
        f'{of}_{measure}{suffix(variant)}': found[of]['value']
        for variant, measures in summary.items()
        for measure, found in measures.items()
        for of in PLACED[:2]
    }


def _printed(
    model: PublishedModel,
    publication: Publication,
    first: RobustnessTable,
    taken: set[str],
    comparable: bool,
) -> Entry:
    def group_mean(names: tuple[str, ...]) -> float | None:
        known = [v for name in names if (v := model.corruptions.get(name)) is not None]
        return None if len(known) < len(names) else float(np.mean(known))

    wanted = BENCHMARKS[model.benchmark].severities
    every = [v for name in wanted if (v := model.corruptions.get(name)) is not None]
    return Entry(
        name=f'{model.model} (published)' if model.model in taken else model.model,
        publication=publication.short,
        published=model.sources,
        clean=model.clean,
        mean=model.corrupted,
        mean_interval=None,
        retention=model.retention,
        retention_interval=None,
        worst=model.worst if len(every) < len(wanted) else min(every),
        mce=model.mce,
        real=model.real,
        groups={group: group_mean(names) for group, names in first.groups.items()},
        corruptions=dict(model.corruptions),
        comparable=comparable and not model.broken,
        unlike=_unlike(first, BENCHMARKS[model.benchmark].severities, first.groups)
        | ({'mean'} if model.other_average else set()),
        notes=model.notes,
    )


def _publications(first: dict) -> list[Publication]:
    """Who publishes results of the first result's protocol; for a protocol of our own the papers."""
    if first['benchmark']['name'].removesuffix('-subset') != 'semsegbench':
        return publications(first['task'])
    found = semsegbench.publications(first['dataset']['type'])
    if not found:
        known = ', '.join(kind for kind, *_ in semsegbench.DATASETS.values())
        raise InputError(
            f'SemSegBench has no models on {first["dataset"]["type"]}, only on {known}: '
            'leave --published out'
        )
    return found


def _measured_otherwise(first: dict, publication: Publication) -> str | None:
    """Why published rows are not of the first result's cells and images; None if they are."""
    if first['benchmark']['name'] != publication.benchmark:
        a, b = benchmark_label(publication.benchmark), scope_label(first['benchmark'])
        return f'they use {a}, the first result {b}'
    if first['dataset']['samples'] != publication.samples:
        return (
            f'they use {publication.samples} images of {publication.images}, the first result '
            f'{first["dataset"]["samples"]} of {first["dataset"]["type"]}'
        )
    settings = first['metric'].get('settings')
    if overlaps := other_overlaps(settings):
        return f'they average over overlaps of 0.5 to 0.95, the first result over {overlaps}'
    if names := unusual(settings):
        return f'the metric of the first result has other settings than theirs ({", ".join(names)})'
    return None


def _published_notices(publication: Publication, obstacle: str | None) -> list[str]:
    notices = [
        f'Rows of {publication.short} are from {publication.source}; they were not measured '
        f'here. Corrupted images: {publication.corrupted}.'
    ]
    benchmark = benchmark_label(publication.benchmark)
    notices += [f'{benchmark} as printed: {remark}' for remark in publication.remarks]
    notices += [f'{m.model}: {note}' for m in publication.models if m.broken for note in m.notes]
    if obstacle:
        notices.append(f'These rows are not ranked with the results: {obstacle}.')
    return notices


def _count_absent(table: RobustnessTable) -> str:
    states = ('missing', 'failed', 'undefined')
    counts = {state: len(table.absent(state)) for state in states}
    return ', '.join(f'{n} cell{"s" * (n > 1)} {state}' for state, n in counts.items() if n)


def _ranks(entries: Sequence[Entry], first: RobustnessTable) -> dict[str, dict[str, int]]:
    """Per corruption, ranks among the entries that have it; equal values share the better rank."""
    ranks: dict[str, dict[str, int]] = {entry.name: {} for entry in entries}
    for corruption in (c for names in first.groups.values() for c in names):
        # Ranked as printed, so that 61.04 and 60.96 are equal.
        values = {
            e.name: round(value, first.digits)
            for e in entries
            if (value := e.corruptions.get(corruption)) is not None
        }
        if len(values) > 1:
            for name, value in values.items():
                ranks[name][corruption] = 1 + sum(other > value for other in values.values())
    return ranks


def _places(entries: Sequence[Entry]) -> dict[str, dict[str, tuple[int, int]]]:
    """The places of our own results among the published ones; see `Comparison.places`."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    if not any(entry.publication for entry in entries):
        return places
    for measure in PLACED:
        values = {
            e.name: round(value, 1)  # ranked as printed
            for e in entries
            if (value := getattr(e, measure)) is not None and measure not in e.unlike
        }
        if not any(e.publication and e.name in values for e in entries):
            continue
        for entry in entries:
            if not entry.publication and entry.name in values:
                better = sum(other > values[entry.name] for other in values.values())
                places.setdefault(entry.name, {})[measure] = better + 1, len(values)
    return places


def _differences(
    paths: Sequence[str | os.PathLike], results: Sequence[dict], names: Sequence[str]
) -> list[Difference]:
    found = []
    for path, other, name in zip(paths[1:], results[1:], names[1:], strict=True):
        if _other_cells(results[0], other) or _differing(results[0], other, _SAME_CORRUPTIONS):
            continue
        differences = compare(paths[0], path)
        wanted = {measure: (measure, '') for measure in (*DIFFERENCES, *CALIBRATION)}
        for score in results[0].get('other_summaries', ()):
            wanted |= {f'{measure}_{score}': (measure, score) for measure in OVERALL}
        for key, (measure, score) in wanted.items():
            if key in differences and (score == '' or differences[key]['difference'] is not None):
                d = differences[key]
                bounds = tuple(d['interval']) if d['interval'] else None
                points, significant = d['difference'], d['significant']
                found.append(Difference(name, measure, points, bounds, significant, score))
    return found
