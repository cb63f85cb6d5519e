"""Time and peak memory compared with the literal reference and with MiT-B2 and ResNet-50.

PyTorch's defaults are used: TF32 in convolutions, not in matrix products. Goals, compared in the same precision:
forward at 1024 in bfloat16 4 times as fast as the reference, a training step 2.5 times, with a third of its peak
memory.
"""

import itertools
import re
import time
from collections.abc import Callable
from unittest import mock

import torch
from backbone import build, captured, step, steps
from reference.memory import peak_memory

from fan_mm.models.kernels import library
from gpu.results import Results, Row, read
from gpu.segmentors import segmentor
from gpu.timing import device, medians

Ways = dict[str, Callable[[], object]]
Shape = tuple[int, int, int]  # images, height, width
ARCHS = ('fan_hybrid:small', 'fan_hybrid:base', 'fan_vit:small', 'fan_swin:tiny')
FORWARDS = ((8, 1024, 1024), (1, 1024, 1024), (64, 224, 224), (8, 512, 512), (1, 1024, 2048))
TRAINING = (4, 1024, 1024)
SMALL_SHAPE = (2, 32, 64)
EAGER = ('reference', 'ours', 'reference, bfloat16', 'ours, bfloat16')
GRAPHS = ('reference, bfloat16, CUDA graph', 'ours, bfloat16, CUDA graph')
COMPILED = ('ours, compiled', 'ours, compiled, bfloat16')
WITHOUT_KERNELS = 'ours, compiled without our kernels, bfloat16'
COMPILATIONS = (  # in bfloat16; `whole_models` compiles them beforehand
    (ARCHS[0], FORWARDS[0], False),
    (ARCHS[0], TRAINING, True),
    *((ARCHS[0], shape, False) for shape in FORWARDS[1:]),
    *((arch, FORWARDS[0], False) for arch in ARCHS[1:]),
)
ENOUGH = 130  # seconds after which no further compilation is started (one takes up to 30 s)
GOALS = {False: 4.0, True: 2.5}  # times the reference: forward, training step


def measure(results: Results, small: bool) -> None:
    """Add a row for every backbone, shape and way; the goals' first."""
    begin = time.monotonic()
    ceilings(results, 256 if small else 8192)
    arch = 'fan_hybrid:tiny' if small else ARCHS[0]
    forward, training = (SMALL_SHAPE, SMALL_SHAPE) if small else (FORWARDS[0], TRAINING)
    compared(results, arch, forward, False, EAGER)
    compared(results, arch, training, True, EAGER)
    goals(results, arch, forward, training)
    if not small:  # one image does not keep a GPU busy: what of the time is Python's
        compared(results, arch, FORWARDS[1], False, EAGER[2:] + GRAPHS)
        compared(results, arch, TRAINING, True, GRAPHS)
    checkpointed(results, arch, training)
    for train, shape in ((False, forward), (True, training)):
        beside(results, shape, train, small)
    if not small:
        measure_rest(results, begin)


def measure_rest(results: Results, begin: float) -> None:
    """The other backbones and sizes, then compiled ones while there is time."""
    for arch, shape, train in COMPILATIONS[:2]:
        compared(results, arch, shape, train, COMPILED[1:])
    for arch, shape, train in COMPILATIONS[:3]:
        compiled_without_kernels(results, arch, shape, train)
    for arch, shape in list(itertools.product(ARCHS, FORWARDS))[1:]:
        compared(results, arch, shape, False, EAGER)
    for arch in ARCHS[1:]:
        compared(results, arch, TRAINING, True, EAGER)
        checkpointed(results, arch, TRAINING)
    for arch, shape, train in COMPILATIONS[2:]:
        if time.monotonic() < begin + ENOUGH:
            compared(results, arch, shape, train, COMPILED[1:])
    if time.monotonic() < begin + ENOUGH:
        compared(results, ARCHS[0], FORWARDS[0], False, COMPILED[:1])


def ceilings(results: Results, side: int) -> None:
    """The machine's fastest matrix product and copy, as upper bounds."""
    for dtype in (torch.bfloat16, torch.float32):
        with results.case(f'matrix product, {side} x {side}, {dtype}'.replace('torch.', '')) as row:
            a, b = torch.randn(2, side, side, device=device()).to(dtype)
            row['ms'] = medians({'': lambda a=a, b=b: a @ b})['']
            row['TFLOP/s'] = 2 * side**3 / row['ms'] / 1e9
    with results.case('copy within memory') as row:
        source = torch.randn(16 * side, side, device=device())
        target = torch.empty_like(source)
        row['ms'] = medians({'': lambda: target.copy_(source)})['']
        row['GB/s'] = 2 * source.nbytes / row['ms'] / 1e6


