"""What token pooling (TAP) and attention diversification (ADL) cost: the pairs of `benchmarks/token_pooling.py`."""

from collections.abc import Callable

import token_pooling
import torch
from reference.memory import peak_memory

from gpu.results import Results
from gpu.timing import device, medians

ARCHS, SIZE = ('fan_hybrid:small', 'fan_vit:small'), (1, 3, 1024, 1024)
SMALL_ARCHS, SMALL_SIZE = ('fan_hybrid:tiny',), (1, 3, 32, 64)


def measure(results: Results, small: bool) -> None:
    """Add a row for a forward pass and for a training step, each with and without; bfloat16 first."""
    images = torch.randn(SMALL_SIZE if small else SIZE, device=device())
    scales = token_pooling.SCALES
    for half in (False,) if small else (True, False):
        precision = 'bfloat16' if half else 'float32'
        for arch in SMALL_ARCHS if small else ARCHS:
            with results.case(f'{arch}, forward, token pooling') as row:
                row |= dict(precision=precision) | compare(
                    *(forward(arch, pooled, images, half) for pooled in (None, scales))
                )
            with results.case(f'{arch}, training step, attention diversification') as row:
                row |= dict(precision=precision) | compare(
                    *(training(arch, adl, images, half) for adl in (False, True))
                )


def forward(arch: str, pooled: int | None, images: torch.Tensor, half: bool) -> Callable:
    """A forward pass of the dense maps, with so many scales."""
    work = token_pooling.inference(token_pooling.build(arch, device(), pooled), images)

    def in_precision() -> None:
        with torch.autocast(device(), torch.bfloat16, enabled=half):
            work()

    return in_precision


def training(arch: str, adl: bool, images: torch.Tensor, half: bool) -> Callable:
    """A training step with pooling, with or without the loss."""
    model = token_pooling.build(arch, device(), token_pooling.SCALES)
    return token_pooling.training(model, images, adl, half)


def compare(without: Callable, with_it: Callable) -> dict:
    """Milliseconds and peak memory of the first, and how many times as much the second takes."""
    works = {'without': without, 'with': with_it}
    times = medians(works)
    peaks = {name: peak_memory(work, device()) for name, work in works.items()}
    return {
        'ms without': times['without'],
        'times as long': times['with'] / times['without'],
        'MiB without': peaks['without'] / 2**20,
        'times as much memory': peaks['with'] / max(peaks['without'], 1),
    }
