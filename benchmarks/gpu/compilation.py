"""`torch.compile` makes one graph of every backbone, for one size and for any, without changing results.

Uses shallow backbones, because deep ones have the same kinds of blocks and take minutes to compile; `speed`
compiles whole backbones.
"""

import functools
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import official
import torch
from torch import Tensor, nn

from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin, FANViT
from gpu.exactness import make
from gpu.gradients import gradients
from gpu.results import Results, largest
from gpu.timing import device

ARCHS = {
    FANHybrid: dict(embed_dims=192, depth=2, num_heads=4, stem_depths=(1, 1), tap=0),
    FANViT: dict(embed_dims=192, depth=2, num_heads=4),
    FANSwin: dict(embed_dims=96, depths=(2, 2, 2, 2), num_heads=(3, 6, 12, 24)),
    FANConvNeXt: dict(embed_dims=96, depths=(1, 1, 1, 1), num_heads=(3, 6, 12, 24)),
}
SIZES, SMALL_SIZES = ((256, 320), (224, 448), (333, 250)), ((32, 64), (48, 80))
MAPS, GRADIENTS = 1e-4, 1e-3  # relative


def measure(results: Results, small: bool) -> None:
    """Add a row for every backbone: static, a training step, dynamic; the backbones side by side."""
    if small:
        measure_backbone(results, FANViT, small)
        return
    with ProcessPoolExecutor(len(ARCHS), mp_context=get_context('spawn')) as pool:
        list(pool.map(functools.partial(measure_backbone, results, small=small), ARCHS))


def measure_backbone(results: Results, backbone: type[nn.Module], small: bool) -> None:
    """Add the rows of one backbone."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    backend = 'eager' if small else 'inductor'
    sizes = SMALL_SIZES if small else SIZES
    for name, compare in (
        ('forward, one size', compare_static),
        ('training step', compare_training),
        ('forward, any size', compare_dynamic),
    ):
        with results.case(f'{name}, {backbone.__name__}') as row:
            torch._dynamo.reset()
            module = make(backbone, dict(ARCHS[backbone]), (0, -1)).to(device())
            start = time.perf_counter()
            images = [official.images(2, 3, *s).to(device()) for s in sizes]
            row |= compare(module, images, backend)
            row['seconds'] = time.perf_counter() - start


def compare_static(module: nn.Module, images: list[Tensor], backend: str) -> dict:
    """One size, one graph."""
    compiled = torch.compile(module, fullgraph=True, dynamic=False, backend=backend)
    return compare_maps(module, compiled, images[:1])


def compare_dynamic(module: nn.Module, images: list[Tensor], backend: str) -> dict:
    """Several sizes, each in one graph; ``graphs`` says how often it was compiled for them."""
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)
    before = torch._dynamo.utils.counters['stats']['unique_graphs']
    row = compare_maps(module, compiled, images)
    row['sizes'] = len(images)
    row['graphs'] = torch._dynamo.utils.counters['stats']['unique_graphs'] - before
    return row


@torch.no_grad()
def compare_maps(module: nn.Module, compiled: Callable, images: list[Tensor]) -> dict:
    """The largest relative difference of a map."""
    worst = largest(
        relative(x, y)
        for batch in images
        for x, y in zip(compiled(batch), module(batch), strict=True)
    )
    return dict(worst=worst, holds=worst <= MAPS)


def compare_training(module: nn.Module, images: list[Tensor], backend: str) -> dict:
    """The largest relative difference of all gradients together."""
    expected = gradients(module, images[0])
    compiled = torch.compile(module, fullgraph=True, dynamic=False, backend=backend)
    found = gradients(compiled, images[0])
    flat = [torch.cat([g.flatten() for g in d.values()]) for d in (found, expected)]
    worst = relative(*flat)
    return dict(worst=worst, holds=worst <= GRADIENTS)


def relative(x: Tensor, y: Tensor) -> float:
    """Norm of the difference over the norm."""
    return ((x - y).norm() / y.norm()).item()
