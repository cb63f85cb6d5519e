"""Differences between two models on the same images, with paired intervals."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fan_mm.corruptions import Benchmark
from fan_mm.errors import InputError
from fan_mm.evaluation.bootstrap import PerImage, interval
from fan_mm.evaluation.calibration.measures import MEASURES
from fan_mm.evaluation.cells import Cell
from fan_mm.evaluation.results import (
    CALIBRATION,
    CORRUPTIONS,
    PER_IMAGE,
    read_per_image,
    read_results,
)
from fan_mm.evaluation.scope import Scope
from fan_mm.evaluation.summary import CLEAN_FIGURE, Figure, Scores, headline_figures


def compare(first: str | os.PathLike, second: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Differences ``second - first`` of all headline figures of the first, with paired intervals.

    Both models are resampled with the same draws of images (`fan_mm.evaluation.bootstrap`), so
    the difficulty of an image for both models cancels out.

    Args:
        first: a results.json, or its folder.
        second: the other model's.

    Returns:
        For 'clean', 'mean', 'retention' and so on: 'difference' (None if one of the two values is
        missing), 'interval' ([low, high], None if the metric does not support it or the images
        differ) and 'significant' (0 lies outside the interval; None without one). The same for
        'clean_segm_mAP', 'mean_segm_mAP', 'retention_segm_mAP' and so on for further scores that
        both summarise; if both measured calibration, for 'clean_ECE', 'mean_ECE' and so on, also of
        'NLL' and 'Brier'; and if both fitted a temperature, for 'mean_ECE_scaled' and so on.

    Raises:
        InputError: the two differ in task, metric or benchmark.
    """
    results = [read_results(path, CORRUPTIONS) for path in (first, second)]
    for name, value in (
        ('task', lambda r: r['task']),
        ('metric', lambda r: r['metric']['name']),
        ('benchmark', lambda r: r['benchmark']['severities']),
    ):
        if value(results[0]) != value(results[1]):
            raise InputError(f'{first} and {second} cannot be compared: their {name} differs')
    alike = _alike(first, second)
    draws = [per_image.resampled() for per_image in alike]
    figures = _figures(results[0])
    scores = [_scores(r, r['metric']['name']) for r in results]
    found = {name: _difference(figure, scores, draws) for name, figure in figures.items()}
    found |= _other_differences(results, alike, figures)
    return found | _calibration_differences(first, second, results, figures)


def paired(values: Sequence[float | None], draws: Sequence[np.ndarray] | None) -> dict[str, Any]:
    """The second of two values minus the first.

    Args:
        values: the values of two models; None for a missing one.
        draws: ``(R,)`` values of each model for the same resamples; None without resamples.

    Returns:
        'difference', 'interval' and 'significant', see `compare`.
    """
    first, second = values
    difference = None if first is None or second is None else second - first
    bounds = None
    if difference is not None and draws is not None:
        bounds = interval(draws[1] - draws[0])
    return {
        'difference': difference,
        'interval': bounds,
        'significant': None if bounds is None else not bounds[0] <= 0 <= bounds[1],
    }


def _difference(figure: Figure, scores: Sequence[Scores], draws: Sequence[Scores] | None) -> dict:
    """The figure of the second results minus that of the first."""
    drawn = None
    if draws and all(c in d for d in draws for c in figure.cells):
        drawn = [figure.formula(d) for d in draws]
    return paired([figure.evaluate(s)['value'] for s in scores], drawn)


OVERALL = ('clean', 'mean', 'retention')  # figures for scores other than the main one


def _other_differences(
    results: Sequence[Mapping],
    alike: Sequence[PerImage],
    figures: Mapping[str, Figure],
) -> dict[str, dict[str, Any]]:
    """Differences of the other scores that both results sum up."""
    found = {}
    for score in results[0].get('other_summaries', ()):
        if score not in results[1].get('other_summaries', ()):
            continue
        scores = [_scores(r, score) for r in results]
        draws = [p.others[score] for p in alike if score in p.others]
        for name in OVERALL:
            both = draws if len(draws) == 2 else None
            found[f'{name}_{score}'] = _difference(figures[name], scores, both)
    return found


def _calibration_differences(
    first: str | os.PathLike,
    second: str | os.PathLike,
    results: Sequence[Mapping],
    figures: Mapping[str, Figure],
) -> dict[str, dict[str, Any]]:
    """Differences of calibration, where both have it."""
    both = [(r.get('calibration') or {}).get('summary') or {} for r in results]
    variants = [variant for variant in both[0] if variant in both[1]]
    if not variants:
        return {}
    draws = [per_image.resampled() for per_image in _alike(first, second, CALIBRATION)]
    found = {}
    for v, variant in enumerate(variants):
        for m, measure in enumerate(MEASURES):
            scores = [_calibration_scores(r, variant, measure) for r in results]
            drawn = draws and [{c: d[:, v, m] for c, d in per_cell.items()} for per_cell in draws]
            for name in ('clean', 'mean'):
                key = f'{name}_{measure}' + ('' if variant == 'plain' else f'_{variant}')
                found[key] = _difference(figures[name], scores, drawn)
    return found


def _calibration_scores(results: Mapping, variant: str, measure: str) -> dict[Cell, float | None]:
    return {
        Cell(c['corruption'], c['severity']): c['calibration'][variant][measure]['value']
        for c in results['cells']
        if c.get('calibration')
    }


def _figures(results: Mapping) -> dict[str, Figure]:
    """The figures that a results.json can have, clean included."""
    stored = results['benchmark']
    benchmark = Benchmark(
        name=stored['name'],
        severities={name: tuple(s) for name, s in stored['severities'].items()},
        hold_outs=(),
        groups={group: tuple(names) for group, names in stored['groups'].items()},
        source=stored['source'],
    )
    hold_outs = {
        name: tuple(c['severity'] for c in results['cells'] if c['corruption'] == name)
        for name in stored['hold_outs']
    }
    scope = Scope(benchmark, hold_outs)
    heads = headline_figures(scope, results['task'], len(results['dataset']['classes']))
    # Corruption errors are defined for one score only.
    heads = {name: figure for name, figure in heads.items() if name in results['summary']}
    return {'clean': CLEAN_FIGURE, **heads}


def _scores(results: Mapping, name: str) -> dict[Cell, float | None]:
    return {
        Cell(c['corruption'], c['severity']): c['metrics'].get(name)
        for c in results['cells']
        if c['status'] == 'done'
    }


def _alike(
    first: str | os.PathLike, second: str | os.PathLike, name: str = PER_IMAGE
) -> list[PerImage]:
    """Statistics of both results, for paired draws; none if their images differ."""
    one, other = (read_per_image(path, name) for path in (first, second))
    if one is None or other is None or not np.array_equal(one.keys, other.keys):
        return []
    return [one, other]
