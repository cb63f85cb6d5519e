"""Data loaders of third-party configs: settings that leave images out, never end, or hang."""

import os
from collections.abc import Iterator
from typing import Any

from fan_mm.config_parts import datasets_of, steps_of, type_name
from fan_mm.errors import InputError

_SHARED_MEMORY = '/dev/shm'
ENDLESS = ('InfiniteSampler', 'MultiSourceSampler', 'GroupMultiSourceSampler')
_REPEATING = (
    *('RepeatAugSampler', 'ClassAwareSampler'),
    *('RepeatDataset', 'ClassBalancedDataset'),  # wrappers
)


def check_loader(name: str, loader: dict) -> list[str]:
    """Check what a data loader's config says.

    Returns:
        Lines for the log.

    Raises:
        InputError: a number is invalid, or an evaluation would never end.
    """
    _check_number(name, loader, 'num_workers', 0)
    if not loader.get('batch_sampler') or 'batch_size' in loader:
        _check_number(name, loader, 'batch_size', 1)
    notes = []
    sampler = loader.get('sampler')
    if name == 'train_dataloader' and isinstance(sampler, dict) and sampler.get('shuffle') is False:
        notes.append(
            f'{name}.sampler: shuffle=False: each epoch has the same batches, in the order of the files'
        )
    if name != 'train_dataloader':
        if (kind := type_name(sampler)) in ENDLESS:
            raise InputError(
                f'{name}.sampler: {kind} never ends: an evaluation needs '
                "dict(type='DefaultSampler', shuffle=False)"
            )
        parts = [(f'{name}.sampler', sampler)]
        for place, part in [*parts, *wrappers(f'{name}.dataset', loader.get('dataset'))]:
            if type_name(part) in _REPEATING:
                notes.append(
                    f'{place}: {type_name(part)} draws images several times: each is counted that often'
                )
        for place, part in ((name, loader), (f'{name}.batch_sampler', loader.get('batch_sampler'))):
            if isinstance(part, dict) and part.get('drop_last') and loader.get('batch_size') != 1:
                notes.append(
                    f'{place}.drop_last: the images of the last, smaller batch are left out'
                )
        if batches := loader.get('num_batch_per_epoch'):
            notes.append(
                f'{name}.num_batch_per_epoch: no more than {batches} batches are evaluated'
            )
        for place, dataset in datasets_of(f'{name}.dataset', loader.get('dataset')):
            if dataset.get('filter_cfg') and not dataset.get('test_mode'):
                notes.append(
                    f'{place}.filter_cfg: images are left out if the dataset filters them; test_mode=True '
                    'keeps all'
                )
    return notes


def wrappers(place: str, dataset: Any) -> Iterator[tuple[str, dict]]:
    """The configs of the wrappers around datasets, each with its place in the config."""
    if isinstance(dataset, dict) and ('dataset' in dataset or 'datasets' in dataset):
        yield place, dataset
        yield from wrappers(f'{place}.dataset', dataset.get('dataset'))
        for index, inner in enumerate(dataset.get('datasets') or ()):
            yield from wrappers(f'{place}.datasets.{index}', inner)


def several_versions(name: str, loader: dict) -> list[str]:
    """A line for the log if a pipeline makes several versions of an image, for a model that takes one."""
    for place, dataset in datasets_of(f'{name}.dataset', loader.get('dataset')):
        if any(type_name(step) == 'TestTimeAug' for step in steps_of(dataset.get('pipeline'))):
            return [
                f'{place}.pipeline: TestTimeAug creates several versions of each image, which only a '
                'tta_model merges: use test.py --tta, and a pipeline without it here'
            ]
    return []


def check_shared_memory(name: str, loader: dict) -> list[str]:
    """Compare the shared memory with the size of the batches that workers pass on, roughly.

    If it is full, workers die with a bus error or hang.

    Returns:
        A line for the log if it is too small.
    """
    workers = loader.get('num_workers', 0)
    if not workers or not os.path.isdir(_SHARED_MEMORY):
        return []
    disk = os.statvfs(_SHARED_MEMORY)
    there = disk.f_blocks * disk.f_frsize
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))  # of this machine, set by torchrun
    batches = workers * (loader.get('prefetch_factor') or 2) * processes
    needed = batches * (loader.get('batch_size') or 1) * _bytes_of_sample(name, loader)
    if needed <= there:
        return []
    return [
        f'{name}: {batches} batches ahead take up to {needed >> 20} MB of shared memory, but '
        f'{_SHARED_MEMORY} has {there >> 20} MB, and a loader may hang: num_workers=0, or docker run '
        '--shm-size'
    ]


def _check_number(name: str, loader: dict, key: str, least: int) -> None:
    value = loader.get(key, least)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f'{name}.{key} must be a whole number of at least {least}, not {value!r}')


def _bytes_of_sample(name: str, loader: dict) -> int:
    """Three bytes for each pixel of the largest size that a pipeline names, of 224x224 without one."""
    sizes = [(224, 224)]
    for _, dataset in datasets_of(name, loader.get('dataset')):
        for step in steps_of(dataset.get('pipeline')):
            if isinstance(step, dict):
                sizes += [_pair(step[key]) for key in ('scale', 'crop_size', 'size') if key in step]
    return 3 * max(height * width for height, width in sizes)


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(s, int) for s in size):
        return size[0], size[1]
    return 0, 0
