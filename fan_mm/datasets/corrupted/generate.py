"""Write the corrupted copies of a dataset: every image decoded once, over all cores, resumable.

A file under its final name is whole, so a run that was stopped in any way continues by looking
which files exist. Every file's bytes follow from its source, the cell and the options alone (see
`fan_mm.corruptions.seed_for`), so it ends as if it had never been stopped.
"""

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.filesize import decimal as readable

from fan_mm.cores import usable_cores
from fan_mm.corruptions import BENCHMARK_ORDERS, check_channel_order
from fan_mm.datasets.corrupted.images import UnreadableImageError
from fan_mm.datasets.corrupted.layouts import (
    FORMATS,
    LAYOUTS,
    cell_folder,
    file_name,
    find_images,
    image_folder,
    is_kept,
)
from fan_mm.datasets.corrupted.manifest import (
    CHECKSUMS,
    MANIFEST,
    Options,
    Source,
    differences,
    new_manifest,
    read_checksums,
    read_manifest,
    read_sources,
    write_checksums,
    write_manifest,
    write_sources,
)
from fan_mm.datasets.corrupted.progress import progress_bar
from fan_mm.datasets.corrupted.worker import CorruptOne, Pool
from fan_mm.errors import InputError
from fan_mm.few_names import few_and_more
from fan_mm.fileio import alone_in, is_temporary, output_folder, printable

