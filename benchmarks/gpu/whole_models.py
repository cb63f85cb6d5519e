"""Whole backbones compiled for the first time, each in one graph: how long it takes.

This fills the compiler's cache for `speed`.
"""

import time

import torch
from backbone import build, step

from gpu.results import Results
from gpu.speed import COMPILATIONS, SMALL_SHAPE, random_images, title
from gpu.timing import device, synchronize


def measure(results: Results, small: bool) -> None:
    """Add a row for every backbone and shape."""
    for arch, shape, train in [('fan_vit:tiny', SMALL_SHAPE, False)] if small else COMPILATIONS:
        with results.case(f'{title(arch, shape, train)}, bfloat16') as row:
            torch._dynamo.reset()
            module, _, _ = build(arch)
            module.to(device()).train(train)
            images = random_images(shape)
            compiled = torch.compile(
                module, fullgraph=True, dynamic=False, backend='eager' if small else 'inductor'
            )
            work = step(compiled, list(module.parameters()), images, train, half=True)
            start = time.perf_counter()
            work()
            synchronize()
            row |= dict(seconds=time.perf_counter() - start, holds=True)
