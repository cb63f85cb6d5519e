"""Rows of ``ood.json`` left by an earlier run, so that the same command continues after a stop."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fan_mm.evaluation.consistency import seal

_DIGESTS = ('config_sha256', 'checkpoint_sha256')
_SCORES = {'top1', 'top5', 'samples'}  # rows with calibration depend on what it was fitted on, too


def stored_rows(file: Path, model: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a model in a file; none if they are of another model, or the seal does not match."""
    try:
        there = json.loads(file.read_bytes())
        rows: dict[str, dict[str, Any]] = there['test_sets']
        same = all(there['model'][name] == model[name] for name in _DIGESTS)
        whole = there['seal'] == seal(rows)
    except (OSError, ValueError, KeyError, TypeError):  # none, damaged, or of an earlier version
        return {}
    return rows if same and whole else {}


def is_stored(row: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Whether a row that is to be measured has been, on the same images.

    Args:
        row: what decides its scores: 'protocol', 'size', 'weights', 'sha256' of the images.
        stored: the row of an earlier run; empty without one.
    """
    return stored.keys() == row.keys() | _SCORES and all(stored[n] == row[n] for n in row)
