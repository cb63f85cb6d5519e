"""How a sampler deals the samples of an evaluation to several processes: mmengine joins what they found.

It takes results from each process in turn, and drops those beyond the number of samples: the repeated samples with
which DefaultSampler pads. With any other distribution, samples are lost and others are counted twice.
"""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, get_world_size
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from fan_mm.engine.checks.loaders import ENDLESS
from fan_mm.engine.random_states import random_states_kept
from fan_mm.logs import warn


def say_dealing(name: str, loader: Any) -> None:
    """Warn how many samples an evaluation leaves out or counts twice; all processes must call it."""
    processes = get_world_size()
    if processes == 1 or not _has_places(loader):
        return
    parts = all_gather_object(_own(loader))
    lost, twice = joined_wrongly(parts, len(loader.dataset))
    if not lost and not twice:
        return
    warn(
        f'fan_mm: {name}: as {_sampler(loader)} deals the images to {processes} processes, the scores leave '
        f"out {lost} of them and count {twice} twice: use sampler=dict(type='DefaultSampler', shuffle=False) and no "
        'batch_sampler, or one process'
    )


def say_left_out(loader: Any) -> None:
    """Warn if tools/test.py would take only some of the samples; all processes must call it."""
    if not _has_places(loader):
        return
    parts = all_gather_object(_own(loader))
    if any(part is None for part in parts):
        return
    chosen, total = len(set().union(*parts)), len(loader.dataset)
    if chosen < total:
        warn(
            f'fan_mm: {_sampler(loader)} takes {chosen} of {total} images in tools/test.py; here all are taken: to '
            'evaluate some, set indices of the dataset'
        )


def _has_places(loader: Any) -> bool:
    dataset = getattr(loader, 'dataset', None)
    known = hasattr(dataset, '__len__') and not isinstance(dataset, IterableDataset)
    return isinstance(loader, DataLoader) and known


def _sampler(loader: DataLoader) -> str:
    """The name of the sampler that distributes the samples."""
    batches = loader.batch_sampler
    return type(batches.sampler if type(batches) is BatchSampler else batches).__name__


def joined_wrongly(parts: Sequence[Sequence[int] | None], total: int) -> tuple[int, int]:
    """How many samples are left out, and how many count several times, where mmengine joins results.

    Args:
        parts: indices of each process's samples, in order; None where they are unknown.
        total: samples of the dataset.
    """
    if any(part is None for part in parts):
        return 0, 0
    turns = itertools.zip_longest(*(part for part in parts if part is not None))
    joined = [index for turn in turns for index in turn if index is not None][:total]
    counts = np.bincount(joined, minlength=total) if joined else np.zeros(total, int)
    return int((counts == 0).sum()), int((counts > 1).sum())


def _own(loader: DataLoader) -> list[int] | None:
    """The indices of this process's samples; None if they are no numbers, endless, or some are dropped."""
    batches: Any = loader.batch_sampler
    if batches is None or getattr(batches, 'drop_last', False):
        return None
    kinds = [*type(batches).__mro__, *type(getattr(batches, 'sampler', None)).__mro__]
    if any(kind.__name__ in ENDLESS for kind in kinds):
        return None
    total: Any = len(loader.dataset)  # type: ignore[arg-type]
    # Custom samplers may fail, and many draw random numbers, which must not change a training.
    with suppress(Exception), random_states_kept():
        taken = itertools.islice(batches, total + 1)  # to the end, where some samplers clean up
        own = [int(index) for batch in taken for index in batch]
        return own if all(0 <= index < total for index in own) else None
    return None
