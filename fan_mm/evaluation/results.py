"""``results.json`` and ``per_image.npz``: what a sweep leaves behind for reports and comparisons.

docs/results_schema.md describes both files.
"""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fan_mm import __version__
from fan_mm.errors import InputError
from fan_mm.evaluation import gallery
from fan_mm.evaluation.bootstrap import LEVEL, RESAMPLES, PerImage
from fan_mm.evaluation.cells import DAMAGED, Cell, CellRecord
from fan_mm.evaluation.scope import Scope
from fan_mm.evaluation.summary import summarize
from fan_mm.fileio import whole_file, write_whole

SCHEMA = 'fan_mm.robustness/1'
RESULTS = 'results.json'
PER_IMAGE = 'per_image.npz'

_LIBRARIES = ['fan_mm', 'torch', 'mmengine', 'mmcv', 'mmseg', 'mmdet', 'mmpretrain', 'numpy', 'cv2']


def build_results(
    *,
    scope: Scope,
    records: Sequence[CellRecord],
    task: str,
    headline: str,
    model: dict[str, Any],
    dataset: dict[str, Any],
    protocol: dict[str, Any],
    per_image: PerImage | None,
    unit: str | None = '%',
    summarized: Sequence[str] | None = None,
    audit: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that results.json holds.

    Args:
        scope: what was to be evaluated.
        records: of every cell of the scope, missing ones too.
        task: 'segmentation', 'detection' or 'classification'.
        headline: name of the score that the means are of.
        model: 'name', 'config', 'checkpoint', 'checkpoint_sha256', 'config_sha256'.
        dataset: 'type', 'samples', 'total', 'classes', 'palette', 'sha256'.
        protocol: 'seed', 'channel_order', 'corruption_version', 'corrupted_root',
            'corrupted_images'.
        per_image: statistics for intervals, where the metric has them.
        unit: of the headline; None where its metric is not known.
        summarized: other scores that get a summary; None for all in detection, none otherwise.
        audit: see `fan_mm.evaluation.audit.audit`.
    """
    benchmark = scope.benchmark

    def scores(name: str) -> dict:
        return {r.cell: r.metrics.get(name) for r in records if r.status == 'done'}

    others = list(dict.fromkeys(n for r in records for n in r.metrics if n != headline))
    if summarized is None:
        # masks, and objects by size: numbers that papers quote beside the box mAP
        summarized = others if task == 'detection' else []
    # corruption errors are those of top-1 accuracy
    classes = len(dataset['classes']) if headline == 'top1' or task != 'classification' else 0
    draws = per_image.resampled() if per_image is not None else None
    return {
        'schema': SCHEMA,
        'fan_mm': __version__,
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'task': task,
        'benchmark': {
            'name': benchmark.name,
            'severities': {name: list(s) for name, s in benchmark.severities.items()},
            'hold_outs': list(scope.hold_outs),
            'groups': {group: list(names) for group, names in benchmark.groups.items()},
            'source': benchmark.source,
        },
        'metric': {
            'name': headline,
            'unit': unit,
            'higher_is_better': True,
            'others': others,
        },
        'model': model,
        'dataset': dataset,
        **protocol,
        'environment': environment(),
        'cells': [_public(record) for record in records],
        'summary': summarize(scope, scores(headline), task, classes, draws),
        'other_summaries': {n: summarize(scope, scores(n), task, classes) for n in summarized},
        'bootstrap': None if draws is None else {'resamples': RESAMPLES, 'level': LEVEL},
        'gallery': gallery.entries(records),
        'audit': audit,
    }


def _public(record: CellRecord) -> dict[str, Any]:
    cell = asdict(record)
    del cell['images'], cell['evidence']  # in 'gallery', and for 'audit'
    return cell


def environment() -> dict[str, str]:
    """Versions of what is loaded and has a say in the numbers, and the machine."""
    versions = {
        name: str(sys.modules[name].__version__) for name in _LIBRARIES if name in sys.modules
    }
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {'python': platform.python_version(), **versions, 'device': device}


def write_results(folder: str | os.PathLike, results: dict, per_image: PerImage | None) -> Path:
    """Write results.json, and per_image.npz where there are statistics; returns the former's path."""
    folder = Path(folder)
    if per_image is None:
        (folder / PER_IMAGE).unlink(missing_ok=True)
    else:
        cells = {f'{name}/{severity}': s for (name, severity), s in per_image.cells.items()}
        with whole_file(folder / PER_IMAGE) as aside:
            np.savez_compressed(aside, kind=per_image.kind, keys=per_image.keys, **cells)
    path = folder / RESULTS
    write_whole(path, json.dumps(results, indent=1, allow_nan=False) + '\n')
    return path


def read_results(path: str | os.PathLike) -> dict[str, Any]:
    """Read a results.json.

    Args:
        path: the file, or the folder that holds it.

    Raises:
        InputError: there is none, or it is not one of this schema.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    try:
        results = json.loads(path.read_text())
    except OSError as error:
        below = path.parent / 'robustness'  # where tools/test_corruption.py writes by default
        hint = f'; did you mean {below}?' if (below / RESULTS).is_file() else ''
        raise InputError(f'cannot read {path}: {error.strerror}{hint}') from None
    except ValueError:
        raise InputError(f'{path} is not JSON') from None
    schema = results.get('schema') if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise InputError(f'{path} has the schema {schema!r}, this version reads {SCHEMA!r}')
    return results


def read_per_image(path: str | os.PathLike) -> PerImage | None:
    """Read the statistics per image beside a results.json; None if there are none.

    Args:
        path: results.json, or the folder that holds it.

    Raises:
        InputError: their file is damaged.
    """
    path = Path(path)
    path = (path if path.is_dir() else path.parent) / PER_IMAGE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            cells = {}
            for name in file.files:
                if name not in ('kind', 'keys'):
                    corruption, _, severity = name.rpartition('/')
                    cells[Cell(corruption, int(severity))] = file[name]
            return PerImage(str(file['kind']), file['keys'], cells)
    except DAMAGED:
        raise InputError(f'{path} is damaged: the command of its sweep writes it anew') from None
