"""The table of an evaluation on real adverse conditions: sets, their conditions, pooled, and the mean.

Everything the report shows is asked for here, so that all its forms show the same numbers. Nothing is
measured: `fan_mm.evaluation.shifts.results` wrote every number. A value that is not there is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fan_mm.evaluation.shifts.pooling import MEAN, POOLED
from fan_mm.few_names import few_and_more
from fan_mm.report.labels import metric_label, number
from fan_mm.report.results_table import ResultsTable
from fan_mm.report.robustness_table import INCOMPLETE, NO_INTERVAL, ClassLosses, Measure

CLEAN = 'clean'
COMBINED = {POOLED: 'pooled', MEAN: 'mean of conditions'}  # what is over several conditions
EFFECTIVE = 'effective robustness'
OTHERS = 'Boxes and masks, by object size'  # heading of the other metrics
_NAMED = 12  # classes in a remark
MEANINGS = {
    'pooled': 'the score over all images of the dataset: for mIoU, from the summed confusion '
    'matrices of the conditions; for mAP, from all detections ranked by their scores',
    'mean of conditions': 'the mean of the scores of all conditions',
    'retention': 'score / clean score, over the same classes',
    EFFECTIVE: 'mean of the six domains - 0.45 x mAP on COCO val2017 (COCO-O)',
}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        set: the set's name; 'clean' for the clean column.
        label: 'fog', 'pooled', 'mean of conditions'.
        kind: 'clean', 'condition' or 'combined'.
        score: 'value', 'interval', 'complete' and 'missing'.
        retention: the same; None without a clean column.
        samples: images evaluated; None for what is combined.
        total: images there are.
        part: how many there are where a copy holds another number than is published, else ''.
        notes: what else a reader of the row must know.
        state: 'done', 'failed', 'missing'.
        error: why it failed.
        calibration: variant -> measure -> its number; empty where it was not measured.
    """

    set: str
    label: str
    kind: str
    score: Mapping[str, Any]
    retention: Mapping[str, Any] | None
    samples: int | None = None
    total: int | None = None
    part: str = ''
    notes: tuple[str, ...] = ()
    state: str = 'done'
    error: str | None = None
    calibration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def remarks(self) -> tuple[str, ...]:
        """All that a reader of the row must know."""
        return (self.part, *self.notes) if self.part else self.notes

    @property
    def text(self) -> str:
        """The score; 'incomplete', or why there is none."""
        if self.state != 'done':
            return self.state
        return INCOMPLETE if self.score['missing'] else number(self.score['value'])


def condition_label(name: str) -> str:
    """'beta_0.02' -> 'beta 0.02', 'rain/night' -> 'rain, night'."""
    return name.replace('_', ' ').replace('/', ', ')


