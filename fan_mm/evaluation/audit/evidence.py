"""Observations of a cell for the audit: of one rank, and merged over the ranks for its record."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IGNORED = -1  # stands for the ignored label


@dataclass
class Seen:
    """Observations of one rank in a cell.

    Attributes:
        pictures: position of a sample -> checksum of the model's input image.
        scores: position of a sample -> checksum of its predicted scores.
        blank: number of images of a single colour.
        empty: whether there was no detection in any image.
        waited: seconds spent waiting for the loader.
        predicted: class -> number of predictions where there is a label.
        pairs: (label or `IGNORED`, predicted class) -> count; in the clean cell only.
        model: observations of the model (`fan_mm.evaluation.audit.model_watch`).
    """

    pictures: dict[int, int] = field(default_factory=dict)
    scores: dict[int, int] = field(default_factory=dict)
    blank: int = 0
    empty: bool = True
    waited: float = 0.0
    predicted: Counter = field(default_factory=Counter)
    pairs: Counter = field(default_factory=Counter)
    model: dict[str, list[str]] = field(default_factory=dict)


def merged(parts: Sequence[Seen | None], classes: int | None) -> dict[str, Any]:
    """Merge what all ranks saw of a cell, for its record.

    Args:
        parts: observations of the ranks, in any order.
        classes: number of classes; None if unknown.

    Returns:
        A dict with whatever is known: 'pictures' and 'scores', checksums over all samples; 'contents',
        checksum of the images in any order; 'distinct' and 'blank', numbers of distinct images and of
        images of a single colour; 'waited', seconds; 'most', the class predicted most often, its count
        and the total. For the clean cell also: 'truth' and 'predicted', counts per class; 'taken_for',
        for each class the one predicted most often for it, and how often; 'outside', [value, count] of
        labels that are not classes; 'unknown', the number of predictions that are not classes;
        'ignored' and 'labels', the numbers of ignored labels and of all labels. Empty if a rank has no
        observations.
    """
    seen = [part for part in parts if part is not None]
    if not parts or len(seen) < len(parts):
        return {}
    found: dict[str, Any] = {name: names for part in seen for name, names in part.model.items()}
    pictures = {p: c for part in seen for p, c in part.pictures.items()}
    scores = {p: c for part in seen for p, c in part.scores.items()}
    if pictures:
        found['pictures'] = _digest(pictures)
        found['contents'] = _digest(dict(enumerate(sorted(pictures.values()))))
        found['distinct'] = len(set(pictures.values()))
        found['blank'] = sum(part.blank for part in seen)
    if scores and not all(part.empty for part in seen if part.scores):
        found['scores'] = _digest(scores)
    found['waited'] = round(max(part.waited for part in seen), 3)
    pairs: Counter = sum((part.pairs for part in seen), Counter())
    predicted: Counter = sum((part.predicted for part in seen), Counter())
    for (label, guess), count in pairs.items():
        if label != IGNORED:
            predicted[guess] += count
    if predicted:
        most = max(predicted, key=lambda c: (predicted[c], -c))
        found['most'] = [most, predicted[most], sum(predicted.values())]
    return found | (_of_truth(pairs, classes) if pairs else {})


def _digest(checksums: Mapping[int, int]) -> str:
    return hashlib.sha256(repr(sorted(checksums.items())).encode()).hexdigest()[:16]


def _of_truth(pairs: Counter, classes: int | None) -> dict[str, Any]:
    classes = classes or max(max(pair) for pair in pairs) + 1
    table = np.zeros((classes, classes), np.int64)  # label, prediction
    outside: Counter = Counter()
    left_out = unknown = 0
    for (label, guess), count in pairs.items():
        if label == IGNORED:
            left_out += count
        elif not 0 <= label < classes:
            outside[label] += count
        elif 0 <= guess < classes:
            table[label, guess] += count
        else:
            unknown += count
    return {
        'truth': table.sum(1).tolist(),
        'predicted': table.sum(0).tolist(),
        'taken_for': [[int(row.argmax()), int(row.max())] for row in table],
        'outside': [list(item) for item in sorted(outside.items(), key=lambda i: (-i[1], i[0]))][
            :5
        ],
        'unknown': unknown,
        'ignored': left_out,
        'labels': sum(pairs.values()),
    }
