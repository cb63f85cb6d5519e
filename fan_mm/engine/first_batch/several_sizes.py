"""The batch of an evaluation in which images of several sizes meet: what many models and loaders refuse."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

from fan_mm.engine.checks.files import evenly
from fan_mm.images import read_header

_LOOKED_AT = 200  # images, evenly spaced; those between two of the same size are assumed equal


def mixed_batch(dataset: Any, order: Sequence[Any], batch_size: int) -> Sequence[Any]:
    """A batch of images of several sizes, by their headers; empty if none is found.

    Between two images of different sizes there are neighbours that differ; bisection finds them, so that few
    headers are read even if images are sorted by size.
    """
    size_at = functools.cache(lambda place: _size_of(dataset, order[place]))
    looked_at = [*evenly(range(len(order)), _LOOKED_AT), len(order) - 1] if batch_size > 1 else []
    for left, right in itertools.pairwise(looked_at):
        if size_at(left) != size_at(right):
            while right - left > 1:
                middle = (left + right) // 2
                left, right = (
                    (left, middle) if size_at(middle) != size_at(left) else (middle, right)
                )
            if right % batch_size:  # both are in the same batch
                start = left - left % batch_size
                return order[start : start + batch_size]
    return []


def _size_of(dataset: Any, index: Any) -> tuple[int, int] | None:
    try:
        header = read_header(dataset.get_data_info(index)['img_path'])
    except Exception:  # a custom dataset, whose samples may be anything
        return None
    return header.size if header else None
