"""The batch of an evaluation in which images of several sizes meet: what many models and loaders refuse."""

import functools
from collections.abc import Sequence
from typing import Any

from fan_mm.engine.checks.files import evenly
from fan_mm.images import read_header

_LOOKED_AT = 200  # images, evenly spaced: if all have one size, all are taken to


def mixed_batch(dataset: Any, order: Sequence[Any], batch_size: int) -> Sequence[Any]:
    """The first batch of images of several sizes, by their headers; empty if there is none.

    Args:
        dataset: with the ``get_data_info`` of mmengine's.
        order: in which its samples are taken.
        batch_size: number of samples.
    """
    size_of = functools.cache(functools.partial(_size_of, dataset))
    if batch_size < 2 or len(set(map(size_of, evenly(order, _LOOKED_AT)))) < 2:
        return []
    batches = (order[start : start + batch_size] for start in range(0, len(order), batch_size))
    return next((batch for batch in batches if len(set(map(size_of, batch))) > 1), [])


def _size_of(dataset: Any, index: Any) -> tuple[int, int] | None:
    try:
        header = read_header(dataset.get_data_info(index)['img_path'])
    except Exception:  # an own dataset, whose samples may be anything
        return None
    return header.size if header else None
