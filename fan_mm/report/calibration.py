"""Calibration in the report: its table, words and numbers, read from results.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fan_mm.report.labels import arrow, corruption_label, number, with_interval
from fan_mm.report.robustness_table import INCOMPLETE, RobustnessTable

MEASURES = {  # name: digits printed
    'ECE': 2,
    'NLL': 3,
    'Brier': 3,
}
MEANINGS = {
    'ECE': 'expected calibration error, per cent: over 15 equal-width bins of the top probability, the '
    'mean distance of accuracy and confidence, weighted by samples (Guo et al. 2017)',
    'NLL': 'mean of -log p of the true class, nats',
    'Brier': 'mean over samples of the sum over classes of (p - truth)², 0 to 2 (Brier 1950)',
}
PLAIN, SCALED = 'plain', 'scaled'  # variants: of the model's scores, and with a temperature
OUTSIDE = '·'  # a cell that is not part of the benchmark


def suffix(variant: str) -> str:
    """Of what belongs to a variant: nothing, or '_scaled'."""
    return '' if variant == PLAIN else f'_{variant}'


@dataclass(frozen=True)
class Bins:
    """Samples by confidence, of one or more cells together.

    Attributes:
        share: ``(15,)`` of all samples.
        confidence: ``(15,)`` mean, per cent, NaN where a bin is empty.
        accuracy: likewise.
    """

    share: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def bins_of(found: Sequence[Mapping[str, Any]]) -> Bins | None:
    """The bins of several cells of results.json together; None without samples."""
    counts = np.array([bins['count'] for bins in found], float)
    total = counts.sum(0)
    if not total.sum():
        return None

    def mean(name: str) -> np.ndarray:
        values = np.array([[v or 0.0 for v in bins[name]] for bins in found])
        with np.errstate(invalid='ignore'):
            return (counts * values).sum(0) / total

    return Bins(total / total.sum(), mean('confidence'), mean('accuracy'))


class CalibrationTable:
    """Read access to the calibration in the results of a sweep that measured it.

    Attributes:
        variants: 'plain', and 'scaled' where a temperature was fitted.
        probabilities: what they are, in words.
        temperature: 'value', 'pictures', 'samples' and 'nll', or None.
    """

    def __init__(self, table: RobustnessTable) -> None:
        found = table.results['calibration']
        self.table = table
        self.summary: dict[str, dict] = found['summary']
        self.variants = tuple(self.summary)
        self.probabilities: str = found['probabilities']
        self.temperature: dict[str, Any] | None = found['temperature']
        self._cells = {
            (c['corruption'], c['severity']): c['calibration']
            for c in table.results['cells']
            if c.get('calibration')
        }

    def value(self, corruption: str, severity: int, variant: str, measure: str) -> float | None:
        """A measure of one cell; None where it has none."""
        cell = self._cells.get((corruption, severity))
        return cell[variant][measure]['value'] if cell else None

    def bins(self, cells: Sequence[tuple[str, int]], variant: str) -> Bins | None:
        """The bins of some cells together; None if one of them is missing."""
        if not cells or any(cell not in self._cells for cell in cells):
            return None
        return bins_of([self._cells[cell][variant]['bins'] for cell in cells])

    def cells_of(self, group: str) -> list[tuple[str, int]]:
        """The cells that a group's mean is over; of hold-outs all that were to be evaluated."""
        wanted = self.table.cells_of(group)
        if wanted:
            return [(name, s) for name, levels in wanted.items() for s in levels]
        names = self.table.rows[group]
        cells = [(c['corruption'], c['severity']) for c in self.table.results['cells']]
        return [cell for cell in cells if cell[0] in names]

    def ece(self, variant: str) -> RobustnessTable:
        """The ECE of every cell as a table of its own."""
        results = self.table.results
        found = self.summary[variant]['ECE']
        cells = [
            cell
            | {'metrics': {'ECE': self.value(cell['corruption'], cell['severity'], variant, 'ECE')}}
            for cell in results['cells']
        ]
        rows = {
            name: {'mean': entry['value'], 'complete': not entry['missing']}
            for name, entry in found['corruptions'].items()
        }
        changed = {
            'metric': results['metric'] | {'name': 'ECE', 'unit': '%', 'higher_is_better': False},
            'cells': cells,
            'summary': {'clean': found['clean']['value'], 'corruptions': rows, 'groups': {}},
        }
        return RobustnessTable(results | changed, self.table.name)

    def rows(self) -> list[tuple[str, int, list[dict]]]:
        """Label, digits and entries (clean, mean, groups) of each measure of each variant."""
        return [
            (
                self.label(measure, variant),
                digits,
                [found['clean'], found['mean'], *(found['groups'][g] for g in self.table.groups)],
            )
            for variant in self.variants
            for measure, digits in MEASURES.items()
            for found in [self.summary[variant][measure]]
        ]

    def heads(self) -> list[str]:
        """Of the columns of `rows`."""
        return ['clean', 'corrupted mean', *(f'mean of {group}' for group in self.table.groups)]

    def label(self, measure: str, variant: str) -> str:
        """'ECE ↓ %', 'NLL ↓, T = 1.31'."""
        unit = ' %' if measure == 'ECE' else ''
        return f'{measure} {arrow(False)}{unit}' + self.scaled(variant)

    def scaled(self, variant: str) -> str:
        """', T = 1.31' for what is measured with the temperature."""
        if variant != SCALED or self.temperature is None:
            return ''
        return f', T = {self.temperature["value"]:.3f}'

    def about(self) -> str:
        """What was measured, in a sentence or two."""
        text = f'Probabilities: {self.probabilities}. All samples are used, without subsampling.'
        if self.temperature:
            before, after = self.temperature['nll']
            text += (
                f' One temperature T = {self.temperature["value"]:.3f} was fitted on '
                f'{self.temperature["pictures"]} clean training images (NLL on them {before:.3f}, with it '
                f'{after:.3f}), and is the same in every cell.'
            )
        return text