def title(name: str, shape: Shape, train: bool) -> str:
    """What is measured, in words."""
    batch, height, width = shape
    return f'{name}, {"training step" if train else "forward"}, {batch} x {height}x{width}'


def random_images(shape: Shape) -> torch.Tensor:
    """Random input images."""
    batch, height, width = shape
    return torch.randn(batch, 3, height, width, device=device())


def compared(
    results: Results, arch: str, shape: Shape, train: bool, names: tuple[str, ...]
) -> None:
    """Measure some of the ways of ``benchmarks/backbone.py``."""
    with results.guard(title(arch, shape, train)):
        ours, reference, state = build(arch)
        named = steps(ours, reference, state, random_images(shape), train)
        ways = {name: named[name] for name in names if name in named}  # fewer on a CPU
        for name in set(names) & set(GRAPHS):
            ways[name] = captured(named[name.removesuffix(', CUDA graph')])
        add_rows(results, title(arch, shape, train), ways, shape[0])


def compiled_without_kernels(results: Results, arch: str, shape: Shape, train: bool) -> None:
    """Measure a compiled backbone in which the compiler generates also what our kernels compute."""
    with results.guard(title(arch, shape, train)), mock.patch.object(library, 'TYPES', ()):
        named = steps(*build(arch), random_images(shape), train)
        add_rows(
            results, title(arch, shape, train), {WITHOUT_KERNELS: named[COMPILED[1]]}, shape[0]
        )


def goals(results: Results, arch: str, forward: Shape, training: Shape) -> None:
    """Add whether the goals are reached, from the rows measured before."""
    for shape, train in ((forward, False), (training, True)):
        name = title(arch, shape, train)
        found = measured(results, name).get('ours, bfloat16')
        if found is None or 'times faster' not in found:
            continue  # without a GPU
        with results.case(f'goal: {name}, bfloat16, {GOALS[train]} times faster') as row:
            row['times faster'] = found['times faster']
            row['holds'] = row['times faster'] >= GOALS[train]
        if train:
            with results.case(f'goal: {name}, bfloat16, a third of the peak memory') as row:
                reference = measured(results, name)['reference, bfloat16']
                row['peak MiB'] = found['peak MiB']
                row['holds'] = found['peak MiB'] <= reference['peak MiB'] / 3


def checkpointed(results: Results, arch: str, shape: Shape) -> None:
    """Measure a training step that recomputes activations."""
    with results.guard(title(arch, shape, True)):
        ours, _, _ = build(arch, with_cp=True)
        ours.to(device()).train()
        parameters, images = list(ours.parameters()), random_images(shape)
        ways = {
            f'ours, with_cp{", bfloat16" * half}': step(ours, parameters, images, True, half)
            for half in (False, True)
        }
        add_rows(results, title(arch, shape, True), ways, shape[0])


def beside(results: Results, shape: Shape, train: bool, small: bool) -> None:
    """Measure segmentors of similar size, including the logits."""
    names = ('FAN-Hybrid-T',) if small else ('FAN-Hybrid-S', 'MiT-B2', 'ResNet-50')
    for name in names:
        case = title(f'{name} and SegFormer head', shape, train)
        with results.guard(case):
            model = segmentor(name).train(train)
            parameters, images = list(model.parameters()), random_images(shape)

            def logits(x: torch.Tensor, model: torch.nn.Module = model) -> list[torch.Tensor]:
                return [model(x, mode='tensor')]

            ways = {
                'bfloat16' if half else 'float32': step(logits, parameters, images, train, half)
                for half in (True, False)
            }
            add_rows(results, case, ways, shape[0])


def measured(results: Results, name: str) -> dict[str, Row]:
    """The rows of a case that are complete, by their way."""
    rows = [row for row in read(results.path) if row['section'] == results.section]
    return {row['way']: row for row in rows if row['case'] == name and 'images/s' in row}


def add_rows(results: Results, name: str, ways: Ways, batch: int) -> None:
    """A row with time and memory for each way, against the reference in the same precision."""
    for way, work in ways.items():
        with results.case(name) as row:
            row['way'] = way
            work()  # compilation, kernels chosen, the optimizer's state
            if way not in GRAPHS:  # its memory is kept between calls
                row['peak MiB'] = peak_memory(work, device()) / 2**20
            row['ms'] = medians({way: work})[way]
            row['images/s'] = 1000 * batch / row['ms']
            like = re.sub(r', (compiled( without our kernels)?|with_cp)', '', way)
            like = like.replace('ours', 'reference')
            if like in (rows := measured(results, name)):
                row['times faster'] = rows[like]['ms'] / row['ms']
