"""Are a dataset's files there, and of the expected size? Folders and headers are read, not images."""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.registry import TRANSFORMS

from fan_mm.config_parts import steps_of, type_name
from fan_mm.errors import InputError
from fan_mm.fileio import printable
from fan_mm.images import read_header

_FEW = 64  # up to this number, files are checked one by one
_HEADERS = 200  # number of images, evenly spaced over a dataset, whose headers are read
_AT_ONCE = 8  # headers read in parallel, because file systems may have a high latency


def is_local(cfg: dict, *paths: str) -> bool:
    """Whether files are read from disks: no other backend in the config, no address among the paths."""
    for name in ('backend_args', 'file_client_args'):
        if (cfg.get(name) or {}).get('backend', 'local') not in ('local', 'disk'):
            return False
    return not any(is_remote(path) for path in paths)


def is_remote(path: str) -> bool:
    """Whether a path is an address (https://, s3://, open-mmlab://, torchvision://, ...)."""
    return re.match(r'\w[\w+.-]*:', path) is not None


def missing_file(paths: Iterable[str | os.PathLike]) -> tuple[Path | None, int]:
    """The first missing file, and how many more are missing."""
    files = [Path(path) for path in paths]
    if len(files) > _FEW:
        there = {folder: _names(folder) for folder in {file.parent for file in files}}
        files = [file for file in files if file.name not in there[file.parent]]
    missing = [file for file in files if not file.is_file()]
    return (missing[0], len(missing) - 1) if missing else (None, 0)


def refuse_missing(
    place: str, what: str, paths: Iterable[str | os.PathLike], hint: str | Callable[[str], str] = ''
) -> None:
    """Refuse a dataset some of whose files are missing.

    Args:
        place: key of the dataset in the config.
        what: kind of the files, such as 'image'.
        paths: paths of all files.
        hint: end of the error message, or a function of the first missing path that returns it.

    Raises:
        InputError: a file is missing.
    """
    missing, more = missing_file(paths)
    if missing:
        others = f' and {more} more' if more else ''
        end = hint if isinstance(hint, str) else hint(str(missing))
        raise InputError(f'{place}: no {what} {printable(missing)}{others}{end}')


def listed_twice(place: str, paths: Collection[Any]) -> list[str]:
    """A line for the log if images of an evaluation come more than once, and so count more."""
    if len(set(paths)) == len(paths):
        return []
    often = [(path, count) for path, count in Counter(paths).items() if count > 1]
    path, count = often[0]
    return [
        f'{place}: {len(often)} images listed more than once (the first is {printable(path)}, '
        f'{count} times): each is counted that often'
    ]


def evenly(items: Sequence[Any], number: int = 3) -> Sequence[Any]:
    """At least ``number`` of many items, evenly spaced, and fewer than twice as many."""
    return items[:: max(1, len(items) // number)]


def refuse_empty(place: str, paths: Sequence[str | os.PathLike | None]) -> None:
    """Refuse a dataset if one of a few of its files is empty.

    Raises:
        InputError: a file is empty.
    """
    for path in evenly(paths):
        if path and os.path.isfile(path) and not os.path.getsize(path):
            raise InputError(f'{place}: {path} is empty (0 bytes)')


def other_size(path: Any, shape: tuple[int, ...], pipeline: Any = None) -> str:
    """An image's size in words if it differs from the stated one; '' also if PIL cannot read it.

    Args:
        path: path of the image.
        shape: (H, W).
        pipeline: its loader determines whether EXIF orientations are applied; without a pipeline, both
            sizes are accepted.
    """
    header = read_header(path)
    if header is None:
        return ''
    size, turned = header.size, header.orientation >= 5
    loaded = _loaded_size(path, pipeline) if turned else None
    fits = shape[::-1] in ((size, size[::-1]) if turned and loaded is None else (loaded or size,))
    if fits:
        return ''
    shown = '{}x{}'.format(*loaded or size)
    return f'{shown} when rotated according to EXIF' if turned and loaded == size[::-1] else shown


def turned_photos(place: str, paths: Sequence[Any], pipeline: Any) -> list[str]:
    """A message for the log if images have an EXIF orientation: their labels must be rotated likewise.

    Rotations by 90 degrees are found by size (`other_size`); other orientations are not.
    """
    chosen = np.linspace(0, len(paths) - 1, min(_HEADERS, len(paths))).astype(int)
    looked_at = [path for i in chosen if (path := paths[i])]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        headers = list(pool.map(read_header, looked_at))
    pairs = zip(looked_at, headers, strict=True)
    found = {path: h.orientation for path, h in pairs if h and h.orientation > 1}
    if not found:
        return []
    path, orientation = next(iter(found.items()))
    said = {None: 'may rotate them or not', True: 'rotates them', False: 'leaves them as stored'}
    how = said[_is_turned(path, pipeline)]
    return [
        f'{place}: {len(found)} of {len(looked_at)} images checked have an EXIF orientation, such as '
        f'{orientation} of {printable(path)}; the pipeline {how}, and the labels must match: to be certain, rotate '
        'the files themselves (PIL.ImageOps.exif_transpose)'
    ]


def _is_turned(path: Any, pipeline: Any) -> bool | None:
    """Whether a pipeline's loader turns a photo as EXIF says; None if that cannot be told."""
    loaded = _loaded(path, pipeline)
    if loaded is None:
        return None
    data = np.fromfile(path, np.uint8)
    flags = (cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, cv2.IMREAD_COLOR)
    stored, turned = (cv2.imdecode(data, flag) for flag in flags)
    if stored is None or turned is None or np.array_equal(stored, turned):
        return None
    far = [
        float(np.abs(loaded.astype(np.float32) - image).mean())
        if image.shape == loaded.shape
        else np.inf
        for image in (stored, turned)
    ]
    return None if far[0] == far[1] else far[1] < far[0]


def _loaded_size(path: Any, pipeline: Any) -> tuple[int, int] | None:
    """Width and height of an image as a pipeline loads it; None if that cannot be told."""
    loaded = _loaded(path, pipeline)
    return None if loaded is None else loaded.shape[1::-1]


def _loaded(path: Any, pipeline: Any) -> np.ndarray | None:
    """An image as a pipeline's first transform loads it; None if that cannot be told."""
    first = next(steps_of(pipeline), None)
    if not isinstance(first, dict) or type_name(first) != 'LoadImageFromFile':
        return None
    try:
        image: np.ndarray = TRANSFORMS.build(first)(dict(img_path=path))['img']
    except Exception:  # will be reported with the first batch
        return None
    return image


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
