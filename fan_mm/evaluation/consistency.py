"""Checks that a results.json is complete, unedited and consistent.

A results.json contains both the cells and the means over them, which must agree. Files are also written with a
hash of their scores and of the arrays in the file next to them.
"""

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from fan_mm.errors import InputError

_NEEDED = {'task': str, 'metric': dict, 'model': dict, 'dataset': dict, 'cells': list}
# Per cent. mmseg rounds its scores to two digits, mmdet to one.
_APART = 0.02
_BOXES_APART = 0.0501


def seal(content: Mapping[str, Any]) -> str:
    """A hash of what is stored as JSON, independent of how the file is formatted: jq turns 87.0 into 87."""
    # Normalise: keys to strings, tuples to lists, all numbers to floats, -0.0 to 0.0.
    plain = json.loads(
        json.dumps(content), parse_int=float, parse_float=lambda text: float(text) + 0.0
    )
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def seal_of_arrays(path: str | os.PathLike) -> str | None:
    """A hash of the arrays in a .npz file, by the checksums that it keeps of them; None if it is none."""
    try:
        with zipfile.ZipFile(path) as file:
            return seal({i.filename: [i.CRC, i.file_size] for i in file.infolist()})
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None


def check_results(results: Mapping[str, Any], path: object, summary: str) -> str | None:
    """Check the content of a results.json.

    Args:
        results: the content of the file.
        path: path of the file, for error messages.
        summary: the entry with the means: 'summary' for a sweep, 'sets' for real conditions.

    Returns:
        One line about the mean that does not agree with its cells; None if all do.

    Raises:
        InputError: an entry is missing, or no number.
    """
    for name, kind in {**_NEEDED, summary: dict}.items():
        if not isinstance(results.get(name), kind):
            raise InputError(
                f'{path} lacks a valid {name!r}: it was edited, or written by another program'
            )
    try:
        pairs = _sweep(results) if summary == 'summary' else _shifts(results)
        means = {what: (finite(stated), computed) for what, (stated, computed) in pairs}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{path} was edited, or written by another program: {type(error).__name__}: {error}'
        ) from None
    apart = _BOXES_APART if results['task'] == 'detection' else _APART
    for what, (stated, computed) in means.items():
        if stated is not None and (computed is None or abs(stated - computed) > apart):
            by_cells = 'unknown' if computed is None else f'{computed:.2f}'
            return (
                f'{path} is inconsistent and was edited: {what} is {stated:.2f} in its {summary}, '
                f'{by_cells} by its cells'
            )
    return None


def finite(value: Any) -> float | None:
    """A score as it is stored; None where it is undefined.

    Raises:
        TypeError: it is not a number.
    """
    return value if value is not None and math.isfinite(value) else None


def _values(results: Mapping[str, Any], *key: str) -> dict[tuple, float | None]:
    """The score of each cell that is done; None where it is undefined."""
    name, found = results['metric']['name'], {}
    for cell in results['cells']:
        value = cell['metrics'].get(name) if cell['status'] == 'done' else None
        found[tuple(cell[part] for part in key)] = finite(value)
    return found


def _mean(values: list[float | None]) -> float | None:
    """None where one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _sweep(results: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The values in a sweep's summary, and those that follow from its cells."""
    cells, summary = _values(results, 'corruption', 'severity'), results['summary']
    yield 'clean', (summary['clean'], cells.get(('clean', 0)))
    severities = results['benchmark']['severities']
    means = {c: _mean([cells.get((c, s)) for s in levels]) for c, levels in severities.items()}
    for name, computed in means.items():
        yield name, (summary['corruptions'].get(name, {}).get('mean'), computed)
    yield 'mean', (summary['mean']['value'], _mean(list(means.values())))


def _shifts(results: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The scores of conditions in the sets, and in the cells, where both are over all classes."""
    cells = _values(results, 'set', 'condition')
    for name, entry in results['sets'].items():
        if len(entry['scored']) == len(results['dataset']['classes']):
            for condition, found in entry['conditions'].items():
                yield f'{name} {condition}', (found['score']['value'], cells.get((name, condition)))
