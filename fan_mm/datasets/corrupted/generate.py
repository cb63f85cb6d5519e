"""Write the corrupted copies of a dataset: every image decoded once, over all cores, resumable.

A file under its final name is whole, so a run that was stopped in any way continues by looking
which files exist. Every file's bytes follow from its source, the cell and the options alone (see
`fan_mm.corruptions.seed_for`), so it ends as if it had never been stopped.
"""

import contextlib
import errno
import itertools
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.filesize import decimal as readable

from fan_mm.cores import usable_cores
from fan_mm.corruptions import BENCHMARK_ORDERS, check_channel_order
from fan_mm.datasets.corrupted.copies import Copies, named, say
from fan_mm.datasets.corrupted.images import UnreadableImageError
from fan_mm.datasets.corrupted.layouts import (
    FORMATS,
    LAYOUTS,
    file_name,
    find_images,
    image_folder,
    is_kept,
)
from fan_mm.datasets.corrupted.manifest import (
    MANIFEST,
    Options,
    new_manifest,
    write_manifest,
    write_sources,
)
from fan_mm.datasets.corrupted.progress import progress_bar
from fan_mm.datasets.corrupted.worker import CorruptOne, Pool
from fan_mm.errors import InputError
from fan_mm.fileio import alone_in, output_folder