def calibration_of(table: RobustnessTable) -> CalibrationTable | None:
    """The calibration of results, None where it was not measured."""
    return CalibrationTable(table) if table.results.get('calibration') else None


def text_of(entry: Mapping, digits: int) -> str:
    """A number, 'incomplete' if cells are missing, a dash if it is not defined."""
    return INCOMPLETE if entry.get('missing') else number(entry['value'], digits)


def entry_text(entry: Mapping, digits: int) -> str:
    """The same, and its interval, if there is one."""
    return with_interval(text_of(entry, digits), entry['interval'], digits)


def csv_columns(results: Mapping) -> dict[tuple[str, str], str]:
    """(variant, measure) -> column of the cells' CSV; nothing where calibration was not measured."""
    found = results.get('calibration') or {}
    variants = found.get('variants') or found.get('summary', ())
    return {
        (variant, measure): measure + suffix(variant)
        for variant in variants
        for measure in MEASURES
    }


def csv_numbers(entry: Mapping) -> list[float | None]:
    """A value and the bounds of its interval."""
    return [entry.get('value'), *(entry.get('interval') or (None, None))]


def csv_values(found: Mapping, columns: Mapping[tuple[str, str], str]) -> list[float | None]:
    """Value and bounds of the interval of a cell's calibration, per column three numbers."""
    entries = (found.get(variant, {}).get(measure, {}) for variant, measure in columns)
    return [number for entry in entries for number in csv_numbers(entry)]


def calibration_lines(found: Mapping[str, Mapping]) -> list[str]:
    """Lines for a terminal, one per variant.

    Args:
        found: per variant and measure a 'value' and 'interval', or, of a sweep, 'clean' and 'mean'.
    """
    lines = []
    for variant, measures in found.items():
        parts = []
        for measure, digits in MEASURES.items():
            entry = measures[measure]
            if 'clean' in entry:
                clean, mean = (text_of(entry[name], digits) for name in ('clean', 'mean'))
                parts.append(f'{measure} clean {clean}, mean {mean}')
            else:
                parts.append(f'{measure} {entry_text(entry, digits)}')
        lines.append(('' if variant == PLAIN else 'with temperature: ') + '; '.join(parts))
    return lines


def calibration_text(results: Mapping) -> list[str]:
    """Lines for the summary of a sweep on the command line; none where it was not measured."""
    found = results.get('calibration')
    if not found:
        return []
    lines = [f'calibration: {found["probabilities"]}']
    if found['temperature']:
        lines.append('  temperature             {value:.4f}'.format(**found['temperature']))
    return lines + [f'  {line}' for line in calibration_lines(found['summary'])]


def ece_rows(
    found: CalibrationTable, variant: str
) -> list[tuple[str, list[tuple[str, float | None]]]]:
    """Corruption and the (text, ECE) of each severity and of the mean."""
    table = found.ece(variant)
    rows = []
    for name in table.corruptions:
        cells = []
        for severity in table.severities:
            value, state = table.value(name, severity), table.state(name, severity)
            words = OUTSIDE if state == 'outside' else state
            cells.append((words if value is None else number(value, MEASURES['ECE']), value))
        row = table.row(name)
        words = (
            table.mean_text(row) if row['mean'] is None else number(row['mean'], MEASURES['ECE'])
        )
        rows.append((corruption_label(name), [*cells, (words, row['mean'])]))
    return rows


def calibration_label(name: str) -> str:
    """'mean_ECE_scaled' -> 'mean ECE, with temperature'."""
    plain = name.removesuffix(f'_{SCALED}')
    return plain.replace('_', ' ') + (', with temperature' if plain != name else '')


def calibration_digits(name: str) -> int:
    """Digits printed of such a measure."""
    return next(digits for measure, digits in MEASURES.items() if measure in name.split('_'))