class ShiftTable(ResultsTable):
    """Read access to one results dict of the kind 'shifts'."""

    parts = 'conditions'

    def __init__(self, results: dict, name: str | None = None) -> None:
        super().__init__(results, name)
        self.sets: Mapping[str, Mapping[str, Any]] = results['sets']
        self.cells = {(c['set'], c['condition']): c for c in results['cells']}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the metric, the same in all cells but for their annotations; of earlier versions none."""
        return next(iter(self.cells.values())).get('settings') or {}

    @property
    def others(self) -> tuple[str, ...]:
        """Other metrics that the results sum up as they do theirs, such as 'segm_mAP'; none as a rule."""
        return tuple(
            dict.fromkeys(n for entry in self.sets.values() for n in entry.get('others', ()))
        )

    def of(self, metric: str) -> 'ShiftTable':
        """The same table of one of them, without what is about classes."""
        sets = {
            name: {
                **entry,
                **entry['others'][metric],
                'conditions': {
                    condition: {**found, **entry['others'][metric]['conditions'][condition]}
                    for condition, found in entry['conditions'].items()
                },
            }
            for name, entry in self.sets.items()
            if metric in entry.get('others', ())
        }
        changed = {'metric': self.results['metric'] | {'name': metric}, 'sets': sets}
        return ShiftTable(self.results | changed, self.name)

    def without_interval(self) -> str:
        """Which other metrics have no interval in some rows, and why; nothing if all have."""
        if not self.level:
            return ''
        rows = {name: self.of(name).all_rows() for name in self.others}
        missing = [
            metric_label(name)
            for name, found in rows.items()
            if any(r.score['value'] is not None and r.score['interval'] is None for r in found)
        ]
        return f'No intervals in some rows: {", ".join(missing)}; {NO_INTERVAL}.' if missing else ''

    def title(self, name: str) -> str:
        """A set and its split: 'ACDC val'."""
        return f'{self.sets[name]["title"]} {self.sets[name]["split"]}'

    @property
    def about(self) -> str:
        """All sets in words."""
        return ', '.join(map(self.title, self.sets))

    @property
    def clean(self) -> float | None:
        """The score of the clean column over all classes."""
        row = self.clean_row()
        return None if row is None else row.score['value']

    def clean_row(self) -> Row | None:
        """The clean column; None without."""
        cell = self.cells.get((CLEAN, CLEAN))
        if cell is None:
            return None
        clean = next(
            (s['clean'] for s in self.sets.values() if len(s['scored']) == self._classes), None
        )
        value = cell['metrics'].get(self.metric)
        clean = clean or {'value': value, 'interval': None, 'complete': True, 'missing': []}
        dataset = self.results['dataset']
        return Row(
            set=CLEAN,
            label=dataset['type'] or CLEAN,
            kind=CLEAN,
            score=clean,
            retention=None,
            samples=cell['samples'],
            total=dataset.get('total'),
            part=_part(dataset),
            **_outcome(cell),
        )

    @property
    def _classes(self) -> int:
        return len(self.results['dataset']['classes'])

    def rows(self, name: str) -> list[Row]:
        """The rows of a set: its conditions, and, of several, pooled and their mean."""
        entry = self.sets[name]
        rows = [
            Row(
                set=name,
                label=condition_label(condition),
                kind='condition',
                score=found['score'],
                retention=found['retention'],
                samples=found['samples'],
                total=found['total'],
                part=_part(found),
                notes=tuple(_notes(found)),
                **_outcome(self.cells[name, condition]),
            )
            for condition, found in entry['conditions'].items()
        ]
        if len(rows) > 1:
            rows += [
                Row(
                    set=name,
                    label=label,
                    kind='combined',
                    score=found['score'],
                    retention=found['retention'],
                    part=_part(entry),
                    notes=tuple(filter(None, [found.get('reason')])),
                    calibration=found.get('calibration') or {},
                )
                for key, label in COMBINED.items()
                for found in [entry[key]]
            ]
        return rows

    def all_rows(self) -> list[Row]:
        """The clean column, where there is one, and the rows of every set."""
        clean = self.clean_row()
        rows = [row for name in self.sets for row in self.rows(name)]
        return [clean, *rows] if clean else rows

    def calibrated_rows(self, variant: str) -> list[Row]:
        """Those of them that have calibration of a variant."""
        return [row for row in self.all_rows() if variant in row.calibration]

    @property
    def variants(self) -> tuple[str, ...]:
        """Of calibration: 'plain' and, with a temperature, 'scaled'; none where it was not measured."""
        return tuple((self.results.get('calibration') or {}).get('variants', ()))

    def best_known(self, name: str) -> Row:
        """The row that stands for a set: pooled, else the mean of conditions, else its condition."""
        rows = self.rows(name)
        pooled = [r for r in rows if r.label == COMBINED[POOLED]]
        return pooled[0] if pooled and not self.sets[name][POOLED].get('reason') else rows[-1]

    def headline(self) -> list[Measure]:
        """The clean score, each set's, and effective robustness."""
        found = []
        if (clean := self.clean_row()) is not None:
            found.append(self._measure(f'clean {self.metric_label}', clean.score, 'clean images'))
        for name in self.sets:
            row = self.best_known(name)
            label = self.title(name) + ('' if row.kind == 'condition' else f', {row.label}')
            found.append(
                self._measure(label, row.score, MEANINGS.get(row.label, f'{self.metric_label}'))
            )
            effective = self.sets[name]['mean_of_conditions'].get('effective_robustness')
            if effective is not None:
                label = f'{self.title(name)}, {EFFECTIVE}'
                found.append(self._measure(label, effective, MEANINGS[EFFECTIVE]))
        return found

    def _measure(self, label: str, score: Mapping[str, Any], meaning: str) -> Measure:
        bounds = tuple(score['interval']) if score['interval'] else None
        missing = tuple(score['missing'])
        return Measure(label, label, score['value'], bounds, True, meaning, missing)

    def lost_share(self, row: Row) -> float | None:
        """Share of the clean score that is gone, below 0 of a gain; what the heat colours show."""
        kept = row.retention['value'] if row.retention else None
        return None if kept is None else 1 - kept / 100

    def lacking(self) -> list[tuple[str, str, str]]:
        """See `ResultsTable.lacking`."""
        return [
            (cell['status'], self.cell_label(*key), cell['error'] or '')
            for key, cell in self.cells.items()
            if cell['status'] != 'done'
        ]

    def cell_label(self, name: str, condition: str) -> str:
        """'ACDC fog', 'Dark Zurich', 'clean'."""
        if name == CLEAN:
            return CLEAN
        title = self.sets[name]['title']
        return title if condition == 'all' else f'{title} {condition_label(condition)}'

    def class_values(self) -> tuple[str, dict[str, dict[str, float | None]]] | None:
        """The per-class metric and, by column, the values of the classes; None without such values.

        Columns: the clean column, each condition, and of several all together.
        """
        columns: dict[str, dict[str, float | None]] = {}
        metric: str | None = None
        for key, cell in self.cells.items():
            if cell['per_class']:
                metric = metric or next(iter(cell['per_class']))
                columns[self.cell_label(*key)] = self._scored(key[0], cell['per_class'][metric])
            entry = self.sets.get(key[0])
            if entry is None or key[1] != list(entry['conditions'])[-1]:
                continue
            if len(entry['conditions']) > 1 and (pooled := entry['per_class'].get(metric)):
                columns[f'{entry["title"]} pooled'] = pooled
        return (metric, columns) if metric is not None and columns else None

    def _scored(self, name: str, values: Mapping[str, float | None]) -> dict[str, float | None]:
        """The values of the classes that a set has."""
        scored = values if name == CLEAN else self.sets[name]['scored']
        return {c: v for c, v in values.items() if c in scored}

    def class_losses(self) -> ClassLosses | None:
        """Points that each class loses in each condition against the clean column, or None."""
        per_class = self.cells.get((CLEAN, CLEAN), {}).get('per_class') or {}
        keys = [key for key in self.cells if key[0] != CLEAN]
        if not per_class or not keys:
            return None
        metric = next(iter(per_class))
        classes = list(per_class[metric])

        def values(key: tuple[str, str]) -> np.ndarray:
            found = self._scored(key[0], self.cells[key]['per_class'].get(metric, {}))
            return np.array([found.get(c) for c in classes], dtype=float)

        clean = values((CLEAN, CLEAN))
        losses = clean[:, None] - np.stack([values(key) for key in keys], axis=1)
        columns = tuple(self.cell_label(*key) for key in keys)
        return ClassLosses.ranked(metric, classes, columns, clean, losses)

    def provenance(self) -> dict[str, str]:
        """Everything that identifies the measurement, as printable pairs."""
        r = self.results
        return self._identified(
            {
                'clean column': r['dataset']['type'],
                'images per condition, at most': r.get('max_samples'),
            }
        )

    def told(self, name: str) -> dict[str, str]:
        """Facts about a set, as printable pairs."""
        entry = self.sets[name]
        pairs = {
            'protocol': entry.get('protocol'),
            'source': entry.get('source'),
            'licence': entry.get('licence'),
            'folder': entry.get('folder'),
            'labels': ', '.join(entry.get('encodings') or ()),
            'classes scored': f'{len(entry["scored"])} of {self._classes}'
            if len(entry['scored']) < self._classes
            else None,
            'images without a label, left out': entry['unlabelled'] or None,
            'notes': '; '.join(note.rstrip('.') for note in entry.get('notes') or ()),
        }
        return {what: str(text) for what, text in pairs.items() if text}


