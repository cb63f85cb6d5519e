"""From cells to the numbers that are quoted: means, retention, corruption errors, with intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fan_mm.corruptions import Benchmark
from fan_mm.evaluation import metrics
from fan_mm.evaluation.bootstrap import LEVEL, interval
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.scope import Scope

Scores = Mapping[Cell, Any]  # per cell a number, or an array of resamples (R,)


@dataclass(frozen=True)
class Figure:
    """A number computed from some cells.

    Attributes:
        cells: the cells it needs, all of them.
        formula: maps the scores of at least these cells to the number.
    """

    cells: tuple[Cell, ...]
    formula: Callable[[Scores], Any]

    def evaluate(
        self, scores: Scores, draws: Scores | None = None, level: float = LEVEL
    ) -> dict[str, Any]:
        """The number, or, if cells are missing, which.

        Args:
            scores: per finished cell its score, per cent; None where undefined.
            draws: per cell its resampled scores, for the interval.
            level: of the interval.

        Returns:
            'value' (None if incomplete or undefined), 'interval' ([low, high] or None), 'complete',
            'missing' (names of cells). Never a mean over part of the cells.
        """
        missing = [str(cell) for cell in self.cells if scores.get(cell) is None]
        if missing or not self.cells:
            return {'value': None, 'interval': None, 'complete': False, 'missing': missing}
        value = float(self.formula(scores))
        bounds = None
        if draws is not None and all(cell in draws for cell in self.cells):
            bounds = interval(np.asarray(self.formula(draws)), level)
        return {
            'value': None if np.isnan(value) else value,
            'interval': bounds,
            'complete': True,
            'missing': [],
        }


def _sorted_scores(
    severities: Mapping[str, Sequence[int]],
) -> tuple[tuple[Cell, ...], Callable[[Scores], dict[str, list]]]:
    """The cells of some corruptions, and a function that sorts their scores by corruption."""
    cells = {name: [Cell(name, s) for s in levels] for name, levels in severities.items()}
    flat = tuple(cell for chosen in cells.values() for cell in chosen)
    return flat, lambda scores: {name: [scores[c] for c in cells[name]] for name in cells}


def mean_figure(benchmark: Benchmark, names: Sequence[str] | None = None) -> Figure:
    """Mean over severities, then over corruptions: of a group, or of the whole benchmark."""
    chosen = {n: benchmark.severities[n] for n in names or benchmark.severities}
    cells, by_name = _sorted_scores(chosen)
    return Figure(cells, lambda scores: metrics.mean_performance_under_corruption(by_name(scores)))


def retention_figure(benchmark: Benchmark, names: Sequence[str] | None = None) -> Figure:
    """Retention of that mean."""
    mean = mean_figure(benchmark, names)
    return Figure(
        (CLEAN, *mean.cells) if mean.cells else (),  # hold-outs alone have no mean
        lambda scores: metrics.retention(mean.formula(scores), scores[CLEAN]),
    )


def headline_figures(scope: Scope, task: str, classes: int) -> dict[str, Figure]:
    """The figures of the summary's head, by their names in results.json.

    Args:
        scope: what was to be evaluated.
        task: 'segmentation', 'detection' (adds mPC and rPC, and the same over the usual 15 types
            where the scope has them all) or 'classification' (adds the mean over the 16 types of
            FAN's Table 12 and its retention where the scope has them all).
        classes: number of classes; corruption errors, which divide by AlexNet's on ImageNet, are
            added for classification with 1000, where the scope has the 15 corruptions they need.
    """
    benchmark = scope.benchmark
    figures = {'mean': mean_figure(benchmark), 'retention': retention_figure(benchmark)}
    if task == 'detection':
        figures |= {'mPC': figures['mean'], 'rPC': figures['retention']}
    needed = dict.fromkeys(metrics.ALEXNET_ERRORS, metrics.ALEXNET_SEVERITIES)
    cells, by_name = _sorted_scores(needed)
    usual = set(benchmark.severities) == set(needed)  # then mPC is that already
    if task == 'detection' and set(cells) <= set(scope.cells) and not usual:
        figures['mPC_15'] = Figure(
            cells, lambda s: metrics.mean_performance_under_corruption(by_name(s))
        )
        figures['rPC_15'] = Figure(
            (CLEAN, *cells),
            lambda s: metrics.retention(figures['mPC_15'].formula(s), s[CLEAN]),
        )
    if task == 'classification' and classes == 1000 and set(cells) <= set(scope.cells):
        figures['mCE'] = Figure(cells, lambda s: metrics.mean_corruption_error(by_name(s)))
        figures['relative_mCE'] = Figure(
            (CLEAN, *cells),
            lambda s: metrics.relative_mean_corruption_error(by_name(s), s[CLEAN]),
        )
    sixteen = dict.fromkeys(metrics.FAN_IMAGENET_C, metrics.ALEXNET_SEVERITIES)
    cells, of_sixteen = _sorted_scores(sixteen)
    if task == 'classification' and set(cells) <= set(scope.cells):
        figures['mean_16'] = Figure(
            cells, lambda s: metrics.mean_performance_under_corruption(of_sixteen(s))
        )
        figures['retention_16'] = Figure(
            (CLEAN, *cells),
            lambda s: metrics.retention(figures['mean_16'].formula(s), s[CLEAN]),
        )
    return figures


def summarize(
    scope: Scope,
    scores: Scores,
    task: str,
    classes: int,
    draws: Scores | None = None,
    level: float = LEVEL,
) -> dict[str, Any]:
    """The 'summary' of results.json.

    Args:
        scope: what was to be evaluated.
        scores: per finished cell its score, per cent.
        task: see `headline_figures`.
        classes: see `headline_figures`.
        draws: resampled scores per cell, for intervals.
        level: of the intervals.
    """
    benchmark = scope.benchmark
    corruptions = {}
    for name, severities in scope.severities.items():
        figure = Figure(
            tuple(Cell(name, s) for s in severities),
            lambda s, name=name, levels=severities: metrics.mean(
                [s[Cell(name, x)] for x in levels]
            ),
        )
        found = figure.evaluate(scores)
        corruptions[name] = {
            'mean': found['value'],
            'complete': found['complete'],
            'missing': [s for s in severities if scores.get(Cell(name, s)) is None],
        }
    groups = {}
    for group, names in benchmark.groups.items():
        mean = mean_figure(benchmark, names).evaluate(scores)
        groups[group] = {
            'mean': mean['value'],
            'retention': retention_figure(benchmark, names).evaluate(scores)['value'],
            'complete': mean['complete'],
            'missing': mean['missing'],
        }
    heads = headline_figures(scope, task, classes)
    return {
        'clean': scores.get(CLEAN),
        'corruptions': corruptions,
        'groups': groups,
        **{name: figure.evaluate(scores, draws, level) for name, figure in heads.items()},
    }
