"""From cells to the numbers that are quoted: means, retention, corruption errors, with intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fan_mm.corruptions import SEVERITIES
from fan_mm.evaluation import metrics
from fan_mm.evaluation.bootstrap import interval
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.scope import Scope

Scores = Mapping[Cell, Any]  # cell -> a number, or an array of resamples (R,)


@dataclass(frozen=True)
class Figure:
    """A number computed from some cells.

    Attributes:
        cells: the required cells.
        formula: maps the scores of these cells, and possibly others, to the number.
    """

    cells: tuple[Cell, ...]
    formula: Callable[[Scores], Any]

    def evaluate(self, scores: Scores, draws: Scores | None = None) -> dict[str, Any]:
        """The number, or, if cells are missing, which.

        Args:
            scores: finished cell -> score in per cent; None if undefined.
            draws: cell -> resampled scores, for the interval.

        Returns:
            'value' (None if incomplete or undefined), 'interval' ([low, high] or None), 'complete',
            'missing' (names of cells). A mean over only some of the cells is never returned. If all cells
            are finished and none has a score (AP of large objects if there are none), none is missing.
        """
        if self.cells and all(cell in scores and scores[cell] is None for cell in self.cells):
            return {'value': None, 'interval': None, 'complete': True, 'missing': []}
        missing = [str(cell) for cell in self.cells if scores.get(cell) is None]
        if missing or not self.cells:
            return {'value': None, 'interval': None, 'complete': False, 'missing': missing}
        value = float(self.formula(scores))
        bounds = None
        if draws is not None and all(cell in draws for cell in self.cells):
            bounds = interval(np.asarray(self.formula(draws)))
        return {
            'value': None if np.isnan(value) else value,
            'interval': bounds,
            'complete': True,
            'missing': [],
        }


CLEAN_FIGURE = Figure((CLEAN,), lambda scores: scores[CLEAN])


def _sorted_scores(
    severities: Mapping[str, Sequence[int]],
) -> tuple[tuple[Cell, ...], Callable[[Scores], dict[str, list]]]:
    """The cells of some corruptions, and a function that sorts their scores by corruption."""
    cells = {name: [Cell(name, s) for s in levels] for name, levels in severities.items()}
    flat = tuple(cell for chosen in cells.values() for cell in chosen)
    return flat, lambda scores: {name: [scores[c] for c in cells[name]] for name in cells}


def mean_figure(severities: Mapping[str, Sequence[int]]) -> Figure:
    """Mean over severities, then over corruptions.

    Args:
        severities: corruption -> severities, for a group or a whole benchmark.
    """
    cells, by_name = _sorted_scores(severities)
    return Figure(cells, lambda scores: metrics.mean_performance_under_corruption(by_name(scores)))


def retention_figure(severities: Mapping[str, Sequence[int]]) -> Figure:
    """Retention of that mean."""
    mean = mean_figure(severities)
    return Figure(
        (CLEAN, *mean.cells) if mean.cells else (),  # there is no mean of hold-outs alone
        lambda scores: metrics.retention(mean.formula(scores), scores[CLEAN]),
    )


def worst_figure(severities: Mapping[str, Sequence[int]]) -> Figure:
    """The mean over severities of the corruption with the lowest one."""
    cells, by_name = _sorted_scores(severities)
    return Figure(cells, lambda scores: metrics.worst_corruption(by_name(scores)))


def headline_figures(scope: Scope, task: str, classes: int) -> dict[str, Figure]:
    """The figures of the summary's head, by their names in results.json.

    'mean', 'retention' and 'worst' (the corruption with the lowest mean) are always included.

    Args:
        scope: the requested cells.
        task: 'segmentation', 'detection' (adds mPC and rPC, also over the usual 15 types if the scope
            contains them all) or 'classification' (adds the mean and retention over the 16 types of
            FAN's Table 12 if the scope contains them all).
        classes: number of classes; corruption errors, which are relative to AlexNet's on ImageNet, are
            added for classification with 1000 classes if the scope contains the 15 corruptions required.
    """
    severities = scope.benchmark.severities
    figures = {
        'mean': mean_figure(severities),
        'retention': retention_figure(severities),
        'worst': worst_figure(severities),
    }
    if task == 'detection':
        figures |= {'mPC': figures['mean'], 'rPC': figures['retention']}
    fifteen = dict.fromkeys(metrics.ALEXNET_ERRORS, SEVERITIES)
    cells, by_name = _sorted_scores(fifteen)
    if set(cells) <= set(scope.cells):
        if task == 'detection' and severities.keys() != fifteen.keys():  # else equal to mPC
            figures |= {'mPC_15': mean_figure(fifteen), 'rPC_15': retention_figure(fifteen)}
        if task == 'classification' and classes == 1000:
            figures['mCE'] = Figure(cells, lambda s: metrics.mean_corruption_error(by_name(s)))
            figures['relative_mCE'] = Figure(
                (CLEAN, *cells),
                lambda s: metrics.relative_mean_corruption_error(by_name(s), s[CLEAN]),
            )
    sixteen = dict.fromkeys(metrics.FAN_IMAGENET_C, SEVERITIES)
    mean_16 = mean_figure(sixteen)
    if task == 'classification' and set(mean_16.cells) <= set(scope.cells):
        figures |= {'mean_16': mean_16, 'retention_16': retention_figure(sixteen)}
    return figures


def summarize(
    scope: Scope,
    scores: Scores,
    task: str,
    classes: int,
    draws: Scores | None = None,
) -> dict[str, Any]:
    """The 'summary' of results.json.

    Args:
        scope: the requested cells.
        scores: finished cell -> score in per cent.
        task: see `headline_figures`.
        classes: see `headline_figures`.
        draws: cell -> resampled scores, for intervals.
    """
    benchmark = scope.benchmark
    corruptions = {}
    for name, severities in scope.severities.items():
        found = mean_figure({name: severities}).evaluate(scores)
        missing = [s for s in severities if str(Cell(name, s)) in found['missing']]
        corruptions[name] = {
            'mean': found['value'],
            'complete': found['complete'],
            'missing': missing,
        }
    groups = {}
    for group, names in benchmark.groups.items():
        cells = {name: benchmark.severities[name] for name in names}
        mean = mean_figure(cells).evaluate(scores)
        groups[group] = {
            'mean': mean['value'],
            'retention': retention_figure(cells).evaluate(scores)['value'],
            'complete': mean['complete'],
            'missing': mean['missing'],
        }
    heads = {
        name: figure.evaluate(scores, draws)
        for name, figure in headline_figures(scope, task, classes).items()
    }
    if heads['worst']['value'] is not None:
        heads['worst']['corruption'] = min(
            benchmark.severities, key=lambda name: corruptions[name]['mean']
        )
    return {'clean': scores.get(CLEAN), 'corruptions': corruptions, 'groups': groups, **heads}
