"""Samples loaded in this process, and in one line the one that cannot be."""

import copy
import itertools
import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from fan_mm.errors import InputError
from fan_mm.picture_files import fault

_FILES = ('img_path', 'seg_map_path')


def one_line(error: BaseException) -> str:
    """An error as one line; of a worker's error, which carries a traceback, the last line."""
    lines = [line for line in str(error).splitlines() if line.strip()] or ['']
    if lines[0].startswith('Caught '):
        return lines[-1].strip().removeprefix(f'{InputError.__module__}.InputError: ')
    if isinstance(error, InputError):
        return str(error)
    return f'{type(error).__name__}: {lines[0].strip() or _where(error)}'


def _where(error: BaseException) -> str:
    """The place and the code that raised an error without a message, such as an assertion."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ''
    return f'{Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}'


def load_samples(
    dataset: Any, indices: Sequence[int], name: str, numbers: Sequence[int] | None = None
) -> list:
    """Load samples in this process.

    Args:
        dataset: dataset of a loader.
        indices: indices of the samples.
        name: name of the loader, for error messages.
        numbers: names of samples whose file is unknown, for error messages; by default the indices.

    Raises:
        InputError: a sample cannot be loaded; the message names its file.
    """
    samples = []
    for index, number in zip(indices, numbers or indices, strict=True):
        try:
            samples.append(dataset[index])
        except InputError:
            raise
        except Exception as error:  # datasets and transforms may raise anything
            line = one_line(error)
            file = _file_of(line, dataset, index)
            if why := file and fault(file):
                raise InputError(f'{name} cannot load {file}: it {why}') from None
            raise InputError(f'{name} cannot load {file or f"sample {number}"}: {line}') from error
    return samples


def failed_sample(loader: DataLoader, batch: int) -> InputError | None:
    """The sample of a batch that cannot be loaded, or why the samples form no batch; None if unknown.

    Args:
        loader: a loader of mmengine's Runner, whose samplers return the same order again.
        batch: number of the batch in the epoch.
    """
    name = type(loader.dataset).__name__
    batches: Any = loader.batch_sampler
    try:
        sampler = copy.copy(batches.sampler)
        if hasattr(sampler, '_indices_of_rank'):  # an InfiniteSampler has already advanced
            sampler.indices = sampler._indices_of_rank()
        size = loader.batch_size or batches.batch_size
        indices = list(itertools.islice(iter(sampler), batch * size, (batch + 1) * size))
        samples = load_samples(loader.dataset, indices, name)
        try:
            loader.collate_fn(samples)
        except Exception as error:  # user functions may raise anything
            raise InputError(f'{name}: samples cannot form a batch: {one_line(error)}') from error
    except InputError as error:
        return error
    except Exception:  # a custom sampler: only the original error is known
        return None
    return None


def _file_of(line: str, dataset: Any, index: int) -> str | None:
    """The file of a sample that an error is about, if that can be told."""
    try:
        info = dataset.get_data_info(index)
        files = [str(info[key]) for key in _FILES if info.get(key)]
    except Exception:  # a custom dataset, maybe not derived from mmengine's
        return None
    named = [file for file in files if file in line]
    told = named or files
    wrong = (file for file in told if not os.path.isfile(file) or fault(file))
    return next(wrong, told[0] if told else None)
