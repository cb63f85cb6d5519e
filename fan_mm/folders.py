"""The files below a folder: through links, without what is hidden, and of no circle twice."""

import os
from collections.abc import Iterator

from fan_mm.errors import InputError

# Folders that systems leave among somebody's data: of archives, thumbnails and repairs.
NO_DATA = ('__MACOSX', '@eaDir', 'lost+found')


def files_below(folder: str | os.PathLike) -> Iterator[tuple[str, ...]]:
    """The parts of all files' paths relative to a folder, in any order.

    Hidden files and folders are left out, those of `NO_DATA`, and pipes and devices, which would be waited
    for.
    Links to folders are followed, except back to where they come from; one that leads nowhere is a
    file, which whoever reads it can name.

    Raises:
        InputError: the folder, or one in it, cannot be read.
    """
    # each folder with the real places of itself and of those above it
    waiting: list[tuple[tuple[str, ...], tuple[str, ...]]] = [((), (os.path.realpath(folder),))]
    while waiting:
        way, places = waiting.pop()
        try:
            with os.scandir(os.path.join(folder, *way)) as scan:
                entries = list(scan)
        except OSError as error:
            raise InputError(f'cannot read {error.filename}: {error.strerror}') from None
        for entry in entries:
            if entry.name.startswith('.') or entry.name in NO_DATA:
                continue
            path = (*way, entry.name)
            if not entry.is_symlink():
                if entry.is_dir():
                    waiting.append((path, (*places, os.path.join(places[-1], entry.name))))
                elif entry.is_file():
                    yield path
            elif os.path.isdir(entry):
                there = os.path.realpath(entry)
                if not any(f'{place}{os.sep}'.startswith(f'{there}{os.sep}') for place in places):
                    waiting.append((path, (*places, there)))
            elif os.path.isfile(entry) or not os.path.exists(entry):
                yield path
