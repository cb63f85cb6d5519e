"""Are a dataset's files there, and of the expected size? Folders and headers are read, not pictures."""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import TRANSFORMS

from fan_mm.config_parts import steps_of, type_name
from fan_mm.errors import InputError
from fan_mm.fileio import printable
from fan_mm.images import read_header

_FEW = 64  # so many files are asked for one by one


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
    """The first file that is not there, and how many more are not."""
    files = [Path(path) for path in paths]
    if len(files) > _FEW:
        there = {folder: _names(folder) for folder in {file.parent for file in files}}
        files = [file for file in files if file.name not in there[file.parent]]
    missing = [file for file in files if not file.is_file()]
    return (missing[0], len(missing) - 1) if missing else (None, 0)


def refuse_missing(
    place: str, what: str, paths: Iterable[str | os.PathLike], hint: str | Callable[[str], str] = ''
) -> None:
    """Refuse a dataset of whose files some are not there.

    Args:
        place: of the dataset in the config.
        what: the files are, such as 'image'.
        paths: of all of them.
        hint: the end of the error's line; or what gives it, of the first path that is missing.

    Raises:
        InputError: one is missing.
    """
    missing, more = missing_file(paths)
    if missing:
        others = f' and {more} more' if more else ''
        end = hint if isinstance(hint, str) else hint(str(missing))
        raise InputError(f'{place}: no {what} {printable(missing)}{others}{end}')


def listed_twice(place: str, paths: Collection[Any]) -> list[str]:
    """A line for the log if pictures of an evaluation come more than once, and so count more."""
    if len(set(paths)) == len(paths):
        return []
    often = [(path, count) for path, count in Counter(paths).items() if count > 1]
    path, count = often[0]
    return [
        f'{place}: {len(often)} pictures listed more than once (the first is {printable(path)}, '
        f'{count} times): each counts as often'
    ]


def refuse_empty(place: str, paths: Sequence[str | os.PathLike | None], number: int = 3) -> None:
    """Look at some of a dataset's files, evenly spread, for one of no bytes.

    Raises:
        InputError: there is one.
    """
    for path in paths[:: max(1, len(paths) // number)]:
        if path and os.path.isfile(path) and not os.path.getsize(path):
            raise InputError(f'{place}: {path} is empty (0 bytes)')


def other_size(path: Any, shape: tuple[int, ...], pipeline: Any = None) -> str:
    """A picture's size in words if it is another than what is said of it; '' too if PIL cannot read it.

    Args:
        path: of the picture.
        shape: (H, W).
        pipeline: whose loader says whether EXIF turns a photo; without one, both sizes are right.
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
    return f'{shown} as EXIF turns it' if turned and loaded == size[::-1] else shown


def _loaded_size(path: Any, pipeline: Any) -> tuple[int, int] | None:
    """Width and height of a picture as a pipeline's first transform loads it; None if that cannot be told."""
    first = next(steps_of(pipeline), None)
    if not isinstance(first, dict) or type_name(first) != 'LoadImageFromFile':
        return None
    try:
        height, width = TRANSFORMS.build(first)(dict(img_path=path))['img'].shape[:2]
    except Exception:  # tried, and said, with the first batch
        return None
    return width, height


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
