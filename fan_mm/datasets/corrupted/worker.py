"""The generator's workers: each does all corrupted copies of one image, then the next."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2
import numpy as np

from fan_mm.corruptions import BENCHMARK_ORDERS, MIN_SIDE, corrupt, image_key, seed_for
from fan_mm.datasets.corrupted.images import (
    UnreadableImageError,
    decode,
    encode,
    is_whole,
    read_bytes,
    resize_and_crop,
)
from fan_mm.datasets.corrupted.layouts import LAYOUTS, corrupted_path
from fan_mm.datasets.corrupted.manifest import Options, Source, add_source
from fan_mm.fileio import write_whole


@dataclass
class Outcome:
    """The result for one image.

    Attributes:
        digests: SHA-256 digest, by index of the cell, of every file that is there and was not known.
        unreadable: why the source could not be used, if so.
        changed: whether it changed after earlier copies were made; then no copies are made now.
        remarks: see `fan_mm.datasets.corrupted.images.decode`.
    """

    digests: dict[int, bytes] = field(default_factory=dict)
    unreadable: str | None = None
    changed: bool = False
    remarks: list[str] = field(default_factory=list)


class CorruptOne:
    """Reads one image and writes its corrupted copies."""

    def __init__(self, source: Path, destination: Path, options: Options) -> None:
        self.source = source
        self.destination = destination
        self.options = options

    def path(self, relative: str, corruption: str, severity: int) -> Path:
        """Where one corrupted copy lies."""
        return corrupted_path(
            self.destination,
            self.options.layout,
            corruption,
            severity,
            relative,
            self.options.file_format,
        )

    def read(self, relative: str) -> bytes:
        """The file of a clean image."""
        return read_bytes(self.source / relative)

    def prepared(self, data: bytes) -> tuple[np.ndarray, list[str]]:
        """A clean image from its file, uint8 BGR, ready to be corrupted; and remarks (`decode`)."""
        image, remarks = decode(data)
        if crop := LAYOUTS[self.options.layout].crop:
            image = resize_and_crop(image, *crop)
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise UnreadableImageError(f'{width}x{height} pixels, smaller than {MIN_SIDE}')
        return image, remarks

    def encoded(self, image: np.ndarray, relative: str, corruption: str, severity: int) -> bytes:
        """One corrupted copy as the bytes of its file."""
        key = image_key(self.source / relative)
        corrupted = corrupt(
            image,
            corruption,
            severity,
            seed=seed_for(self.options.seed, key, corruption, severity),
            channel_order=BENCHMARK_ORDERS[self.options.channel_order],
        )
        suffix = self.path(relative, corruption, severity).suffix
        return encode(corrupted, suffix, self.options.quality)

    def write_missing(
        self,
        relative: str,
        known: list[bool],
        before: Source | None,
        written: Synchronized,
        stop: Event,
    ) -> Outcome:
        """Write those of one image's corrupted copies that are not there.

        Args:
            relative: path of the image below the source folder.
            known: for each cell, whether the checksum of its file is known.
            before: what the image was when copies of it were made; None where that is not known.
            written: counter of written files, shared by all workers.
            stop: set when the run shall end early.
        """
        outcome = Outcome()
        missing = []
        cells = self.options.cell_list()
        for index, cell in enumerate(cells):
            path = self.path(relative, *cell)
            if not path.exists():
                missing.append(index)
            elif not known[index]:
                data = path.read_bytes()
                if is_whole(data):
                    outcome.digests[index] = hashlib.sha256(data).digest()
                else:
                    missing.append(index)
        if not missing:
            return outcome
        try:
            data = self.read(relative)
            source = Source(len(data), hashlib.sha256(data).digest())
            if source != (before or source) and len(missing) < len(known):
                outcome.changed = True
                return outcome
            image, outcome.remarks = self.prepared(data)
        except UnreadableImageError as error:
            outcome.unreadable = str(error)
            return outcome
        if source != before:
            add_source(self.destination, relative, source)
        for index in missing:
            if stop.is_set():
                break
            data = self.encoded(image, relative, *cells[index])
            write_whole(self.path(relative, *cells[index]), data)
            outcome.digests[index] = hashlib.sha256(data).digest()
            with written.get_lock():
                written.value += 1
        return outcome


class Pool:
    """Workers for `CorruptOne.write_missing`: processes, or for ``jobs=1`` a thread.

    The processes come from a server that has imported this module, not from a fork of the caller,
    whose OpenCV and OpenMP threads would not survive that. They end with their parent, however it
    ends.

    Attributes:
        written: number of files written so far, by all workers.
    """

    def __init__(self, jobs: int, corrupt_one: CorruptOne) -> None:
        methods = multiprocessing.get_all_start_methods()
        method = 'forkserver' if 'forkserver' in methods else 'spawn'
        context = multiprocessing.get_context(method)
        self.written = context.Value('q', 0)
        self._stop = context.Event()
        self._threads = cv2.getNumThreads()
        self._executor: Executor
        self._work: Callable[[str, list[bool], Source | None], Outcome]
        if jobs == 1:
            cv2.setNumThreads(1)
            self._executor = ThreadPoolExecutor(1)
            self._work = partial(corrupt_one.write_missing, written=self.written, stop=self._stop)
        else:
            if method == 'forkserver':
                context.set_forkserver_preload([__name__])
            self._executor = ProcessPoolExecutor(
                jobs, context, _start_process, (corrupt_one, self.written, self._stop)
            )
            self._work = _work_in_process

    def submit(self, relative: str, known: list[bool], before: Source | None) -> Future:
        """Have one image done; arguments and result as of `CorruptOne.write_missing`."""
        return self._executor.submit(self._work, relative, known, before)

    def __enter__(self) -> 'Pool':
        return self

    def __exit__(self, *_: object) -> None:
        """End after the files that are being written now."""
        self._stop.set()
        self._executor.shutdown(cancel_futures=True)
        cv2.setNumThreads(self._threads)


_process_state: tuple[CorruptOne, Synchronized, Event]


def _start_process(one: CorruptOne, written: Synchronized, stop: Event) -> None:
    global _process_state
    _process_state = one, written, stop
    cv2.setNumThreads(1)  # the processes share the cores already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    parent.join()
    os._exit(1)


def _work_in_process(relative: str, known: list[bool], before: Source | None) -> Outcome:
    corrupt_one, written, stop = _process_state
    return corrupt_one.write_missing(relative, known, before, written, stop)
