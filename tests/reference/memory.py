"""Peak memory of a piece of work, measured from outside of it."""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch


def peak_memory(work: Callable[[], object], device: str) -> int:
    """Bytes that ``work`` needed at once beyond what was in use before it, on the device it uses.

    On a GPU the allocator's count; on a CPU (Linux) the growth of the resident set, after what
    earlier work left free has gone back to the system.
    """
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    Path('/proc/self/clear_refs').write_text('5')  # the peak starts from here
    before = _status('VmRSS')
    result = work()
    peak = _status('VmHWM')
    del result
    return peak - before


def _status(field: str) -> int:
    text = Path('/proc/self/status').read_text()
    return 1024 * int(re.search(rf'{field}:\s+(\d+) kB', text)[1])