def _outcome(cell: Mapping[str, Any]) -> dict[str, Any]:
    """How a cell ended, for its row."""
    calibration = cell.get('calibration') or {}
    return dict(state=cell['status'], error=cell['error'], calibration=calibration)


def _part(found: Mapping[str, Any]) -> str:
    """Where a copy of a set holds another number of images than is published, how many; else ''."""
    published, total = found.get('published'), found.get('total')
    if None in (published, total) or published == total:
        return ''
    return f'{total} of {published} images'


def _notes(found: Mapping[str, Any]) -> list[str]:
    """What a reader of a condition's row must know, but for `_part`."""
    notes = []
    if found['samples'] and found['samples'] < found['total']:
        notes.append(f'{found["samples"]} of {found["total"]} images')
    if found['unlabelled']:
        first = ', '.join(found['first_unlabelled'])
        more = ', ...' if found['unlabelled'] > len(found['first_unlabelled']) else ''
        notes.append(f'{found["unlabelled"]} without a label, left out: {first}{more}')
    if found.get('absent'):
        notes.append(f'absent, left out of the mean: {_some(found["absent"])}')
    if found.get('absent_but_predicted'):
        names = _some(found['absent_but_predicted'])
        present = number(found['score_of_present_classes'])
        notes.append(
            f'predicted, but not in the ground truth, so counted as 0 in the mean as in mmseg: {names} '
            f'(without them {present})'
        )
    return notes


def _some(classes: Sequence[str]) -> str:
    """Names of classes; the first ones and their number if there are many (COCO has 80)."""
    if len(classes) <= _NAMED:
        return ', '.join(classes)
    return f'{few_and_more(classes, _NAMED // 2)} (results.json)'
