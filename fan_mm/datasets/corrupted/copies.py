"""The copies at a destination: which are there, their checksums, and what their sources were like."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from fan_mm.datasets.corrupted.layouts import cell_folder, file_name
from fan_mm.datasets.corrupted.manifest import (
    CHECKSUMS,
    MANIFEST,
    Source,
    differences,
    read_checksums,
    read_manifest,
    read_sources,
    write_checksums,
    write_sources,
)
from fan_mm.datasets.corrupted.worker import CorruptOne
from fan_mm.errors import InputError
from fan_mm.few_names import few_and_more
from fan_mm.fileio import is_temporary, printable

_SAMPLE = 64  # sources whose content is compared before the start


def named(names: Sequence[str]) -> str:
    """'a.png', or 'a.png, b.png, c.png and 2 more'."""
    return few_and_more(map(printable, names))


def say(console: Console, line: str) -> None:
    """Print a line as it is."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)


class Copies:
    """The existing copies of some sources in all cells.

    Args:
        one: makes the copies of one source.
        sources: their relative paths.
        console: where a remark is shown.

    Attributes:
        cells: of the run.
        folders: of the cells, below the destination.
        names: ``(N,)`` of the copies, below these.
        digests: ``(C, N, 32)`` SHA-256 of every file, zero while unknown.
        noted: recorded state of the sources when their copies were made, as far as known.

    Raises:
        InputError: two sources would get one name.
    """

    def __init__(self, one: CorruptOne, sources: list[str], console: Console) -> None:
        self.one = one
        self.destination = one.destination
        self.sources = sources
        self.console = console
        options = one.options
        self.cells = options.cell_list()
        self.folders = [cell_folder(options.layout, *cell) for cell in self.cells]
        self.names = [file_name(relative, options.file_format) for relative in sources]
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            both = [s for s, name in zip(sources, self.names, strict=True) if name == twice]
            keep = ', or --format keep where one is PNG and the other JPEG'
            raise InputError(
                f'two images below {one.source} would both be written as {named([twice])} ({named(both)}): rename one'
                f'{"" if options.file_format == "keep" else keep}'
            )
        self.noted: dict[str, Source] = {}
        self.digests: np.ndarray = np.zeros((len(self.cells), len(sources), 32), np.uint8)

    def check_destination(self, manifest: dict) -> bool:
        """Check that a destination is new, or may be continued or extended with this manifest.

        Returns:
            Whether the manifest there is of the same cells.

        Raises:
            InputError: it was made otherwise, or holds something else.
        """
        if (self.destination / MANIFEST).exists():
            there = read_manifest(self.destination)
            if differ := differences(there, manifest):
                raise InputError(
                    f'{self.destination} was made with other options ({"; ".join(differ)}): '
                    'use the same options (corruptions and severities may be added), or another DST'
                )
            return there['options'] == manifest['options']
        if any(not is_temporary(name) for name in os.listdir(self.destination)):
            raise InputError(
                f'{self.destination} is not empty and has no {MANIFEST}: use another DST'
            )
        return False

    def tidy(self) -> list[int]:
        """Remove what killed runs left half-written; count the images in every cell's folder."""
        expected = set(self.names)
        counts = []
        for folder in (*self.folders, CHECKSUMS, ''):
            count = 0
            top = self.destination / folder
            for parent, below, names in os.walk(top):
                if not folder:
                    below.clear()  # the root's own files only
                for name in names:
                    path = os.path.join(parent, name)
                    if is_temporary(name):
                        os.unlink(path)
                    elif Path(os.path.relpath(path, top)).as_posix() in expected:
                        count += 1
            counts.append(count)
        return counts[: len(self.folders)]

    def load_checksums(self) -> None:
        index = {name: i for i, name in enumerate(self.names)}
        for digests, folder in zip(self.digests, self.folders, strict=True):
            for name, digest in read_checksums(self.destination, folder)[0].items():
                if name in index:
                    digests[index[name]] = np.frombuffer(digest, np.uint8)

    def load_sources(self) -> None:
        """Read the recorded state of the sources; compare their sizes, and the content of some.

        The content of the others is compared when they are read.

        Raises:
            InputError: some changed after their copies were made.
        """
        noted = read_sources(self.destination)
        if noted is None and (self.destination / MANIFEST).exists():
            say(
                self.console,
                f'{self.destination} was started by an earlier version of fan_mm, which did not '
                'record the source images: changes of them cannot be detected',
            )
        self.noted = noted or {}
        names = [name for name in self.sources if name in self.noted]
        sample = (
            {names[i] for i in np.linspace(0, len(names) - 1, _SAMPLE, dtype=int)} if names else ()
        )
        changed = []
        for name in names:
            file = self.one.source / name
            with contextlib.suppress(OSError):  # named when it is read
                same = file.stat().st_size == self.noted[name].size
                if same and name in sample:
                    same = hashlib.sha256(file.read_bytes()).digest() == self.noted[name].sha256
                if not same and any(self.one.path(name, *cell).exists() for cell in self.cells):
                    changed.append(name)
        if changed:
            raise self.changed(changed)

    def changed(self, names: Sequence[str]) -> InputError:
        """The message where sources have changed."""
        return InputError(
            f'{named(names)} below {self.one.source} changed after their copies were made: '
            'restore the earlier images, or use another DST'
        )

    def check_there(self, manifest: dict) -> None:
        """Check that every written file still exists.

        Raises:
            InputError: some are missing; they are forgotten, so that the same command recreates them.
        """
        gone = []
        for digests, folder, count in zip(self.digests, self.folders, self.tidy(), strict=True):
            known = np.flatnonzero(digests.any(axis=1))
            if count < len(known):
                top = self.destination / folder
                lost = [i for i in known if not (top / self.names[i]).exists()]
                digests[lost] = 0
                gone += [f'{folder}/{self.names[i]}' for i in lost]
        if gone:
            (self.destination / MANIFEST).unlink(missing_ok=True)  # of fewer cells, but complete
            raise InputError(
                f'{len(gone)} written images have disappeared from {self.destination} '
                f'({named(gone)}): run the same command again'
            )

    def save_checksums(self) -> dict[str, dict]:
        """Write the checksums known so far; return the manifest's entry for every folder."""
        # Only the file knows of copies that were made before a stop.
        write_sources(self.destination, read_sources(self.destination) or {})
        entries = {}
        for digests, folder in zip(self.digests, self.folders, strict=True):
            known = np.flatnonzero(digests.any(axis=1))
            sums = {self.names[i]: digests[i].tobytes() for i in known}
            checksum = write_checksums(self.destination, folder, sums)
            entries[folder] = {'images': len(sums), 'sha256': checksum}
        return entries
