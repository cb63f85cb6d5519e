"""Which picture or label cannot be read: asked once a loader has failed, for few libraries name it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.runner import Runner
from PIL import Image

from fan_mm.errors import InputError

# What cv2, PIL, mmcv and Python say, in a worker's traceback too
_COMPLAINTS = re.compile(
    r'UnidentifiedImageError|cannot identify image|failed to load image|buf\.empty|imdecode|imread'
    r'|image file is truncated|broken (PNG|data stream)|FileNotFoundError|No such file'
    r"|'NoneType' object has no attribute '(shape|squeeze|astype|ndim)'"
)


@contextmanager
def unreadable_files_named(runner: Runner) -> Iterator[None]:
    """Say in one line which file a run's loaders could not read, where that ended it.

    Raises:
        InputError: there is such a file; whatever else was raised stays what it is.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if _COMPLAINTS.search(f'{type(error).__name__}: {error}'):
            for split in ('train', 'val', 'test'):
                loader = getattr(getattr(runner, f'_{split}_loop', None), 'dataloader', None)
                found = first_unreadable(getattr(loader, 'dataset', None))
                if found:
                    raise InputError(f'{split}_dataloader: {found}') from error
        raise


def first_unreadable(dataset: Any) -> str | None:
    """The first file of a dataset that cannot be read, and why; None if all can."""
    files = list(_files(dataset))
    for path, _ in files:  # what is quick to see comes first
        if not os.path.isfile(path):
            return f'no such file: {path}'
        if not os.path.getsize(path):
            return f'{path} is empty (0 bytes)'
    for path, is_label in files:
        if not (_pillow_reads(path) if is_label else _opencv_reads(path)):
            return f'{path} cannot be read as a picture: damaged, or cut short'
    return None


def _files(dataset: Any) -> Iterator[tuple[str, bool]]:
    """A dataset's pictures and labels, each with whether it is a label."""
    inside = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inside != [None]:
        for part in inside:
            yield from _files(part)
    elif hasattr(dataset, 'get_data_info'):
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            for key in ('img_path', 'seg_map_path'):
                path = info.get(key) if isinstance(info, dict) else None
                if isinstance(path, str) and '://' not in path:
                    yield path, key == 'seg_map_path'


def _opencv_reads(path: str) -> bool:
    try:
        return cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), 1) is not None
    except (OSError, cv2.error):
        return False


def _pillow_reads(path: str) -> bool:
    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception:
        return False
    return True
