"""A cache of each image as it is before the corruption, for all cells of a sweep.

Loading an image, and for ImageNet-C resizing and cropping it, takes longer than most corruptions and has
the same result in every cell. The first process that needs a sample runs the transforms before the
corruption and stores their result in a file: arrays as raw bytes, which all loader workers and ranks of a
node memory-map, everything else pickled. The folder is created for one run, readable only by its user, and
removed at the end. Folders of killed runs are recognised by their unlocked lock file and removed by the next run.
"""

import contextlib
import hashlib
import io
import mmap
import os
import pickle
import secrets
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, broadcast_object_list, get_rank
from mmengine.logging import print_log

from fan_mm.cores import available_memory, lies_in_memory
from fan_mm.engine.random_states import random_states, random_states_kept
from fan_mm.errors import InputError
from fan_mm.evaluation.cell_dataset import CellDataset
from fan_mm.evaluation.loading.nested_transforms import flatten, names_of
from fan_mm.evaluation.loading.picture_flow import picture_in
from fan_mm.evaluation.samples import spread
from fan_mm.fileio import alone_in, is_held

AUTO, OFF = 'auto', 'off'
_NAME = 'fan_mm_images_'
_SHARED_MEMORY = '/dev/shm'
_PROBED = 8  # number of samples used to determine size and determinism
_COMFORTABLE = 0.5  # maximum share of the free space if we choose the folder
_GIVEN = 0.9  # maximum share of the free space if the user does
_LEFT = 2**30  # bytes that stay free: loader workers pass their batches in shared memory

_MAGIC = b'fan_mm1\n'
_HEAD = struct.Struct('<8sQQ')  # magic, bytes of the pickle, number of arrays
_ALIGNED = 64  # bytes


def check_image_cache(where: str | os.PathLike) -> None:
    """Refuse a place where no images can be kept.

    Raises:
        InputError: it is neither 'auto' nor 'off' nor a folder that may be written into.
    """
    if where in (AUTO, OFF):
        return
    if not Path(where).is_dir():
        raise InputError(
            f'--image-cache must be {AUTO}, {OFF} or a folder, and {where} is not a folder'
        )
    if not os.access(where, os.W_OK | os.X_OK):
        raise InputError(f'--image-cache {where}: the folder is not writable')


@contextlib.contextmanager
def kept_images(
    dataset: CellDataset, where: str | os.PathLike = AUTO, wanted: bool = True
) -> Iterator[None]:
    """Within the block, cache each image as it is before the corruption.

    With torch.distributed, all ranks must enter it together. Also removes folders of killed runs. If
    caching is impossible, the reason is logged and images are loaded as usual.

    Args:
        dataset: the sweep's dataset, whose pipelines are changed within the block.
        where: 'auto' (memory or the folder for temporary files, if there is plenty of space), 'off',
            or a folder.
        wanted: False if no image would be read twice.
    """
    _remove_left(_places(where))
    with contextlib.ExitStack() as stack:
        if wanted and where != OFF:
            outcome: list[Any] = [_plan(dataset) if get_rank() == 0 else None]
            broadcast_object_list(outcome)
            plan: _Plan = outcome[0]
            cache = _cache_of_node(plan, where, stack)
            if cache is not None:
                for number in plan.starts:
                    pipeline = dataset.pipelines[number]
                    start = KeptStart(pipeline.start(), cache, number)
                    stack.enter_context(pipeline.started_by(start))
        yield


# ------------------------------------------------------------------------------------- the files


@dataclass(frozen=True)
class ImageCache:
    """Samples in files of a folder.

    Attributes:
        folder: the cache folder of this run.
        spare: number of bytes to keep free on its file system.
    """

    folder: Path
    spare: int = 0

    def get(self, key: str) -> Any:
        """A sample, its arrays mapped from the file and free to be written on; None if it has none."""
        try:
            with open(self.folder / key, 'rb', buffering=0) as file:
                mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            return _unpacked(mapped)
        except Exception:  # missing, or damaged, for which pickle raises anything
            return None

    def put(self, key: str, parts: Sequence[bytes | memoryview]) -> None:
        """Keep a sample if there is room; processes that keep the same one at once do no harm.

        Args:
            key: key of the sample.
            parts: result of `packed`.
        """
        aside = self.folder / f'{key}.{secrets.token_hex(6)}'
        try:
            if shutil.disk_usage(self.folder).free - size_of(parts) < self.spare:
                return
            try:
                with open(aside, 'xb') as file:
                    file.writelines(parts)
                aside.replace(self.folder / key)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
        except OSError:  # disk full, or the run has ended
            return


