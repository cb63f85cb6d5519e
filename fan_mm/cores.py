"""How many cores there are to work on."""

import os


def usable_cores() -> int:
    """Cores that this process may use (a batch system may grant fewer than the machine has)."""
    if hasattr(os, 'sched_getaffinity'):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
