"""What was seen of a cell, for the audit: on one rank, and merged over the ranks for its record."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IGNORED = -1  # instead of the label that does not count


@dataclass
class Seen:
    """What one rank saw of a cell.

    Attributes:
        pictures: position of a sample -> checksum of the image that the model got.
        scores: likewise, of its scores.
        blank: images of one colour.
        empty: whether no detection was among the scores.
        waited: seconds for the loader.
        predicted: class -> how often it was predicted where there is a label.
        pairs: (label or `IGNORED`, predicted class) -> how often; in the clean cell.
        model: what was seen of the model (`fan_mm.evaluation.audit.model_watch`).
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
        parts: of the ranks, in any order.
        classes: number of classes; None where it is not known.

    Returns:
        What can be told: 'pictures' and 'scores', checksums over all samples, and 'contents', that of the
        images in any order; 'distinct' and
        'blank', images that differ and that have one colour; 'waited', seconds; 'most', the class
        that is predicted most, how often, and out of how many. Of the clean cell besides 'truth' and
        'predicted', counts per class; 'taken_for', per class which one is predicted most often for
        it, and how often; 'outside', [value, count] of labels that are no class; 'unknown', the number
        of predictions that are none; 'ignored' and
        'labels', the number of ignored ones and of all. Nothing if one rank saw nothing.
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