class _Pickler(pickle.Pickler):
    """Also stores tensors as arrays, because torch's own pickles contain addresses and are not reproducible."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not torch.Tensor or value.requires_grad or value.device.type != 'cpu':
            return NotImplemented
        try:
            return torch.from_numpy, (value.numpy(),)
        except TypeError:  # bfloat16
            return NotImplemented


def packed(sample: Any) -> list[bytes | memoryview]:
    """A sample as the parts of a file: head, pickle and, each at a multiple of 64 bytes, its arrays.

    Raises:
        Exception: anything raised by objects that cannot be pickled.
    """
    arrays: list[memoryview] = []
    text = io.BytesIO()
    _Pickler(text, 5, buffer_callback=lambda array: arrays.append(array.raw())).dump(sample)
    sizes = struct.pack(f'<{len(arrays)}Q', *(array.nbytes for array in arrays))
    head = _HEAD.pack(_MAGIC, text.tell(), len(arrays))
    parts: list[bytes | memoryview] = [head, sizes, text.getvalue()]
    length = size_of(parts)
    for array in arrays:
        parts += [bytes(-length % _ALIGNED), array]
        length += size_of(parts[-2:])
    return parts


def size_of(parts: Sequence[bytes | memoryview]) -> int:
    """Bytes of a file's parts."""
    return sum(len(part) for part in parts)


def _unpacked(file: memoryview) -> Any:
    """What `packed` took apart; it holds on to the file's memory.

    Raises:
        ValueError: the file is incomplete.
    """
    if len(file) < _HEAD.size:
        raise ValueError
    magic, text, count = _HEAD.unpack_from(file)
    start = _HEAD.size + 8 * count
    if magic != _MAGIC or len(file) < start + text:
        raise ValueError
    end, arrays = start + text, []
    for size in struct.unpack_from(f'<{count}Q', file, _HEAD.size):
        begin = end + -end % _ALIGNED
        end = begin + size
        arrays.append(file[begin:end])
    if end != len(file):
        raise ValueError
    return pickle.loads(file[start : start + text], buffers=arrays)


# --------------------------------------------------------------------------------- the transforms


@dataclass(frozen=True)
class KeptStart:
    """A pipeline's transforms before the corruption, run once for each sample.

    Attributes:
        transforms: these transforms.
        cache: stores their results.
        number: index of the pipeline among the dataset's pipelines.
    """

    transforms: Sequence[Callable]
    cache: ImageCache
    number: int

    def __call__(self, results: dict) -> Any:
        """The sample as the transforms leave it, from the cache if it is there."""
        key = _key(self.number, results)
        sample = self.cache.get(key)
        if sample is None:
            before = random_states()
            sample = _run(self.transforms, results)
            if sample is not None and not _have_moved(before):
                with contextlib.suppress(Exception):  # this sample may not be picklable
                    self.cache.put(key, packed(sample))
        return sample


def _run(transforms: Sequence[Callable], results: Any) -> Any:
    """As mmengine's Compose."""
    for transform in transforms:
        results = transform(results)
        if results is None:
            return None
    return results


def _key(number: int, results: Any) -> str:
    """The name of what a pipeline makes of a sample: it follows from what the pipeline gets."""
    return _digest(packed((number, results)))


def _digest(parts: Sequence[bytes | memoryview]) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _have_moved(states: tuple) -> bool:
    """Whether random numbers have been drawn since."""
    return _digest(packed(states)) != _digest(packed(random_states()))


# ------------------------------------------------------------------------------------ the planning


@dataclass
class _Plan:
    """What to cache.

    Attributes:
        starts: indices of the pipelines to cache.
        size: approximate total size in bytes.
        pictures: number of images.
        without: why other pipelines are not cached.
    """

    starts: list[int]
    size: int
    pictures: int
    without: list[str]


class _Probe:
    """Replaces a pipeline's start to find out whether its result can be cached, and its size."""

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.transforms = transforms
        self.sizes: list[int] = []
        self.why: str | None = None
        if not transforms:
            self.why = 'nothing is computed before the corruption'
        for transform in flatten(transforms):
            name = names_of(transform)[0]
            # Even with a single possible outcome: its random draw affects the draws of later transforms.
            if getattr(transform, '_methods_with_randomness', ()) or 'Rand' in name:
                self.why = f'{name} draws random numbers before the corruption'

    def __call__(self, results: dict) -> Any:
        """Run the start twice, and compare."""
        if self.why is None and picture_in(results) is not None:
            self.why = 'the dataset holds its images in memory'
        if self.why is not None:
            return _run(self.transforms, results)
        try:
            again, before = pickle.loads(pickle.dumps(results)), random_states()
            key = _key(0, results)
            parts = packed(_run(self.transforms, results))
            size, first = size_of(parts), _digest(parts)
            moved = _have_moved(before)
            stable = key == _key(0, again)
            sample = _run(self.transforms, again)
            if moved or not stable or _digest(packed(sample)) != first:
                self.why = 'the transforms before the corruption are not reproducible'
            self.sizes.append(size)
        except Exception as error:  # not picklable, or any error of a third-party transform
            self.why = f'{type(error).__name__}: {" ".join(str(error).split())}'
            raise
        return sample


