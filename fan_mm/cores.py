"""How many cores and how much memory there are to work with."""

import os

from fan_mm.errors import InputError


def usable_cores() -> int:
    """Cores that this process may use (a batch system may grant fewer than the machine has)."""
    if hasattr(os, 'sched_getaffinity'):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_memory(needed: float, what: str) -> None:
    """Refuse what the machine has no memory for: Linux would promise it first, and kill later.

    Args:
        needed: bytes.
        what: needs them, for the error's line.

    Raises:
        InputError: there are fewer.
    """
    try:
        there = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):  # not Linux
        return
    if needed > there:
        raise InputError(
            f'{what} needs about {needed / 2**30:.0f} GiB of memory, and there are {there / 2**30:.0f}'
        )
