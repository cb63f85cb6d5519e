"""Calibration on real adverse conditions: of each, of a set's images together, and the mean of conditions.

Intervals come from the same bootstrap over scenes as those of the scores (`fan_mm.evaluation.shifts.pooling`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fan_mm.evaluation.bootstrap import INTERVALS
from fan_mm.evaluation.calibration.measures import MEASURES, calibration
from fan_mm.evaluation.calibration.summary import of_sums, of_values
from fan_mm.evaluation.shifts.measured import Measured, arrays_of, scenes_of
from fan_mm.evaluation.shifts.pooling import MEAN, POOLED, PooledSums, ShiftCell, combined


def add_calibration(
    results: dict[str, Any], measured: Sequence[Measured], variants: Sequence[str]
) -> dict[str, np.ndarray] | None:
    """Add the calibration of conditions and of sets to the content of results.json.

    Args:
        results: from `fan_mm.evaluation.shifts.results.join`; modified in place.
        measured: every condition, and the clean column.
        variants: V names: 'plain' and, with a temperature, 'scaled'.

    Returns:
        The content of calibration.npz; None if no condition is finished.
    """
    statistics = {m.cell: m.calibration for m in measured if m.calibration is not None}
    if not statistics:
        return None
    done = [m for m in measured if m.cell in statistics]
    sums = {cell: s.sum(axis=0, dtype=np.int64) for cell, s in statistics.items()}
    pooled = PooledSums(scenes_of(done))
    pooled.statistics |= statistics
    draws = {cell: pooled.drawn_sums(cell) for cell in statistics}
    for cell in results['cells']:
        key = ShiftCell(cell['set'], cell['condition'])
        if key in statistics:
            cell['calibration'] = of_sums(sums[key], calibration(draws[key]), variants)
    for name, entry in results['sets'].items():
        cells = [ShiftCell(name, condition) for condition in entry['conditions']]
        for over in (POOLED, MEAN):
            entry[over]['calibration'] = _of_set(over, cells, sums, draws, variants)
    # Calibration has intervals even if the score has none.
    results['bootstrap'] = results['bootstrap'] or dict(INTERVALS)
    return arrays_of('calibration', done, statistics)


def _of_set(
    over: str,
    cells: Sequence[ShiftCell],
    sums: Mapping[ShiftCell, np.ndarray],
    draws: Mapping[ShiftCell, np.ndarray],
    variants: Sequence[str],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Variant -> measure -> a number over conditions, with its interval, or the conditions it lacks."""
    missing = [str(cell) for cell in cells if cell not in sums]
    if missing:
        values = np.full((len(variants), len(MEASURES)), np.nan)
        drawn = values[None]
    else:
        values, drawn = (
            combined(over, [of[cell] for cell in cells], calibration) for of in (sums, draws)
        )
    return {
        variant: {
            measure: entry | {'complete': not missing, 'missing': missing}
            for measure, entry in measures.items()
        }
        for variant, measures in of_values(values, drawn, variants).items()
    }
