"""Time `fan_mm.corruptions` against the reference, imagecorruptions-imaug, on one thread.

    python benchmarks/corruptions.py --size 1024x2048 224x224 --severity 3

Each round calls ours and theirs in turn on the same image; the reported time is the minimum CPU time over
all rounds, which for one thread is the wall time without interference from other programs. Peak memory is the
growth of the process while one image is corrupted, including the result, divided by the size of the image;
it is measured in a separate process (Linux only).
"""

import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('NUMBA_NUM_THREADS', '1')

import cv2
import imagecorruptions
import numpy as np
from rich.console import Console
from rich.table import Table

from fan_mm.cli import run, size, tool_parser
from fan_mm.corruptions import CORRUPTIONS, corrupt


def street(height: int, width: int) -> np.ndarray:
    """A picture with edges, flat areas, fine texture and colour, uint8 ``(H, W, 3)``."""
    rng = np.random.default_rng(0)
    image = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64):
        shape = (max(height * cells // 512, 2), max(width * cells // 512, 2), 3)
        layer = rng.uniform(0, 255, shape).astype(np.float32)
        image += cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    for _ in range(40):
        corners = rng.uniform(0, 1, (4, 2)) * 0.3 + rng.uniform(-0.15, 1, 2)
        corners = cv2.convexHull((corners * (width, height)).astype(np.int32))
        cv2.fillPoly(image, [corners], rng.uniform(0, 255, 3).tolist())
    image += rng.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def calls(name: str, severity: int) -> tuple[Callable, Callable]:
    """Ours and theirs as functions of the image."""
    return (
        lambda image: corrupt(image, name, severity, seed=1),
        lambda image: imagecorruptions.corrupt(image, severity, name),
    )


def seconds(image: np.ndarray, name: str, severity: int, repeat: int) -> list[float]:
    """Least seconds of ours and of theirs."""
    functions = calls(name, severity)
    best = [float('inf')] * 2
    for function in functions:
        function(image[:64, :64].copy())  # warm-up: imports, tables, compilation
    for _ in range(repeat):
        for i, function in enumerate(functions):
            start = time.process_time()
            function(image)
            best[i] = min(best[i], time.process_time() - start)
    return best


def _status(key: str) -> int:
    """Read a size from /proc/self/status, in bytes."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(key + ':'):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def _peak(image: np.ndarray, name: str, severity: int, which: int) -> float:
    function = calls(name, severity)[which]
    function(image[:64, :64].copy())
    ctypes.CDLL(None).malloc_trim(0)  # reused free memory would not be counted
    before = _status('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # start a new high-water mark
    function(image)
    return (_status('VmHWM') - before) / image.nbytes


def peaks(image: np.ndarray, severity: int) -> dict[str, list[float]]:
    """Peak extra memory of ours and of theirs for every corruption, in multiples of the image."""
    result = {}
    for name in CORRUPTIONS:
        result[name] = []
        for which in (0, 1):
            with multiprocessing.get_context('fork').Pool(1) as pool:
                result[name].append(pool.apply(_peak, (image, name, severity, which)))
    return result


def main() -> None:
    """Print one table per size."""
    parser = tool_parser(__doc__, '')
    parser.add_argument(
        '--size', type=size, nargs='+', default=[(1024, 2048), (224, 224)], metavar='HxW'
    )
    parser.add_argument('--severity', type=int, default=3)
    parser.add_argument('--repeat', type=int, default=5, help='rounds (default: 5)')
    args = parser.parse_args()

    cv2.setNumThreads(1)
    images = [street(*shape) for shape in args.size]
    memory = [peaks(image, args.severity) if os.path.exists('/proc') else None for image in images]
    for image, peak in zip(images, memory, strict=True):
        height, width = image.shape[:2]
        repeat = args.repeat * max(1, 500_000 // (height * width))
        table = Table(title=f'{height} x {width}, severity {args.severity}, one thread')
        table.add_column('corruption')
        for column in ('ours, ms', 'theirs, ms', 'ratio', 'ours, images/s'):
            table.add_column(column, justify='right')
        if peak:
            table.add_column('ours, peak memory / image', justify='right')
            table.add_column('theirs', justify='right')
        total = np.zeros(2)
        for name in CORRUPTIONS:
            ours, theirs = seconds(image, name, args.severity, repeat)
            total += ours, theirs
            table.add_row(
                name,
                *_cells(ours, theirs),
                *(f'{multiple:.1f}' for multiple in (peak[name] if peak else ())),
            )
        table.add_section()
        table.add_row('sum', *_cells(*total))
        Console(width=110).print(table)


def _cells(ours: float, theirs: float) -> tuple[str, ...]:
    return f'{ours * 1e3:.2f}', f'{theirs * 1e3:.2f}', f'{theirs / ours:.1f}', f'{1 / ours:.1f}'


if __name__ == '__main__':
    run(main)