_TILE = 512  # pixels; side of the pieces that the space estimate encodes
_BLOCK = 4096  # bytes; a file ends in the middle of one, on average


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        files: corrupted images that are there now.
        written: how many of them this run wrote.
        unreadable: reason, by relative path, of each source that could not be used.
        remarks: what was done to sources that this run read, or left out of them ('rotated according
            to EXIF'), each with their relative paths.
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
    if layout not in LAYOUTS:
        raise InputError(f'layout must be one of {", ".join(LAYOUTS)}, not {layout!r}')
    file_format = file_format or LAYOUTS[layout].file_format
    if file_format == 'png' and quality is not None:
        raise InputError('--quality is for JPEG; PNG is lossless')
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
        raise InputError(f'DST {destination} is inside the folder of the clean images, {folder}')
    sources, others = find_images(folder)
    sources, doubles = _without_doubles(sources, file_format)
    for names, reason in ((others, 'no image suffix'), (doubles, 'its name is taken')):
        if names:
            say(console, f'left out: {named(names)} below {folder}: {reason}')
    run = _Run(folder, destination, options, sources, console)
    try:
        with alone_in(output_folder(destination)):
            return run.go(jobs)
    except BrokenProcessPool:
        raise InputError(
            'a worker process was killed, perhaps out of memory: run '
            'the same command again with fewer --jobs'
        ) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise InputError(
            f'the disk of {destination} is full: free some space and run the same command again'
            if full
            else f'cannot write into {destination}: {error}'
        ) from error


def _check(options: Options, jobs: int) -> None:
    if not options.cells:
        raise InputError('no corruptions selected')
    check_channel_order(options.channel_order, BENCHMARK_ORDERS)
    if options.file_format not in FORMATS:
        raise InputError(f'format must be one of {FORMATS}, not {options.file_format!r}')
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise InputError(f'JPEG quality must be from 1 to 100, not {options.quality}')
    if jobs < 1:
        raise InputError(f'jobs must be at least 1, not {jobs}')


def _without_doubles(sources: list[str], file_format: str) -> tuple[list[str], list[str]]:
    """Sources, and those whose copies would have the names of PNG or JPEG sources' copies."""
    taken = {file_name(name, file_format) for name in sources if is_kept(name)}
    doubles = [n for n in sources if not is_kept(n) and file_name(n, file_format) in taken]
    return [name for name in sources if name not in doubles], doubles


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
        self.copies = Copies(self.one, sources, console)
        self.destination = destination
        self.options = options
        self.sources = sources
        self.console = console

    def go(self, jobs: int) -> Summary:
        copies = self.copies
        manifest = new_manifest(self.options, self.sources)
        recorded = copies.check_destination(manifest)
        there = copies.tidy()
        copies.load_checksums()
        copies.load_sources()
        self.announce(there)
        if not recorded:
            write_manifest(self.destination, manifest)
        write_sources(self.destination, copies.noted)
        written = 0
        unreadable: dict[str, str] = {}
        remarks: dict[str, list[str]] = {}
        try:
            if sum(there) < copies.digests[..., 0].size or not copies.digests.any(axis=2).all():
                written, unreadable, remarks = self.corrupt_all(jobs, sum(there))
                copies.check_there(manifest)
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk must not hide the reason
                copies.tidy()
                copies.save_checksums()
                if not (self.destination / MANIFEST).exists():  # taken away meanwhile
                    write_manifest(self.destination, manifest)
            raise
        manifest['folders'] = copies.save_checksums()
        manifest['unreadable'] = unreadable
        manifest['complete'] = True
        write_manifest(self.destination, manifest)
        files = int(copies.digests.any(axis=2).sum())
        return Summary(files, written, unreadable, remarks)

    def announce(self, there: list[int]) -> None:
        """Say how much there is to do and how much space it takes.

        Raises:
            InputError: it cannot fit.
        """
        total = len(self.sources) * len(self.copies.cells)
        line = (
            f'{len(self.sources)} images x {len(self.copies.cells)} cells = {total} images '
            f'in {self.destination}'
        )
        if any(there):
            line += f', {sum(there)} of them exist already'
        missing = [len(self.sources) - count for count in there]
        if any(missing):
            need = self.estimate(missing)
            free = shutil.disk_usage(self.destination).free
            line += f'; about {readable(need)} to write, {readable(free)} free'
            if need > 1.2 * free:  # the estimate errs by less
                raise InputError(f'{line}: free some space, choose fewer cells or --format jpg')
        say(self.console, line)

    def estimate(self, missing: list[int]) -> int:
        """Bytes that the missing files will take, from encoding pieces of some images."""
        samples = []
        for index in np.linspace(0, len(self.sources) - 1, 8).round().astype(int):
            with contextlib.suppress(UnreadableImageError):
                image, _ = self.one.prepared(self.one.read(self.sources[index]))
                samples.append((self.sources[index], image))
        if not samples:
            return 0
        pixels = float(np.mean([image[..., 0].size for _, image in samples]))
        need = 0.0
        for number, (cell, count) in enumerate(zip(self.copies.cells, missing, strict=True)):
            if count:
                relative, image = samples[number % len(samples)]
                top, left = (max(0, side - _TILE) // 2 for side in image.shape[:2])
                tile = image[top : top + _TILE, left : left + _TILE]
                size = len(self.one.encoded(tile, relative, *cell)) / tile[..., 0].size * pixels
                need += count * (size + _BLOCK / 2)
        return int(need)

    def corrupt_all(
        self, jobs: int, before: int
    ) -> tuple[int, dict[str, str], dict[str, list[str]]]:
        """Do the work, with a progress bar.

        Returns:
            `Summary.written`, `Summary.unreadable` and `Summary.remarks`.

        Raises:
            InputError: a source changed after its copies were made.
        """
        unreadable: dict[str, str] = {}
        remarks: dict[str, list[str]] = {}
        known = np.any(self.copies.digests, axis=2)
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
                    task = pool.submit(name, known[:, index].tolist(), self.copies.noted.get(name))
                    running[task] = index
                if not running:
                    break
                done, _ = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
                for task in done:
                    index = running.pop(task)
                    outcome, name = task.result(), self.sources[index]
                    for cell, digest in outcome.digests.items():
                        self.copies.digests[cell, index] = np.frombuffer(digest, np.uint8)
                    if outcome.changed:
                        raise self.copies.changed([name])
                    if outcome.unreadable is not None:
                        unreadable[name] = outcome.unreadable
                        total -= int((~self.copies.digests[:, index].any(axis=1)).sum())
                    for remark in outcome.remarks:
                        remarks.setdefault(remark, []).append(name)
                progress.update(bar, total=total, completed=before + pool.written.value)
        remarks = {remark: sorted(names) for remark, names in sorted(remarks.items())}
        return pool.written.value, dict(sorted(unreadable.items())), remarks


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
