"""The table that a sweep fills: corruptions by group downwards, severities across, means at the end.

Everything the report shows is asked for here, so that all its forms (CSV, Markdown, HTML, figures)
show the same numbers. Nothing is measured: means, retention and intervals are read from the
summary that `fan_mm.evaluation` wrote. A value that is not there is None, never a partial mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fan_mm.evaluation.class_names import short
from fan_mm.evaluation.consistency import finite
from fan_mm.report.labels import (
    cells_label,
    corruption_in_sentence,
    named_scope,
    number,
    with_interval,
)
from fan_mm.report.results_table import ResultsTable

HOLD_OUTS = 'hold-outs'
INCOMPLETE = 'incomplete'  # what stands in place of a number whose cells are missing
MOST_CLASSES = 20  # rows of the per-class table; per_class.csv has all
NO_INTERVAL = (
    'no per-image data are stored for them, or they are undefined in some resamples (no such objects, or a '
    'clean score of 0)'
)

_M19, _HD19 = 'Michaelis et al. 2019', 'Hendrycks and Dietterich 2019'
# name in the summary: (label, higher is better, what it is)
_MEASURES = {
    'mPC': ('mPC', True, f'mean performance under corruption: the corrupted mean ({_M19})'),
    'rPC': ('rPC', True, f'relative performance under corruption, mPC / clean ({_M19})'),
    'mean': ('corrupted mean', True, 'mean over the corruptions of their mean over severities'),
    'retention': ('retention', True, 'corrupted mean / clean'),
    'worst': ('worst', True, 'lowest mean of a corruption over its severities'),
    'mPC_15': ('mPC over 15', True, f'mPC over the usual 15 types, severities 1 to 5 ({_M19})'),
    'rPC_15': ('rPC over 15', True, f'that mean / clean ({_M19})'),
    'mean_16': ('mean over 16', True, "mean over the 16 types of FAN's Table 12 (ICML 2022)"),
    'retention_16': ('retention over 16', True, 'mean over 16 / clean'),
    'mCE': ('mCE', False, f'mean over 15 corruptions of the error / that of AlexNet ({_HD19})'),
    'relative_mCE': (
        'relative mCE',
        False,
        f'the same of the error added to the clean one ({_HD19})',
    ),
}
# in per cent whatever the metric is
_SHARES = ('rPC', 'retention', 'rPC_15', 'retention_16', 'mCE', 'relative_mCE')


@dataclass(frozen=True)
class Measure:
    """A headline number.

    Attributes:
        name: its key in the summary, 'clean' for the clean metric.
        label: as printed.
        value: None where cells are missing.
        interval: bounds of the bootstrap interval, or None.
        higher_is_better: the better direction.
        meaning: the formula in words, with its source.
        missing: 'corruption/severity' of the cells that the value needs.
        digits: that are printed.
        unit: '%', or nothing where it is not known.
    """

    name: str
    label: str
    value: float | None
    interval: tuple[float, float] | None
    higher_is_better: bool
    meaning: str
    missing: tuple[str, ...]
    digits: int = 1
    unit: str = '%'

    @property
    def text(self) -> str:
        """The number, 'incomplete' if cells are missing, a dash if it is not defined."""
        return INCOMPLETE if self.missing else number(self.value, self.digits)

    @property
    def with_interval(self) -> str:
        """The same, and the interval, if there is one."""
        return with_interval(self.text, self.interval, self.digits)


@dataclass(frozen=True)
class ClassLosses:
    """What each class loses under each corruption.

    Attributes:
        metric: the per-class metric, such as 'IoU'.
        classes: names, the class that loses most first.
        corruptions: names, in the order of the table.
        clean: `(K,)` metric on clean images, per cent; NaN where the class has none.
        losses: `(K, C)` clean minus the mean over severities, points; NaN where cells are missing.
        total: how many classes the dataset has.
    """

    metric: str
    classes: tuple[str, ...]
    corruptions: tuple[str, ...]
    clean: np.ndarray
    losses: np.ndarray
    total: int

    @classmethod
    def ranked(
        cls,
        metric: str,
        names: Sequence[str],
        corruptions: tuple[str, ...],
        clean: np.ndarray,
        losses: np.ndarray,
    ) -> 'ClassLosses':
        """The classes that lose most on average, from the values of all of them in any order."""
        # Only the order of the rows forgives a missing cell.
        known = np.isfinite(losses)
        rank = np.where(known, losses, 0).sum(1) / np.maximum(known.sum(1), 1)
        order = np.argsort(np.where(known.any(1), -rank, np.inf), kind='stable')[:MOST_CLASSES]
        shown = tuple(names[i] for i in order)
        return cls(metric, shown, corruptions, clean[order], losses[order], len(names))

    @property
    def shown(self) -> str:
        """Which classes these are, in words."""
        if len(self.classes) < self.total:
            return f'the {len(self.classes)} of {self.total} classes that lose most'
        return 'the class that loses most first'

    def worst(self) -> list[tuple[str, str, float]]:
        """The five largest losses as (class, corruption, points), without those that are printed as 0.0."""
        flat = [
            (name, corruption, float(points))
            for name, row in zip(self.classes, self.losses, strict=True)
            for corruption, points in zip(self.corruptions, row, strict=True)
            if round(float(points), 1) > 0
        ]
        return sorted(flat, key=lambda item: -item[2])[:5]


class RobustnessTable(ResultsTable):
    """Read access to one results dict (schema ``fan_mm.robustness/1``).

    Attributes:
        benchmark: as printed.
        groups: corruptions by group in the benchmark's order.
        rows: the same, and last the hold-outs that were evaluated, as a group of their own that
            enters no mean.
        corruptions: all of the rows.
        severities: all that the benchmark asks for or that were evaluated, ascending.
    """

    parts = 'cells'

    def __init__(self, results: dict, name: str | None = None) -> None:
        super().__init__(results, name)
        self.benchmark: str = named_scope(results['benchmark'])
        self._cells = {(c['corruption'], c['severity']): c for c in results['cells']}
        self._wanted: dict[str, list[int]] = results['benchmark']['severities']
        self.groups = {g: tuple(names) for g, names in results['benchmark']['groups'].items()}
        self.rows = dict(self.groups)
        evaluated = {name for name, _ in self._cells}
        if hold_outs := tuple(h for h in results['benchmark']['hold_outs'] if h in evaluated):
            self.rows[HOLD_OUTS] = hold_outs
        self.corruptions = tuple(c for names in self.rows.values() for c in names)
        severities = {s for wanted in self._wanted.values() for s in wanted}
        self.severities = tuple(sorted(severities | {s for _, s in self._cells if s}))

    def of(self, metric: str) -> 'RobustnessTable':
        """The same table of another metric that the results sum up, such as 'segm_mAP'."""
        if metric == self.metric:
            return self
        summary = self.results['other_summaries'][metric]
        changed = {'metric': self.results['metric'] | {'name': metric}, 'summary': summary}
        return RobustnessTable(self.results | changed, self.name)

    def without_interval(self) -> str:
        """Which other metrics have no interval though this table's has one, and why; nothing if all have."""
        if not self.level:
            return ''
        names = []
        for table in [self.of(name) for name in self.summed_up()[1:]]:
            measures = [table.measure(name) for name in self.overall()[1:]]
            lacking = [m.label for m in measures if m.value is not None and m.interval is None]
            if lacking:
                of = f' ({lacking[0]})' if len(lacking) < len(measures) else ''
                names.append(f'{table.metric_label}{of}')
        return f'No intervals: {", ".join(names)}; {NO_INTERVAL}.' if names else ''

    def summed_up(self) -> list[str]:
        """The metrics for which there is such a table, this one's first; none but this one's as a rule."""
        return [self.metric, *self.results.get('other_summaries', ())]

    @property
    def images(self) -> str:
        """The dataset and how many of its images were evaluated."""
        dataset = self.results['dataset']
        total = dataset.get('total', dataset['samples'])
        part = '' if total == dataset['samples'] else f'{dataset["samples"]} of '
        return f'{dataset["type"]}, {part}{total} images'

    @property
    def clean(self) -> float | None:
        """The metric on clean images."""
        return self.results['summary']['clean']

    def value(self, corruption: str, severity: int, metric: str | None = None) -> float | None:
        """One cell's metric (the benchmark's by default); None unless the cell is done."""
        cell = self._cells.get((corruption, severity))
        return finite(cell['metrics'].get(metric or self.metric)) if cell else None

    def state(self, corruption: str, severity: int) -> str:
        """What is known of a cell.

        Returns:
            'done', 'failed' or 'missing'; 'undefined' if it is done but has no metric (no class of
            the ground truth occurs); 'outside' if the benchmark does not ask for it.
        """
        if cell := self._cells.get((corruption, severity)):
            undefined = cell['status'] == 'done' and self.value(corruption, severity) is None
            return 'undefined' if undefined else cell['status']
        return 'missing' if severity in self._wanted.get(corruption, (0,)) else 'outside'

    def counts(self, corruption: str, severity: int) -> bool:
        """Whether the cell enters the benchmark's mean."""
        return severity in self._wanted.get(corruption, ())

    def error(self, corruption: str, severity: int) -> str | None:
        """Why a cell failed."""
        cell = self._cells.get((corruption, severity))
        return cell['error'] if cell else None

    def row(self, corruption: str) -> dict:
        """'mean' over its severities and 'complete' of a corruption."""
        nothing = {'mean': None, 'complete': False}
        return self.results['summary']['corruptions'].get(corruption, nothing)

    def mean(self, corruption: str) -> float | None:
        """A corruption's mean over its severities; None if one is missing."""
        return self.row(corruption)['mean']

    def mean_text(self, entry: Mapping) -> str:
        """The mean of a row or group: 'incomplete' if cells are missing, a dash if it is not defined."""
        missing = entry['mean'] is None and not entry['complete']
        return INCOMPLETE if missing else self.text(entry['mean'])

    def retention(self, corruption: str) -> float | None:
        """A corruption's mean / clean, per cent."""
        return self.retained(self.mean(corruption))

    def retained(self, value: float | None) -> float | None:
        """A value / clean, per cent."""
        return None if value is None or not self.clean else 100 * value / self.clean

    def lost_share(self, value: float | None) -> float | None:
        """Share of the clean metric that is gone, below 0 of a gain; what the heat colours show."""
        return None if value is None or not self.clean else 1 - value / self.clean

    def group(self, name: str) -> dict:
        """'mean', 'retention', 'complete' and 'missing' of a group; nothing of one that is not there."""
        nothing: dict = {'mean': None, 'retention': None, 'complete': True, 'missing': []}
        return self.results['summary']['groups'].get(name, nothing)

    def cells_of(self, group: str) -> dict[str, tuple[int, ...]]:
        """What a group's mean is over: severities by corruption."""
        return {c: tuple(self._wanted.get(c, ())) for c in self.groups.get(group, ())}

    def measure(self, name: str) -> Measure:
        """A headline number by its name in the summary, or 'clean'."""
        unit = (self.digits, '%' if self.in_per_cent else '')
        if name == 'clean':
            known = self.clean is not None or self.state('clean', 0) == 'undefined'
            missing = () if known else ('clean/0',)
            label = f'clean {self.metric_label}'
            higher = self.results['metric']['higher_is_better']
            meaning = f'{self.metric_label} on clean images'
            return Measure('clean', label, self.clean, None, higher, meaning, missing, *unit)
        entry = self.results['summary'][name]
        label, higher, meaning = _MEASURES[name]
        if 'corruption' in entry:
            label += f' ({corruption_in_sentence(entry["corruption"])})'
        bounds = entry['interval']
        return Measure(
            name,
            label,
            entry['value'],
            tuple(bounds) if bounds else None,
            higher,
            meaning,
            tuple(entry['missing']),
            *(() if name in _SHARES else unit),
        )

    def headline(self) -> list[Measure]:
        """Clean, then the benchmark's own measures; mPC and rPC replace mean and retention."""
        present = [name for name in _MEASURES if name in self.results['summary']]
        if 'mPC' in present:
            present = [name for name in present if name not in ('mean', 'retention')]
        return [self.measure(name) for name in ('clean', *present)]

    def overall(self) -> tuple[str, str, str]:
        """The measures of the whole benchmark: clean, mean and retention, as the task calls them."""
        detection = 'mPC' in self.results['summary']
        return ('clean', 'mPC', 'rPC') if detection else ('clean', 'mean', 'retention')

    @property
    def others_title(self) -> str:
        """The heading of the scores that the results sum up beside their metric."""
        detection = 'mPC' in self.results['summary']
        return 'Boxes and masks, by object size' if detection else 'Other scores'

    def absent(self, state: str) -> list[tuple[str, int]]:
        """All cells of the table in a state (see `state`), the clean one first."""
        everywhere = [('clean', 0)]
        everywhere += [(c, s) for c in self.corruptions for s in self.severities]
        return [cell for cell in everywhere if self.state(*cell) == state]

    def lacking(self) -> list[tuple[str, str, str]]:
        """See `ResultsTable.lacking`; what did not fail is told together."""
        kinds = {'missing': 'not evaluated', 'undefined': 'no metric'}
        found = [
            (kind, cells_label(cells), '')
            for state, kind in kinds.items()
            if (cells := self.absent(state))
        ]
        return found + [
            ('failed', cells_label([cell]), self.error(*cell) or 'no message')
            for cell in self.absent('failed')
        ]

    def class_losses(self) -> ClassLosses | None:
        """Per-class losses under every corruption of the benchmark, or None without such data.

        Of the classes those that lose most on average.
        """
        per_class = self._cells.get(('clean', 0), {}).get('per_class') or {}
        corruptions = tuple(c for c in self.corruptions if c in self._wanted)
        if not per_class or not corruptions:  # hold-outs alone
            return None
        metric = next(iter(per_class))
        classes = list(per_class[metric])

        def values(corruption: str, severity: int) -> np.ndarray:
            cell = self._cells.get((corruption, severity))
            found = cell['per_class'].get(metric, {}) if cell else {}
            return np.array([found.get(name) for name in classes], dtype=float)

        clean = values('clean', 0)
        corrupted = [np.mean([values(c, s) for s in self._wanted[c]], axis=0) for c in corruptions]
        losses = clean[:, None] - np.stack(corrupted, axis=1)
        return ClassLosses.ranked(metric, short(classes), corruptions, clean, losses)

    def provenance(self) -> dict[str, str]:
        """Everything that identifies the measurement, as printable pairs."""
        r = self.results
        audit = r.get('audit')
        return self._identified(
            {
                'dataset': self.images,
                'dataset SHA-256': r['dataset']['sha256'],
                'folder of corrupted images': r.get('corrupted_root'),
                'seed of the corruptions': r['seed'],
                'channel order of the corruptions': r['channel_order'],
                'version of the corruptions': r['corruption_version'],
                'audit': audit
                and f'{len(audit["checks"])} checks, findings: {len(audit["findings"])}',
            }
        )
