"""From the stored cells of a sweep to its results: scores, statistics per image, audit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import Evaluator

from fan_mm.corruptions import image_key
from fan_mm.evaluation import identity
from fan_mm.evaluation.audit import Facts, audit
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.calibration.of_sweep import SweepCalibration
from fan_mm.evaluation.cells import CLEAN, CellStore
from fan_mm.evaluation.results import build_results
from fan_mm.evaluation.scope import Scope
from fan_mm.evaluation.scores import KnownMetric, headline_of, how_to_read, like, lower_is_better


def results_of(
    store: CellStore,
    *,
    scope: Scope,
    evaluator: Evaluator,
    calibration: SweepCalibration | None,
    paths: Sequence[str],
    model: dict[str, Any],
    dataset: dict[str, Any],
    protocol: dict[str, Any],
    colours: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
) -> tuple[dict[str, Any], PerImage | None, PerImage | None]:
    """The content of results.json, per_image.npz and calibration.npz.

    See `build_results` for the arguments; ``paths`` are those of the N clean images, ``colours`` is for the audit.

    Raises:
        InputError: statistics of a cell are damaged.
    """
    how = how_to_read(evaluator)
    records = [store.get(cell) for cell in scope.cells]
    names = list(dict.fromkeys(name for record in records for name in record.metrics))
    # default name of the score if no cell has one
    headline = headline_of(evaluator, names) or next(iter(how.headlines), 'score')
    done = [record.cell for record in records if record.status == 'done']
    keys = np.array([image_key(path) for path in paths])
    statistics = store.all_statistics(done)
    per_image = None
    if statistics and how.statistics:
        drawn = {name: store.all_statistics(done, f'draws/{name}') for name in names}
        others = {name: cells for name, cells in drawn.items() if cells}
        per_image = PerImage(how.statistics, keys, statistics, others)
    facts = Facts(
        records,
        how.task,
        headline,
        dataset['classes'],
        per_image=per_image,
        copies=_copies(paths, protocol['corrupted_images']),
        colours=colours,
    )
    results = build_results(
        scope=scope,
        records=records,
        task=how.task,
        headline=headline,
        unit=None if how.scale is None else '%',
        summarized=_summarized(how, headline, names),
        model=model,
        dataset=dataset,
        protocol=protocol,
        per_image=per_image,
        audit=audit(facts),
        settings=settings,
    )
    if calibration is None:
        return results, per_image, None
    sums = store.all_statistics(done, 'calibration')
    return results, per_image, calibration.into(results, scope, keys, sums)


def _copies(paths: Sequence[str], corrupted: Mapping[str, str] | None) -> dict[str, str]:
    """Fingerprints of the corrupted files of all cells, and of the clean ones."""
    if corrupted is None:
        return {}
    return {str(CLEAN): identity.contents_of([Path(path) for path in paths]), **corrupted}


def _summarized(how: KnownMetric, headline: str, names: Sequence[str]) -> list[str]:
    """The other scores that get a summary: the same of other datasets; in detection, like papers, all.

    These are scores of masks, and of objects by size.
    """
    if how.task != 'detection':
        return like(headline, names)
    return [n for n in names if n != headline and not lower_is_better(n)]
