"""Tile sizes, steps and warps of our Triton kernels, compared with those in the code.

``ms`` is what the code does; the others say how many times longer they take. Shapes are those of FAN-Hybrid-S on
two images of 1024x1024 in bfloat16. Also what a launch costs, ours and Triton's own.
"""

import functools
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import torch
from backbone import captured

from gpu.choices import OURS, beside_ours
from gpu.results import Results, largest
from gpu.timing import device, medians, synchronize

KERNELS = 'fan_mm.models.kernels'
STEM, TOKENS, HIDDEN = (2, 256, 256, 128), (2, 64, 64, 384), (2, 64, 64, 1536)
SUMMED_TILES = {  # rows, columns, channels, warps
    7: ((8, 32, 64, 4), (16, 32, 128, 4), (8, 64, 128, 4), (8, 32, 128, 8), (8, 32, 64, 2)),
    3: ((4, 32, 256, 4), (8, 16, 128, 2), (8, 32, 128, 2), (4, 64, 256, 4), (4, 16, 256, 4)),
}
COLUMNS = {  # of the candidates: rows at a time, rows of a tile, columns, channels, warps
    7: ((4, 4, 64, 64, 4), (4, 8, 64, 64, 4), (4, 8, 64, 32, 4), (2, 8, 128, 64, 2)),
    3: (
        (4, 4, 32, 128, 4), (4, 8, 32, 128, 4), (4, 4, 16, 256, 4), (2, 4, 32, 128, 2),
        (1, 4, 64, 128, 1), (1, 4, 32, 256, 1),
    ),
}  # fmt: skip
DEPTHWISE = {  # what is timed: whose setting, and settings by the kernel's size
    'gradient': (f'{KERNELS}.depthwise_triton.SUMMED_TILES', SUMMED_TILES),
    'candidate for the gradient': ('gpu.depthwise_columns.SUMMED_TILES', COLUMNS),
    'candidate for the convolution': ('gpu.depthwise_columns.TILES', COLUMNS),
}
ROWS = (  # values of a step, programs where rows are summed, warps
    (2048, 1024, 4), (1024, 1024, 4), (4096, 1024, 4), (4096, 1024, 8), (2048, 1024, 8),
    (2048, 2048, 4), (2048, 512, 4), (1024, 2048, 2), (1024, 1024, 2), (512, 2048, 1),
)  # fmt: skip
Case = tuple[str, str, tuple]  # what, of which size or on which map, the setting


def measure(results: Results, small: bool) -> None:
    """Add a row for every kernel."""
    if small:
        return  # there is nothing to launch without a GPU
    cases = [
        (what, str(size), setting)
        for what, (_, tiles) in DEPTHWISE.items()
        for size, settings in tiles.items()
        for setting in settings
    ]
    rows = ('norm', 'norm and gradients', 'residual', 'residual and gradients')
    cases += [(what, where, setting) for what in rows for where in PLACES for setting in ROWS]
    compile_at_once(cases)
    with results.case('a launch, microseconds of Python') as row:
        row |= launches()
    for what in dict.fromkeys(what for what, *_ in cases):
        for where in dict.fromkeys(where for other, where, _ in cases if other == what):
            settings = [case[2] for case in cases if case[:2] == (what, where)]
            with results.case(f'{what}, {where}') as row:
                row |= compare(what, where, settings)


def compile_at_once(cases: list[Case]) -> None:
    """Fill Triton's cache, in parallel."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(mp_context=context) as pool:
        list(pool.map(run_once, cases))


def run_once(case: Case) -> None:
    """One launch."""
    what, where, setting = case
    with applied(what, setting):
        work(what, where)()


PLACES = {'stem': STEM, 'tokens': TOKENS}


def work(what: str, where: str) -> Callable[[], tuple]:
    """What is timed; the inputs at a place are the same in all that is timed there."""
    from fan_mm.models.kernels import layer_norm_triton, scaled_residual_triton

    torch.manual_seed(0)
    if where not in PLACES:  # the size of a depthwise kernel
        return depthwise(
            int(where), convolution='convolution' in what, candidate='candidate' in what
        )
    shape = PLACES[where]
    x, g = torch.randn(2, *shape, device=device())
    half, weight = g.bfloat16(), torch.randn(shape[-1], device=device())
    if what.startswith('norm'):
        out = functools.partial(
            layer_norm_triton.layer_norm, x, weight, weight, 1e-6, torch.bfloat16
        )
        back = functools.partial(layer_norm_triton.gradients, half, x, weight, 1e-6)
    else:
        out = functools.partial(scaled_residual_triton.scaled_residual, x, weight, half)
        back = functools.partial(scaled_residual_triton.gradients, g, weight, half)
    return (lambda: (out(), *back())) if 'gradients' in what else lambda: (out(),)


def depthwise(size: int, convolution: bool, candidate: bool) -> Callable[[], tuple]:
    """A depthwise convolution in the stem or in the MLP, or the gradient of its weight."""
    from fan_mm.models.kernels import depthwise_triton
    from gpu import depthwise_columns

    kernels = depthwise_columns if candidate else depthwise_triton
    shape = STEM if size > 3 else HIDDEN
    g, x = torch.randn(2, *shape, device=device()).bfloat16()
    weight = torch.randn(shape[-1], 1, size, size, device=device())
    if not convolution:
        return functools.partial(kernels.gradients, g, x, weight)
    return lambda: (kernels.convolve(x, weight, None, False),)


def applied(what: str, setting: tuple) -> mock._patch:
    """Uses a setting instead of the code's within a block."""
    if what in DEPTHWISE:
        return mock.patch(DEPTHWISE[what][0], dict.fromkeys((False, True), setting))
    names = ('VALUES', 'PROGRAMS', 'WARPS')
    return mock.patch.multiple(f'{KERNELS}.rows_triton', **dict(zip(names, setting, strict=True)))


def compare(what: str, where: str, settings: list[tuple]) -> dict:
    """Times of all settings, and whether their results agree."""
    call = work(what, where)
    ways = {OURS: work(what.removeprefix('candidate for the '), where)}
    for setting in settings:
        ways[str(setting)] = functools.partial(under, what, setting, call)
    expected = ways[OURS]()
    difference = largest(
        ((found.float() - ours.float()).norm() / ours.float().norm()).item()
        for way in ways.values()
        for found, ours in zip(way(), expected, strict=True)
    )
    graphs = {name: captured(way) for name, way in ways.items()}
    return beside_ours(medians(graphs, seconds=0.1)) | dict(
        difference=difference, holds=difference < 1e-4
    )


def under(what: str, setting: tuple, call: Callable[[], tuple]) -> tuple:
    """A call with a setting."""
    with applied(what, setting):
        return call()


def launches() -> dict:
    """Microseconds that Python takes for a launch, by `launch` and by Triton alone."""
    from fan_mm.models.kernels import launch

    call, times = work('residual', 'tokens'), {}
    for name, direct in (('ours', True), ('Triton alone', False)):
        with mock.patch.object(launch, 'BY_TYPES', direct):
            for _ in range(10):
                call()
            synchronize()
            begin = time.perf_counter()
            for _ in range(200):
                call()
            times[name] = (time.perf_counter() - begin) / 200 * 1e6
            synchronize()
    return times
