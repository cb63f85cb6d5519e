"""Calibration in results.json: of each cell, of groups and of the whole benchmark, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fan_mm.evaluation.bootstrap import PerImage, interval
from fan_mm.evaluation.calibration.measures import MEASURES, bins_of, calibration
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.scope import Scope
from fan_mm.evaluation.summary import CLEAN_FIGURE, Scores, mean_figure

Draws = Mapping[Cell, np.ndarray]  # cell -> (R, V, 3)


def of_cells(
    per_image: PerImage, draws: Draws, variants: Sequence[str]
) -> dict[Cell, dict[str, Any]]:
    """The 'calibration' of each cell.

    Args:
        per_image: statistics of kind 'calibration'.
        draws: their resampled values.
        variants: V names: 'plain' and, with a temperature, 'scaled'.

    Returns:
        Cell -> variant -> 'ECE', 'NLL' and 'Brier', each with 'value' and 'interval', and 'bins':
        'count', and 'confidence' and 'accuracy' in per cent, None for empty bins.
    """
    return {
        cell: of_sums(statistics.sum(axis=0, dtype=np.int64), draws[cell], variants)
        for cell, statistics in per_image.cells.items()
    }


def of_sums(sums: np.ndarray, draws: np.ndarray, variants: Sequence[str]) -> dict[str, Any]:
    """The calibration of samples, see `of_cells`, from their sums ``(V, SIZE)`` and resampled values ``(R, V, 3)``."""
    found = of_values(calibration(sums), draws, variants)
    return {
        variant: found[variant] | {'bins': _bins(sums[v])} for v, variant in enumerate(variants)
    }


def of_values(
    values: np.ndarray, draws: np.ndarray, variants: Sequence[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Variant -> measure -> 'value' and 'interval', from values ``(V, 3)`` and resampled ones ``(R, V, 3)``."""
    return {
        variant: {
            measure: {'value': _known(values[v, m]), 'interval': interval(draws[:, v, m])}
            for m, measure in enumerate(MEASURES)
        }
        for v, variant in enumerate(variants)
    }


def of_set(sums: np.ndarray, variants: Sequence[str]) -> dict[str, Any]:
    """The calibration of one test set, see `of_cells`, from sums per image ``(N, V, SIZE)``."""
    per_image = PerImage('calibration', np.arange(len(sums)), {CLEAN: sums})
    return of_cells(per_image, per_image.resampled(), variants)[CLEAN]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _bins(sums: np.ndarray) -> dict[str, list]:
    counts, right, confidence = bins_of(sums)
    return {
        'count': [int(count) for count in counts],
        'confidence': _per_cent(confidence, counts),
        'accuracy': _per_cent(right, counts),
    }


def _per_cent(part: np.ndarray, whole: np.ndarray) -> list[float | None]:
    return [100 * float(p / w) if w else None for p, w in zip(part, whole, strict=True)]


def summarize_calibration(
    scope: Scope, cells: Mapping[Cell, Mapping], draws: Draws, variants: Sequence[str]
) -> dict[str, Any]:
    """The 'summary' of the 'calibration' of results.json.

    Returns:
        Variant -> measure -> 'clean' and 'mean' (see `Figure.evaluate`), 'corruptions' and 'groups'
        (name -> the same).
    """
    return {
        variant: {
            measure: _summary(
                scope, scores_of(cells, variant, measure), {c: d[:, v, m] for c, d in draws.items()}
            )
            for m, measure in enumerate(MEASURES)
        }
        for v, variant in enumerate(variants)
    }


def scores_of(cells: Mapping[Cell, Mapping], variant: str, measure: str) -> Scores:
    """One measure of every cell that has it."""
    return {cell: found[variant][measure]['value'] for cell, found in cells.items()}


def _summary(scope: Scope, scores: Scores, draws: Scores) -> dict[str, Any]:
    benchmark = scope.benchmark
    groups = {
        group: {name: benchmark.severities[name] for name in names}
        for group, names in benchmark.groups.items()
    }
    return {
        'clean': CLEAN_FIGURE.evaluate(scores, draws),
        'mean': mean_figure(benchmark.severities).evaluate(scores, draws),
        'corruptions': {
            name: mean_figure({name: severities}).evaluate(scores, draws)
            for name, severities in scope.severities.items()
        },
        'groups': {
            group: mean_figure(severities).evaluate(scores, draws)
            for group, severities in groups.items()
        },
    }
