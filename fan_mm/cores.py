"""How many cores and how much memory there are to work with."""

import os
from collections.abc import Iterator
from pathlib import Path

from fan_mm.errors import InputError


def usable_cores() -> int:
    """Cores that this process may use (a batch system may grant fewer than the machine has)."""
    if hasattr(os, 'sched_getaffinity'):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_memory(needed: float, what: str) -> None:
    """Refuse what needs more bytes of memory than the machine has: Linux would promise it, and kill later.

    Raises:
        InputError: there are fewer.
    """
    try:
        there = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):  # not Linux
        return
    if needed > there:
        raise InputError(
            f'{what} needs about {needed / 2**30:.0f} GiB of memory, but only {there / 2**30:.0f}'
        )


def available_memory() -> int | None:
    """Bytes of memory that may still be taken: of the machine, or of what a batch system grants.

    Returns:
        None where nothing tells (not Linux).
    """
    lines = _text('/proc/meminfo').splitlines()
    machine = [int(line.split()[1]) * 1024 for line in lines if line.startswith('MemAvailable:')]
    return min([*machine, *_left_in_groups()], default=None)


def _left_in_groups() -> Iterator[int]:
    """What the control groups of this process leave of their limits, cgroup v1 and v2."""
    for line in _text('/proc/self/cgroup').splitlines():
        _, controllers, group = line.split(':', 2)
        root, limit, usage = {
            '': ('/sys/fs/cgroup', 'memory.max', 'memory.current'),
            'memory': ('/sys/fs/cgroup/memory', 'memory.limit_in_bytes', 'memory.usage_in_bytes'),
        }.get(controllers, ('', '', ''))
        # In a container the group's own path may lie outside of what is mounted: its root is there.
        for place in (Path(group.lstrip('/')), *Path(group.lstrip('/')).parents) if root else ():
            folder = Path(root, place)
            granted, used = _text(folder / limit).strip(), _text(folder / usage).strip()
            if granted.isdigit() and used.isdigit():  # without a limit it is "max"
                yield max(0, int(granted) - int(used) + _cached_files(folder))


def _cached_files(group: Path) -> int:
    """Bytes that a control group counts as used but gives back when they are needed."""
    lines = [line.split() for line in _text(group / 'memory.stat').splitlines()]
    found = [int(v) for name, v in lines if name in ('inactive_file', 'total_inactive_file')]
    return max(found, default=0)  # the total, where there are both, has those of the groups below


def _text(path: str | os.PathLike) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ''


def lies_in_memory(folder: str | os.PathLike) -> bool:
    """Whether files in a folder take memory (tmpfs); False where nothing tells."""
    real, found = os.path.realpath(folder), ('', '')
    for line in _text('/proc/mounts').splitlines():
        _, place, kind, *_ = line.split()
        place = place.replace('\\040', ' ')
        if os.path.commonpath([place, real]) == place and len(place) >= len(found[0]):
            found = place, kind
    return found[1] in ('tmpfs', 'ramfs')
