"""Real adverse conditions as results.json and per_image.npz, like those of a sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from fan_mm.evaluation.audit import joined
from fan_mm.evaluation.bootstrap import INTERVALS, RESAMPLED
from fan_mm.evaluation.results import SHIFTS, environment, heading
from fan_mm.evaluation.shifts.measured import Measured, arrays_of, scenes_of
from fan_mm.evaluation.shifts.pooling import CLEAN_COLUMN, Pooled, PooledAP, ShiftCell, pool
from fan_mm.evaluation.shifts.scores import SetInfo, SetScores
from fan_mm.evaluation.sweeping.truth import other_overlaps


def join(
    *,
    measured: Sequence[Measured],
    sets: Mapping[str, SetInfo],
    task: str,
    headline: str,
    model: Mapping[str, Any],
    dataset: Mapping[str, Any],
    protocol: Mapping[str, Any],
    pooled: Pooled | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray] | None]:
    """The content of results.json and per_image.npz.

    Args:
        measured: every condition of every set, preceded by the clean column if it was requested.
        sets: name -> set, in order.
        task: 'segmentation' or 'detection'.
        headline: name of the main score.
        model: as for `fan_mm.evaluation.results.build_results`.
        dataset: 'type' of the clean column, 'classes', 'palette'.
        protocol: further entries, such as 'max_samples'.
        pooled: the images of all measured cells; created if None.

    Returns:
        The content of results.json, and the arrays of per_image.npz, or None without statistics.
    """
    if pooled is None:
        statistics = {m.cell: m.statistics for m in measured if m.statistics is not None}
        pooled = pool(statistics, scenes_of(m for m in measured if m.cell in statistics))
    clean = next((m for m in measured if m.cell == CLEAN_COLUMN), None)
    others = list(dict.fromkeys(n for m in measured for n in m.record.metrics if n != headline))
    scores_of = partial(_scores, measured, sets, headline, dataset['classes'])
    found = scores_of(headline, pooled)
    entries = {name: scores.results() for name, scores in found.items()}
    draws = _draws(found, pooled)
    whole = [m for m in measured if m.cell in pooled]
    if isinstance(pooled, PooledAP):
        arrays = arrays_of(RESAMPLED, whole, draws)
        for metric in others:
            pictures = pooled.of(metric)
            found = scores_of(metric, pictures)
            for name, scores in found.items():
                entries[name].setdefault('others', {})[metric] = scores.numbers()
            if arrays:
                drawn = _draws(found, pictures)
                arrays |= {f'{metric}/{"/".join(cell)}': array for cell, array in drawn.items()}
    else:
        arrays = arrays_of('iou', whole, pooled.statistics)
    results = {
        **heading(SHIFTS),
        'protocol': ', '.join(f'{info.title} {info.split}' for info in sets.values()),
        'task': task,
        'metric': {'name': headline, 'unit': '%', 'higher_is_better': True, 'others': others},
        'model': dict(model),
        'dataset': {
            **dataset,
            'samples': None if clean is None else clean.record.samples,
            'total': None if clean is None else clean.total,
            'sha256': None if clean is None else clean.sha256,
        },
        **protocol,
        'environment': environment(),
        'cells': [_public(m) for m in measured],
        'sets': entries,
        'bootstrap': dict(INTERVALS) if draws else None,
        'audit': joined(
            {str(m.cell): m.audit for m in measured if m.audit},
            str(CLEAN_COLUMN),
            {str(m.cell): m.record for m in measured if m.record.status == 'done'},
        ),
        'gallery': _gallery(measured),
    }
    return results, arrays


def _scores(
    measured: Sequence[Measured],
    sets: Mapping[str, SetInfo],
    headline: str,
    classes: Sequence[str],
    metric: str,
    pictures: Pooled,
) -> dict[str, SetScores]:
    """A score of every set."""
    clean = next((m for m in measured if m.cell == CLEAN_COLUMN), None)
    # The formula of effective robustness is for COCO's mAP.
    usual = not any(other_overlaps(m.settings) for m in measured)
    return {
        name: SetScores(
            info if metric == headline and usual else replace(info, effective=False),
            [m for m in measured if m.cell.set == name],
            *(clean, metric, classes, pictures),
        )
        for name, info in sets.items()
    }


def _gallery(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    return [
        {
            'key': image['key'],
            **m.cell._asdict(),
            'images': {name: path for name, path in image.items() if name != 'key'},
        }
        for m in measured
        for image in m.record.images
    ]


def _draws(found: Mapping[str, SetScores], pooled: Pooled) -> dict[ShiftCell, np.ndarray]:
    """Resampled scores ``(R,)`` of the clean column and of all sets."""
    draws = {}
    for scores in found.values():
        if CLEAN_COLUMN in pooled:
            draws[CLEAN_COLUMN] = pooled.drawn([CLEAN_COLUMN], range(len(scores.classes)))
        draws |= scores.draws()
    return draws


def _public(measured: Measured) -> dict[str, Any]:
    """A cell of results.json."""
    cell = asdict(measured.record)
    # The last two are in 'gallery' and 'audit'.
    for name in ('corruption', 'severity', 'images', 'evidence'):
        del cell[name]
    return {**measured.cell._asdict(), **cell, 'settings': measured.settings}
