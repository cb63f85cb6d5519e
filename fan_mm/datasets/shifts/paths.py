"""Files below a folder, and what the names of their folders say."""

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from fan_mm import folders
from fan_mm.errors import InputError, about

_WALKED: ContextVar[dict[str, list[tuple[str, ...]]] | None] = ContextVar('walked', default=None)


@contextlib.contextmanager
def walked_once() -> Iterator[None]:
    """Walk each folder only once within a block: on a network disk, it takes long.

    Finding a set lists its folder, and so does the dataset of each of its conditions.
    """
    token = _WALKED.set({} if _WALKED.get() is None else _WALKED.get())
    try:
        yield
    finally:
        _WALKED.reset(token)


def files_below(folder: Path, whose: str) -> list[tuple[str, ...]]:
    """The parts of all files' paths relative to a folder, sorted; see `fan_mm.folders.files_below`.

    ``whose`` files are searched for begins the error's line.

    Raises:
        InputError: there is no such folder, or one in it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f'{whose}: no such folder: {folder}')
    known = _WALKED.get()
    place = os.path.abspath(folder)
    if known is not None and place in known:
        return known[place]
    with about(whose):
        found = sorted(folders.files_below(folder))
    if known is not None:
        known[place] = found
    return found


def nearest(parts: Sequence[str], names: Collection[str]) -> str:
    """The folder next to the file that has one of these names, in any case; '' if none has."""
    return next((part.lower() for part in reversed(parts[:-1]) if part.lower() in names), '')


def below(parts: Sequence[str], names: Collection[str]) -> str:
    """The folders between the file and the nearest that has one of these names; else its own folder."""
    for index in range(len(parts) - 2, -1, -1):
        if parts[index].lower() in names:
            return '/'.join(parts[index + 1 : -1])
    return '/'.join(parts[-2:-1])


def listed_names(file: Path) -> list[str]:
    """The lines of a list file that are not empty.

    Raises:
        InputError: it cannot be read, or has no line.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding='utf-8').splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'cannot read the list {file}: {error}') from None
    if not (names := [line for line in lines if line]):
        raise InputError(f'the list {file} is empty')
    return names
