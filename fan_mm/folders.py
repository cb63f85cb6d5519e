"""The files below a folder: through links, without hidden ones, and none twice where links form a circle."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from fan_mm.errors import InputError

# Folders that systems leave among the data: archives, thumbnails, repairs.
NO_DATA = ('__MACOSX', '@eaDir', 'lost+found')


class _Folder(NamedTuple):
    """A folder that is yet to be read.

    Attributes:
        way: its parts below the folder that was given.
        places: the real ones of itself and of the folders above it on the way.
        held: real places of the folders in each folder above it.
        linked: whether there is a link on the way.
    """

    way: tuple[str, ...]
    places: tuple[str, ...]
    held: tuple[set[str], ...] = ()
    linked: bool = False

    def leads_on(self, place: str) -> bool:
        """Whether a link in it that leads to a place is followed."""
        above = any(f'{own}{os.sep}'.startswith(f'{place}{os.sep}') for own in self.places)
        return not above and not (self.linked and any(place in held for held in self.held))


def files_below(folder: str | os.PathLike) -> Iterator[tuple[str, ...]]:
    """The parts of all files' paths relative to a folder, in any order.

    Hidden files and folders are left out, those of `NO_DATA`, and pipes and devices, which would be waited
    for.
    Links to folders are followed, except back to where they come from, and, out of folders that were
    reached by a link, to what a folder on the way holds itself: of many folders that link to each other
    each is found in each, not in all orders. A link that leads nowhere is a file, which whoever reads it
    can name.

    Raises:
        InputError: the folder, or one in it, cannot be read.
    """
    waiting = [_Folder((), (os.path.realpath(folder),))]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(os.path.join(folder, *here.way)) as scan:
                entries = list(scan)
        except OSError as error:
            raise InputError(f'cannot read {error.filename}: {error.strerror}') from None
        held: set[str] = set()
        for entry in entries:
            if entry.name.startswith('.') or entry.name in NO_DATA:
                continue
            way, link = (*here.way, entry.name), entry.is_symlink()
            # `os.path` of links, as an entry's own methods raise where one leads to itself
            if os.path.isdir(entry) if link else entry.is_dir():
                place = (
                    os.path.realpath(entry) if link else os.path.join(here.places[-1], entry.name)
                )
                held.add(place)
                if not link or here.leads_on(place):
                    places, above = (*here.places, place), (*here.held, held)
                    waiting.append(_Folder(way, places, above, here.linked or link))
            elif os.path.isfile(entry) or not os.path.exists(entry) if link else entry.is_file():
                yield way