def _plan(dataset: CellDataset) -> _Plan:
    """Try some samples; the random generators are set back."""
    probes = [_Probe(pipeline.start()) for pipeline in dataset.pipelines]
    tried = spread(len(dataset.samples), min(_PROBED, len(dataset.samples)))
    with contextlib.ExitStack() as stack:
        stack.enter_context(random_states_kept())
        for pipeline, probe in zip(dataset.pipelines, probes, strict=True):
            stack.enter_context(pipeline.started_by(probe))
        for sample in tried:
            with contextlib.suppress(Exception):  # will be raised when the sample is evaluated
                dataset[sample]
    sizes = [size for probe in probes if probe.why is None for size in probe.sizes]
    count = len(dataset.samples)
    return _Plan(
        starts=[n for n, p in enumerate(probes) if p.why is None and p.sizes],
        size=sum(sizes) * count // len(tried),
        pictures=len(sizes) * count // len(tried),
        without=list(dict.fromkeys(p.why for p in probes if p.why)),
    )


# ----------------------------------------------------------------------------------- the folder


def _cache_of_node(
    plan: _Plan, where: str | os.PathLike, stack: contextlib.ExitStack
) -> ImageCache | None:
    """The cache that the ranks of this node share; its first rank makes it, and removes it."""
    hosts = all_gather_object(socket.gethostname())
    first = hosts.index(hosts[get_rank()])
    of_ranks = all_gather_object(_make(plan, where, stack) if first == get_rank() else (None, ''))
    for said in dict.fromkeys(said for _, said in of_ranks if said):
        print_log(said, 'current')
    cache = of_ranks[first][0]
    return cache if cache and cache.folder.is_dir() else None  # containers may not share the folder


def _make(
    plan: _Plan, where: str | os.PathLike, stack: contextlib.ExitStack
) -> tuple[ImageCache | None, str]:
    """A cache in the first place where the plan fits, and a line that describes it."""
    why = '; '.join(plan.without)
    if not plan.starts:
        return None, f'no image cache: {why or "no image could be loaded for a test"}'
    of_size = f'about {_in_words(plan.size)} for {plan.pictures} images'
    places = []
    for place in _places(where):
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(place).free
            memory = available_memory() if lies_in_memory(place) else None
            there = free if memory is None else min(free, memory)
            share = _COMFORTABLE if where == AUTO else _GIVEN
            places.append(f'{place} with {_in_words(there)}')
            if plan.size <= min(share * there, there - _LEFT):
                folder = _own_folder(place, stack)
                spare = free - int(min(share * there, there - _LEFT))
                others = f'; not for all: {why}' if why else ''
                return ImageCache(folder, spare), f'image cache: {of_size} in {folder}{others}'
    return None, f'no image cache: {of_size} is too much for {" or ".join(places) or where}'


def _places(where: str | os.PathLike) -> list[Path]:
    if where not in (AUTO, OFF):
        return [Path(where)]
    return [Path(p) for p in (_SHARED_MEMORY, tempfile.gettempdir()) if os.path.isdir(p)]


def _own_folder(place: Path, stack: contextlib.ExitStack) -> Path:
    """A new folder, locked by this process until the stack is left, and then removed.

    Raises:
        OSError: it cannot be created.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_NAME, dir=place))
        stack.callback(_remove, folder)
        # Until we hold the lock, another run may take the folder for that of a killed run.
        with contextlib.suppress(InputError, FileNotFoundError):
            stack.enter_context(alone_in(folder))
            if folder.is_dir():
                return folder


def _remove(folder: Path) -> None:
    """Rename and remove a folder, so that loader workers cannot write into it meanwhile."""
    gone = folder.with_name(f'{folder.name}.gone')
    with contextlib.suppress(OSError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _remove_left(places: Sequence[Path]) -> None:
    """Remove the folders in some places that this user's killed runs have left there."""
    for place in places:
        left: list[Path] = []
        with contextlib.suppress(OSError):
            left = [Path(e.path) for e in os.scandir(place) if e.name.startswith(_NAME)]
        for folder in left:
            with contextlib.suppress(OSError):  # another user's, removed meanwhile, or not lockable
                if folder.stat().st_uid == getattr(os, 'getuid', int)() and not is_held(folder):
                    _remove(folder)


def _in_words(size: float) -> str:
    return f'{size / 2**30:.1f} GiB' if size >= 2**30 else f'{max(1, round(size / 2**20))} MiB'
