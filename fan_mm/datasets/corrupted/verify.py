"""Check a corrupted dataset's files against its manifest."""

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from fan_mm.cores import usable_cores
from fan_mm.datasets.corrupted.manifest import (
    CHECKSUMS,
    MANIFEST,
    SOURCES,
    Source,
    read_checksums,
    read_manifest,
    read_sources,
)
from fan_mm.datasets.corrupted.progress import progress_bar
from fan_mm.errors import InputError
from fan_mm.fileio import printable


def verify(
    destination: str | os.PathLike,
    source: str | os.PathLike | None = None,
    *,
    jobs: int | None = None,
    console: Console | None = None,
) -> list[str]:
    """Name everything that is not as the manifest says.

    Args:
        destination: root of a corrupted dataset.
        source: folder of the clean images, to see whether they have changed since; None looks at
            the copies alone.
        jobs: number of files read at the same time, default one per core.
        console: where progress is shown, default standard output.

    Returns:
        One line for every missing, damaged or unexpected file and every changed source; empty if
        all is well.

    Raises:
        InputError: there is no manifest, or jobs is below 1.
    """
    jobs = usable_cores() if jobs is None else jobs
    if jobs < 1:
        raise InputError(f'jobs must be at least 1, not {jobs}')
    destination = Path(destination)
    manifest = read_manifest(destination)
    if not manifest['complete']:
        return ['not finished: run the command again without --verify']
    problems = [
        f'unreadable source, not in the dataset: {name} ({reason})'
        for name, reason in manifest['unreadable'].items()
    ]
    expected, damaged = _copies(destination, manifest)
    problems += damaged
    tasks = [partial(_fault, destination, *item) for item in expected.items()]
    if source is not None:
        try:
            originals = read_sources(destination) or {}
        except InputError:
            problems.append(f'damaged: {CHECKSUMS}/{SOURCES}, so the sources were not checked')
        else:
            tasks += [partial(_fault_of_source, Path(source), *item) for item in originals.items()]
    problems += _found(tasks, jobs, console or Console())
    lists = (SOURCES, *(f'{folder}.sha256' for folder in manifest['folders']))
    own = {MANIFEST, *(f'{CHECKSUMS}/{name}' for name in lists)}
    problems += [
        f'unexpected: {name}'
        for name in _files(destination, '')
        if name not in expected and name not in own
    ]
    return [printable(problem) for problem in problems]


def _copies(
    destination: Path, manifest: Mapping[str, Any]
) -> tuple[dict[str, bytes | None], list[str]]:
    """All copies and their SHA-256, None where its list is damaged, and a line for each such list."""
    expected: dict[str, bytes | None] = {}
    problems = []
    for folder, entry in manifest['folders'].items():
        try:
            sums, checksum = read_checksums(destination, folder)
        except InputError:
            sums, checksum = {}, None
        if checksum != entry['sha256']:
            problems.append(f'damaged: {CHECKSUMS}/{folder}.sha256, so {folder} was not checked')
            expected.update(dict.fromkeys(_files(destination / folder, f'{folder}/')))
        else:
            expected.update({f'{folder}/{name}': digest for name, digest in sums.items()})
    return expected, problems


def _fault(destination: Path, name: str, digest: bytes | None) -> str | None:
    """What is wrong with a copy, in a line; None if nothing is, or its digest is not known."""
    try:
        data = (destination / name).read_bytes() if digest else b''
    except FileNotFoundError:
        return f'missing: {name}'
    except OSError as error:
        return f'unreadable: {name} ({error.strerror})'
    if digest and hashlib.sha256(data).digest() != digest:
        return f'damaged: {name}'
    return None


def _fault_of_source(folder: Path, name: str, was: Source) -> str | None:
    """What is wrong with a clean image, in a line; None if nothing is."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        return f'unreadable source: {name} ({error.strerror})'
    if hashlib.sha256(data).digest() != was.sha256:
        return f'source changed after its copies were made: {name}'
    return None


def _found(tasks: Sequence[Callable[[], str | None]], jobs: int, console: Console) -> list[str]:
    """The lines of all tasks that have one, in their order."""
    problems = []
    with progress_bar(console) as progress, ThreadPoolExecutor(jobs) as pool:
        waiting = iter(tasks)
        # Few tasks in flight: ImageNet-C has 3.75 million files.
        running = deque(pool.submit(task) for task in itertools.islice(waiting, 2 * jobs))
        for _ in progress.track(range(len(tasks)), description='verifying'):
            if problem := running.popleft().result():
                problems.append(problem)
            running.extend(pool.submit(task) for task in itertools.islice(waiting, 1))
    return problems


def _files(top: Path, prefix: str) -> Iterator[str]:
    """All files below ``top``, as sorted paths relative to it with '/', behind ``prefix``."""
    for parent, folders, names in os.walk(top):
        folders.sort()
        below = Path(parent).relative_to(top)
        for name in sorted(names):
            yield prefix + (below / name).as_posix()