_SAMPLE = 64  # sources whose content is compared before the start
_TILE = 512  # pixels; side of the pieces that the space estimate encodes
_BLOCK = 4096  # bytes; a file ends in the middle of one, on average


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        files: corrupted images that are there now.
        written: how many of them this run wrote.
        unreadable: reason, by relative path, of each source that could not be used.
        remarks: what was done to sources that this run read, or left away of them ('turned as EXIF
            says'), each with their relative paths.
    """

    files: int
    written: int
    unreadable: dict[str, str]
    remarks: dict[str, list[str]]


def generate(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    layout: str,
    cells: Mapping[str, Sequence[int]],
    *,
    split: str = 'val',
    seed: int = 0,
    channel_order: str = 'rgb',
    file_format: str | None = None,
    quality: int | None = None,
    jobs: int | None = None,
    console: Console | None = None,
) -> Summary:
    """Write a dataset's corrupted copies, or what is missing of them.

    Args:
        source: root of the clean dataset.
        destination: root of the corrupted dataset: new, empty, or begun with the same options and
            no cells but these.
        layout: 'cityscapes', 'coco' or 'imagenet'.
        cells: severities per corruption, as in `fan_mm.corruptions.Benchmark.severities`.
        split: of the clean dataset.
        seed: base seed.
        channel_order: 'rgb' (physically right) or 'bgr-as-rgb' (OpenCV's BGR pixels corrupted as if
            they were RGB, as the published FAN and COCO-C sets were made).
        file_format: 'png', 'jpg', 'keep' (the source's); default by layout.
        quality: JPEG quality, 1 to 100; default by layout (95; ImageNet 85).
        jobs: processes, default one per core; 1 stays in this process.
        console: where progress is shown, default standard output.

    Raises:
        InputError: wrong arguments, a destination made with other options or of sources that have
            changed since, a full disk, a destination that was removed meanwhile. After this, Ctrl-C
            or SIGTERM (SystemExit with status 143) the same call continues.
    """
    file_format = file_format or LAYOUTS[layout].file_format
    if file_format == 'png' and quality is not None:
        raise InputError('--quality is for JPEG; PNG files lose nothing')
    if file_format != 'png' and quality is None:
        quality = LAYOUTS[layout].quality
    chosen = {name: tuple(severities) for name, severities in cells.items()}
    options = Options(layout, split, chosen, seed, channel_order, file_format, quality)
    jobs = usable_cores() if jobs is None else jobs
    _check(options, jobs)
    console = console or Console()
    folder = image_folder(source, layout, split)
    destination = Path(os.path.abspath(destination))
    if destination == folder or folder in destination.parents:
        raise InputError(f'DST {destination} lies among the clean images of {folder}')
    sources, others = find_images(folder)
    sources, doubles = _without_doubles(sources, file_format)
    for names, reason in ((others, 'no picture by the suffix'), (doubles, 'its name is taken')):
        if names:
            _say(console, f'left out: {named(names)} below {folder}: {reason}')
    run = _Run(folder, destination, options, sources, console)
    try:
        with alone_in(output_folder(destination)):
            return run.go(jobs)
    except BrokenProcessPool:
        raise InputError(
            'a worker process was killed, for lack of memory perhaps: '
            'run the same command again with fewer --jobs'
        ) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise InputError(
            f'the disk of {destination} is full: make room and run the same command again'
            if full
            else f'cannot write into {destination}: {error}'
        ) from error


def _check(options: Options, jobs: int) -> None:
    if not options.cells:
        raise InputError('no corruptions chosen')
    check_channel_order(options.channel_order, BENCHMARK_ORDERS)
    if options.file_format not in FORMATS:
        raise InputError(f'format is one of {FORMATS}, not {options.file_format!r}')
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise InputError(f'JPEG quality is from 1 to 100, not {options.quality}')
    if jobs < 1:
        raise InputError(f'jobs is at least 1, not {jobs}')


@dataclass
class _Outcome:
    """What became of the sources: see `Summary`."""

    unreadable: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def _without_doubles(sources: list[str], file_format: str) -> tuple[list[str], list[str]]:
    """Sources, and those whose copies would have the names of PNG or JPEG sources' copies."""
    taken = {file_name(name, file_format) for name in sources if is_kept(name)}
    doubles = [n for n in sources if not is_kept(n) and file_name(n, file_format) in taken]
    return [name for name in sources if name not in doubles], doubles


def named(names: Sequence[str]) -> str:
    """'a.png', or 'a.png, b.png, c.png and 2 more'."""
    return few_and_more(map(printable, names))


class _Run:
    """One run of `generate`, after its arguments were checked."""

    def __init__(
        self,
        source: Path,
        destination: Path,
        options: Options,
        sources: list[str],
        console: Console,
    ) -> None:
        self.one = CorruptOne(source, destination, options)
        self.destination = destination
        self.options = options
        self.sources = sources
        self.console = console
        self.cells = options.cell_list()
        self.folders = [cell_folder(options.layout, *cell) for cell in self.cells]
        self.names = [file_name(relative, options.file_format) for relative in sources]
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            both = [s for s, name in zip(sources, self.names, strict=True) if name == twice]
            keep = ', or --format keep where one is PNG and the other JPEG'
            raise InputError(
                f'two images below {source} would both become {named([twice])} ({named(both)}): rename one'
                f'{"" if options.file_format == "keep" else keep}'
            )
        self.noted: dict[str, Source] = {}
        # SHA-256 of every file, zero while unknown.
        self.digests: np.ndarray = np.zeros((len(self.cells), len(sources), 32), np.uint8)

    def go(self, jobs: int) -> Summary:
        manifest = new_manifest(self.options, self.sources)
        recorded = self.check_destination(manifest)
        there = self.tidy()
        self.load_checksums()
        self.load_sources()
        self.announce(there)
        if not recorded:
            write_manifest(self.destination, manifest)
        write_sources(self.destination, self.noted)
        written, outcome = 0, _Outcome()
        try:
            if sum(there) < self.digests[..., 0].size or not self.digests.any(axis=2).all():
                written, outcome = self.corrupt_all(jobs, sum(there))
                self.check_there(manifest)
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk must not hide the reason
                self.tidy()
                self.save_checksums()
                if not (self.destination / MANIFEST).exists():  # taken away meanwhile
                    write_manifest(self.destination, manifest)
            raise
        manifest['folders'] = self.save_checksums()
        manifest['unreadable'] = outcome.unreadable
        manifest['complete'] = True
        write_manifest(self.destination, manifest)
        files = int(self.digests.any(axis=2).sum())
        return Summary(files, written, outcome.unreadable, outcome.remarks)

    def check_destination(self, manifest: dict) -> bool:
        """Make sure that a destination is new, or may be continued or extended with this manifest.

        Returns:
            Whether the manifest there is of the same cells.
        """
        if (self.destination / MANIFEST).exists():
            there = read_manifest(self.destination)
            if differ := differences(there, manifest):
                raise InputError(
                    f'{self.destination} was made otherwise ({"; ".join(differ)}): '
                    'use the same (corruptions and severities may be added), or another DST'
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
        """Read what the sources were like, and compare their sizes, and the content of some.

        The content of the others is compared when they are read.

        Raises:
            InputError: some have changed since copies were made of them.
        """
        noted = read_sources(self.destination)
        if noted is None and (self.destination / MANIFEST).exists():
            _say(
                self.console,
                f'{self.destination} was begun by an earlier fan_mm, which did not note what the '
                'sources were like: whether they have changed since is not known',
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
            f'{named(names)} below {self.one.source} changed since copies were made: put the '
            'earlier pictures back, or use another DST'
        )

    def check_there(self, manifest: dict) -> None:
        """Make sure that every file that was written is still there.

        Raises:
            InputError: some are not; they are forgotten, so that the same command makes them anew.
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
                f'{len(gone)} images that were written are gone from {self.destination} '
                f'({named(gone)}): run the same command again'
            )

    def save_checksums(self) -> dict[str, dict]:
        """Write the checksums known so far; return the manifest's entry for every folder."""
        # Of what was stopped half-way only the file knows.
        write_sources(self.destination, read_sources(self.destination) or {})
        entries = {}
        for digests, folder in zip(self.digests, self.folders, strict=True):
            known = np.flatnonzero(digests.any(axis=1))
            sums = {self.names[i]: digests[i].tobytes() for i in known}
            checksum = write_checksums(self.destination, folder, sums)
            entries[folder] = {'images': len(sums), 'sha256': checksum}
        return entries

    def announce(self, there: list[int]) -> None:
        """Say how much there is to do and how much space it takes.

        Raises:
            InputError: it cannot fit.
        """
        total = len(self.sources) * len(self.cells)
        line = (
            f'{len(self.sources)} images x {len(self.cells)} cells = {total} images '
            f'in {self.destination}'
        )
        if any(there):
            line += f', {sum(there)} of them there already'
        missing = [len(self.sources) - count for count in there]
        if any(missing):
            need = self.estimate(missing)
            free = shutil.disk_usage(self.destination).free
            line += f'; about {readable(need)} to write, {readable(free)} free'
            if need > 1.2 * free:  # the estimate errs by less
                raise InputError(f'{line}: make room, choose fewer cells or --format jpg')
        _say(self.console, line)

    def estimate(self, missing: list[int]) -> int:
        """Bytes that the missing files will take, from encoding pieces of some images.

        Args:
            missing: number of files to be written for each cell.
        """
        samples = []
        for index in np.linspace(0, len(self.sources) - 1, 8).round().astype(int):
            with contextlib.suppress(UnreadableImageError):
                image, _ = self.one.prepared(self.one.read(self.sources[index]))
                samples.append((self.sources[index], image))
        if not samples:
            return 0
        pixels = float(np.mean([image[..., 0].size for _, image in samples]))
        need = 0.0
        for number, (cell, count) in enumerate(zip(self.cells, missing, strict=True)):
            if count:
                relative, image = samples[number % len(samples)]
                top, left = (max(0, side - _TILE) // 2 for side in image.shape[:2])
                tile = image[top : top + _TILE, left : left + _TILE]
                size = len(self.one.encoded(tile, relative, *cell)) / tile[..., 0].size * pixels
                need += count * (size + _BLOCK / 2)
        return int(need)

    def corrupt_all(self, jobs: int, before: int) -> tuple[int, '_Outcome']:
        """Do the work, with a progress bar.

        Args:
            jobs: number of processes.
            before: number of files that are there already.

        Returns:
            Number of files written, and what became of the sources.

        Raises:
            InputError: a source has changed since copies were made of it.
        """
        unreadable: dict[str, str] = {}
        remarks: dict[str, list[str]] = {}
        known = np.any(self.digests, axis=2)
        total = known.size
        with (
            progress_bar(self.console, before) as progress,
            Pool(jobs, self.one) as pool,
            _sigterm_raises(),
        ):
            bar = progress.add_task('corrupting', total=total, completed=before)
            waiting = iter(range(len(self.sources)))
            running: dict[Future, int] = {}
            while True:
                # Few tasks in flight: memory stays bounded, and a stop takes effect at once.
                for index in itertools.islice(waiting, 2 * jobs - len(running)):
                    name = self.sources[index]
                    task = pool.submit(name, known[:, index].tolist(), self.noted.get(name))
                    running[task] = index
                if not running:
                    break
                done, _ = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
                for task in done:
                    index = running.pop(task)
                    outcome, name = task.result(), self.sources[index]
                    for cell, digest in outcome.digests.items():
                        self.digests[cell, index] = np.frombuffer(digest, np.uint8)
                    if outcome.changed:
                        raise self.changed([name])
                    if outcome.unreadable is not None:
                        unreadable[name] = outcome.unreadable
                        total -= int((~self.digests[:, index].any(axis=1)).sum())
                    for remark in outcome.remarks:
                        remarks.setdefault(remark, []).append(name)
                progress.update(bar, total=total, completed=before + pool.written.value)
        remarks = {remark: sorted(names) for remark, names in sorted(remarks.items())}
        return pool.written.value, _Outcome(dict(sorted(unreadable.items())), remarks)


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, by an exception (where signals can be handled)."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:  # a tool handles it itself
        yield
        return

    def stop(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
