"""``results.json`` and ``per_image.npz``, the files that reports and comparisons read.

docs/results_schema.md describes both files.
"""

import functools
import itertools
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import torch

from fan_mm import __version__
from fan_mm.errors import InputError
from fan_mm.evaluation import gallery
from fan_mm.evaluation.bootstrap import INTERVALS, PerImage
from fan_mm.evaluation.cells import DAMAGED, Cell, CellRecord
from fan_mm.evaluation.consistency import check_results, seal, seal_of_arrays
from fan_mm.evaluation.scope import Scope
from fan_mm.evaluation.summary import summarize
from fan_mm.fileio import whole_file, write_whole
from fan_mm.logs import warn

SCHEMA = 'fan_mm.robustness/2'
READABLE = ('fan_mm.robustness/1', SCHEMA)
CORRUPTIONS, SHIFTS = 'corruptions', 'shifts'  # kinds of results; version 1 has only the first
_KINDS = {CORRUPTIONS: 'a sweep over corruptions', SHIFTS: 'real adverse conditions'}
RESULTS = 'results.json'
PER_IMAGE = 'per_image.npz'
CALIBRATION = 'calibration.npz'  # likewise, of calibration

_PROTOCOL = 'protocol'  # key among the arrays of such a file
_SEAL = 'seal'  # key of the hashes; 'model' is not among the hashed entries: it may be renamed
_SEALED = (
    *('task', 'benchmark', 'metric', 'dataset', 'cells', 'summary', 'other_summaries', 'sets'),
    *('calibration', 'bootstrap'),
)
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
    summarized: Sequence[str] = (),
    audit: dict[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that results.json holds.

    Args:
        scope: the requested cells.
        records: records of every cell of the scope, including missing ones.
        task: 'segmentation', 'detection' or 'classification'.
        headline: name of the score that is averaged.
        model: 'name', 'config', 'checkpoint', 'checkpoint_sha256', 'config_sha256'.
        dataset: 'type', 'samples', 'total', 'classes', 'palette', 'sha256'.
        protocol: 'protocol', its name; 'seed', 'channel_order', 'corruption_version',
            'corrupted_root', 'corrupted_images', 'precision'.
        per_image: statistics for intervals, if the metric provides them.
        unit: unit of the headline; None if its metric is unknown.
        summarized: other scores that get a summary.
        audit: see `fan_mm.evaluation.audit.audit`.
        settings: settings of the metric, which must be equal for results to be compared; None if unknown.
    """
    benchmark = scope.benchmark

    def scores(name: str) -> dict:
        return {r.cell: r.metrics.get(name) for r in records if r.status == 'done'}

    others = list(dict.fromkeys(n for r in records for n in r.metrics if n != headline))
    # Corruption errors are defined for top-1 accuracy.
    classes = len(dataset['classes']) if headline == 'top1' else 0
    draws = per_image.resampled() if per_image is not None else None
    drawn = {n: dict(d) for n, d in per_image.others.items()} if per_image is not None else {}
    return {
        **heading(CORRUPTIONS),
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
            'settings': settings,
        },
        'model': model,
        'dataset': dataset,
        **protocol,
        'environment': environment(),
        'cells': [_public(record) for record in records],
        'summary': summarize(scope, scores(headline), task, classes, draws),
        'other_summaries': {
            n: summarize(scope, scores(n), task, classes, drawn.get(n)) for n in summarized
        },
        'bootstrap': bootstrap_of(per_image),
        'gallery': gallery.entries(records),
        'audit': audit,
    }


def bootstrap_of(per_image: PerImage | None) -> dict[str, Any] | None:
    """How the intervals are made, where statistics of two or more images allow some."""
    if per_image is None or len(per_image.keys) < 2:
        return None
    return dict(INTERVALS)


def heading(kind: str) -> dict[str, Any]:
    """The first entries of results.json: schema, kind, version, time."""
    return {
        'schema': SCHEMA,
        'kind': kind,
        'fan_mm': __version__,
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
    }


def protocol_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol of results, which the files beside them also carry.

    Args:
        results: content of a results.json, also of earlier versions.

    Returns:
        'name', and everything that distinguishes it from other protocols of that name.
    """
    if results.get('kind') == SHIFTS:
        sets = (f'{entry["title"]} {entry["split"]}' for entry in results['sets'].values())
        name, apart = ', '.join(sets), ['max_samples']
    else:
        name = results.get('benchmark', {}).get('name')
        apart = ['seed', 'channel_order', 'corruption_version']
    return {'name': results.get('protocol', name), **{what: results.get(what) for what in apart}}


def _public(record: CellRecord) -> dict[str, Any]:
    cell = asdict(record)
    del cell['images'], cell['evidence']  # in 'gallery', and for 'audit'
    return cell


def environment() -> dict[str, str]:
    """Versions of the libraries that affect the numbers, and the machine."""
    versions = {
        name: str(sys.modules[name].__version__) for name in _LIBRARIES if name in sys.modules
    }
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {'python': platform.python_version(), **versions, 'device': device}


def write_results(
    folder: str | os.PathLike,
    results: dict,
    per_image: PerImage | None,
    calibration: PerImage | None = None,
) -> Path:
    """Write results.json, and statistics per image where there are some; returns the former's path."""
    arrays = {PER_IMAGE: _arrays(per_image), CALIBRATION: _arrays(calibration)}
    return write_with_arrays(folder, results, arrays)


def _arrays(statistics: PerImage | None) -> Iterable[tuple[str, Any]] | None:
    if statistics is None:
        return None
    scores = {'': statistics.cells, **{f'{n}/': cells for n, cells in statistics.others.items()}}
    cells = (
        (f'{score}{name}/{severity}', s)
        for score, found in scores.items()
        for (name, severity), s in found.items()
    )
    return itertools.chain([('kind', statistics.kind), ('keys', statistics.keys)], cells)


def write_with_arrays(
    folder: str | os.PathLike,
    results: dict,
    arrays: Mapping[str, Iterable[tuple[str, Any]] | None],
) -> Path:
    """Write results.json, and beside it files of arrays where there are some; returns the former's path.

    Each file has the results' protocol among its arrays (`protocol_of`).

    Args:
        folder: folder to write to.
        results: content of results.json.
        arrays: file name, such as `PER_IMAGE` -> names and arrays, which are loaded one at a time; None for
            no such file.
    """
    folder = Path(folder)
    protocol = _PROTOCOL, json.dumps(protocol_of(results))
    for name, content in arrays.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
            continue
        with whole_file(folder / name) as aside, ZipFile(aside, 'w', ZIP_DEFLATED) as file:
            for array, values in itertools.chain(
                [protocol], content
            ):  # like np.savez_compressed, which needs all arrays at once
                with file.open(f'{array}.npy', 'w', force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(values), allow_pickle=False)
    path = folder / RESULTS
    seals = {_SEAL: _seals(results, [folder / n for n, c in arrays.items() if c is not None])}
    write_whole(path, json.dumps(results | seals, indent=1, allow_nan=False) + '\n')
    return path


def _seals(results: Mapping[str, Any], files: Iterable[Path]) -> dict[str, str | None]:
    """Hashes of the scores, and of the files of arrays, by their names."""
    scores = seal({name: results[name] for name in _SEALED if name in results})
    return {RESULTS: scores, **{file.name: seal_of_arrays(file) for file in files}}


def read_results(path: str | os.PathLike, kind: str | None = None) -> dict[str, Any]:
    """Read a results.json; one of version 1 gets the 'kind' that it lacks.

    For a file that was edited after it was written, a warning is given and 'doubt' is set to a line with the
    reason, which reports and comparisons show.

    Args:
        path: the file, or the folder that contains it.
        kind: `CORRUPTIONS` or `SHIFTS`; None for either.

    Raises:
        InputError: the file is missing, incomplete, of another schema or of the other kind.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    try:
        results = json.loads(path.read_bytes())  # bytes are decoded as UTF-8 in every locale
    except OSError as error:
        below = path.parent / 'robustness'  # where tools/test_corruption.py writes by default
        hint = f'; did you mean {below}?' if (below / RESULTS).is_file() else ''
        raise InputError(f'cannot read {path}: {error.strerror}{hint}') from None
    except ValueError:
        raise InputError(f'{path} is not JSON') from None
    schema = results.get('schema') if isinstance(results, dict) else None
    if schema not in READABLE:
        known = ' and '.join(map(repr, READABLE))
        raise InputError(f'{path} has the schema {schema!r}, this version reads {known}')
    results.setdefault('kind', CORRUPTIONS)
    if kind not in (None, results['kind']):
        raise InputError(
            f'{path} holds results on {_KINDS.get(results["kind"], results["kind"])}, but results on '
            f'{_KINDS[kind]} are needed'
        )
    doubt = check_results(results, path, 'sets' if results['kind'] == SHIFTS else 'summary')
    broken = _broken_seal(path, results, results.pop(_SEAL, None))
    if doubt := doubt or broken:
        _warn_once(doubt)
        results['doubt'] = doubt
    return results


def _broken_seal(path: Path, results: Mapping[str, Any], sealed: Any) -> str | None:
    """A line that names the file that was changed after it was written; None for results of earlier versions."""
    if not isinstance(sealed, dict):
        return None
    files = [path.parent / name for name in sealed if name != RESULTS]
    found = _seals(results, [file for file in files if file.is_file()])
    changed = [path.parent / name for name, digest in found.items() if digest != sealed.get(name)]
    if not changed:
        return None
    own = changed[0].name == RESULTS
    return (
        f'{path if own else changed[0]} was edited or replaced since it was written'
        f'{"" if own else f" with {path}"}: the command of its evaluation writes it again'
    )


_warn_once = functools.lru_cache(maxsize=64)(warn)  # files may be read several times


def read_per_image(path: str | os.PathLike, name: str = PER_IMAGE) -> PerImage | None:
    """Read the per-image statistics next to a results.json of a sweep; None if there are none.

    Args:
        path: results.json, or the folder that contains it.
        name: name of the file: `PER_IMAGE`, or `CALIBRATION`.

    Raises:
        InputError: the file is damaged.
    """
    arrays = read_arrays(path, name)
    if arrays is None:
        return None
    try:
        kind, keys = str(arrays.pop('kind')), arrays.pop('keys')
        scores: dict[str, dict[Cell, np.ndarray]] = {'': {}}
        for array, statistics in arrays.items():
            *score, corruption, severity = array.split('/')
            cells = scores.setdefault('/'.join(score), {})
            cells[Cell(corruption, int(severity))] = statistics
        return PerImage(kind, keys, scores.pop(''), scores)
    except DAMAGED:
        raise InputError(_damaged(path, name)) from None


def read_arrays(path: str | os.PathLike, name: str = PER_IMAGE) -> dict[str, np.ndarray] | None:
    """Read the arrays beside a results.json as they are, but for their protocol; None if there are none.

    Args:
        path: results.json, or the folder that contains it.
        name: name of the file with the arrays.

    Raises:
        InputError: it is damaged, or of another protocol than the results.
    """
    file = _arrays_of(path, name)
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        protocol = json.loads(str(arrays.pop(_PROTOCOL, 'null')))  # absent in earlier versions
    except DAMAGED:
        raise InputError(_damaged(path, name)) from None
    results = file.with_name(RESULTS) if Path(path).is_dir() else Path(path)
    if protocol is not None and results.is_file():
        _check_protocol(file, protocol, protocol_of(read_results(results)))
    return arrays


def _check_protocol(file: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse arrays that do not belong to the results beside them."""
    names = [name for name in {**there, **wanted} if there.get(name) != wanted.get(name)]
    if names:
        differs = '; '.join(f'{n} {there.get(n)} instead of {wanted.get(n)}' for n in names)
        raise InputError(
            f'{file} belongs to another protocol than the results next to it ({differs}): the command of its '
            'sweep writes both again'
        )


def _arrays_of(path: str | os.PathLike, name: str) -> Path:
    path = Path(path)
    return (path if path.is_dir() else path.parent) / name


def _damaged(path: str | os.PathLike, name: str) -> str:
    return f'{_arrays_of(path, name)} is damaged: the command of its sweep writes it again'
