"""Gradients of a training step on the GPU: the CPU's, for every architecture, and the same in two runs.

TF32 is disabled. Architectures that were never tested on a GPU come first.
"""

import copy
import json
import math
import os

import official
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from fan_mm.models.checkpoints import to_official
from gpu.exactness import BACKBONES, SHAPE, SMALL_SHAPE, head, make
from gpu.results import Results, largest
from gpu.timing import device

GOLDEN = 'fan_tiny_8_p4_hybrid'  # the one with gradients
GRADIENTS = (
    2e-3  # relative, float32 against float64, each parameter: two to four times what a CPU has
)


def measure(results: Results, small: bool) -> None:
    """Add a row for the golden, every architecture, and every deterministic mode."""
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # read once, when cuBLAS starts
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    backbones = BACKBONES[:1] if small else BACKBONES
    with results.case(f'gradients of a training step, float64, golden {GOLDEN}') as row:
        row |= compare_golden_gradients(GOLDEN)
    measure_archs(results, [(backbone, 'tiny') for backbone in backbones], small)
    for warn_only, way in ((False, 'strict'), (True, 'as randomness.deterministic, warning')):
        for half in (False,) if small else (False, True):
            for backbone in backbones:
                precision = 'bfloat16' if half else 'float32'
                name = f'the same gradients twice, {way}, {precision}, {backbone.__name__} tiny'
                with results.case(name) as row:
                    row |= compare_twice(backbone, warn_only, half, small)
    if not small:
        others = [(backbone, arch) for backbone in backbones for arch in backbone.arch_zoo]
        measure_archs(results, [(b, arch) for b, arch in others if arch != 'tiny'], small)


def measure_archs(results: Results, archs: list[tuple[type[nn.Module], str]], small: bool) -> None:
    """Add a row for each of some architectures."""
    for backbone, arch in archs:
        name = f'gradients of a training step, float32, {backbone.__name__} {arch}'
        with results.case(name) as row:
            row |= compare_gradients(backbone, arch, SMALL_SHAPE if small else SHAPE)


def compare_golden_gradients(name: str) -> dict:
    """The largest relative difference of a gradient's norm from the golden's, in float64."""
    golden = json.loads((official.DATA / f'golden/train_float64_{name}.json').read_text())
    backbone = MODELS.build(official.backbone_config(name))
    backbone.load_state_dict(official.state_dict(name))
    backbone.double().train().to(device())
    weight, bias = (tensor.requires_grad_() for tensor in head(name, torch.float64))
    (feature,) = backbone(official.images(2, 3, 224, 224).double().to(device()))
    loss = F.cross_entropy(F.linear(feature, weight, bias), torch.tensor([3, 7], device=device()))
    loss.backward()
    norms = {to_official(key): p.grad.norm().item() for key, p in backbone.named_parameters()}
    norms |= {'head.weight': weight.grad.norm().item(), 'head.bias': bias.grad.norm().item()}
    worst = largest(
        abs(norms[key] - expected) / max(expected, 1e-6)
        for key, expected in golden['grad_l2'].items()
    )
    # Position codes are computed in float32, and sines differ between devices.
    same_loss = abs(loss.item() - golden['loss']) <= 1e-7
    return dict(worst=worst, unit='relative', holds=same_loss and worst <= 1e-6)


def gradients(module: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Gradients of one training step, by name."""
    module.train().zero_grad()
    sum(x.square().mean() for x in module(images)).backward()
    return {key: p.grad.clone() for key, p in module.named_parameters()}


def compare_gradients(backbone: type[nn.Module], arch: str, shape: tuple[int, ...]) -> dict:
    """The largest relative error of a parameter's gradient, the GPU's float32 against float64."""
    module, images = make(backbone, arch), official.images(*shape)
    expected = gradients(copy.deepcopy(module).double(), images.double())
    found = gradients(module.to(device()), images.to(device()))
    scale = max(gradient.norm() for gradient in expected.values())
    errors = {
        key: ((found[key].cpu().double() - g).norm() / (g.norm() + 1e-4 * scale)).item()
        for key, g in expected.items()
    }
    worst = max(errors, key=lambda key: (math.isnan(errors[key]), errors[key]))
    return dict(worst=errors[worst], unit='relative', of=worst, holds=errors[worst] <= GRADIENTS)


def compare_twice(backbone: type[nn.Module], warn_only: bool, half: bool, small: bool) -> dict:
    """How many gradients differ in any bit between two equal steps with many tokens."""
    module = make(backbone, 'tiny').to(device())
    images = official.images(*(SMALL_SHAPE if small else (1, 3, 512, 512))).to(device())
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        with torch.autocast(device(), torch.bfloat16, enabled=half):
            first, second = (gradients(module, images) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    differing = sum(not torch.equal(first[key], second[key]) for key in first)
    return dict(worst=differing, unit=f'of {len(first)} gradients', holds=differing == 0)
