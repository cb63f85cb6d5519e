"""Times on the GPU: medians over interleaved rounds, measured with events after a warm-up.

Without a GPU nothing is measured: each function is called once, to check that it runs.
"""

import statistics
import time
from collections.abc import Callable

import torch

WARM_UP = 3  # calls
LEAST_MS = 5.0  # work is repeated between two events until it lasts this long
ROUNDS = (3, 30)


def device() -> str:
    """The GPU; without one the CPU."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def synchronize() -> None:
    """Wait for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def medians(named: dict[str, Callable[[], object]], seconds: float = 0.5) -> dict[str, float]:
    """Median milliseconds of a call of each, called in turn within each round.

    Args:
        named: name -> function to time.
        seconds: approximate measuring time of each function.
    """
    if not torch.cuda.is_available():
        return {name: _elapsed(work, 1) for name, work in named.items()}
    first = {name: _warm(work) for name, work in named.items()}
    calls = {name: max(1, round(LEAST_MS / ms)) for name, ms in first.items()}
    round_ms = sum(calls[name] * ms for name, ms in first.items())
    rounds = min(ROUNDS[1], max(ROUNDS[0], int(1000 * seconds * len(named) / round_ms)))
    times: dict[str, list[float]] = {name: [] for name in named}
    for _ in range(rounds):
        for name, work in named.items():
            times[name].append(_elapsed(work, calls[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def _warm(work: Callable[[], object]) -> float:
    """Milliseconds of a call after a warm-up, which is shorter for slow calls."""
    for _ in range(WARM_UP):
        if _elapsed(work, 1) > 100 * LEAST_MS:
            break
    return max(1e-3, _elapsed(work, 1))


def _elapsed(work: Callable[[], object], calls: int) -> float:
    """Mean milliseconds of consecutive calls."""
    if not torch.cuda.is_available():
        start = time.perf_counter()
        for _ in range(calls):
            work()
        return 1000 * (time.perf_counter() - start) / calls
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / calls
