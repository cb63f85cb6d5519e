"""Results of the GPU against the CPU: our operators and the maps of all backbones, half precision within bounds.

TF32 is disabled. The weights are those of the golden files, because initial values would hide mistakes.
"""

from collections.abc import Callable, Iterator

import numpy as np
import official
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin, FANViT
from fan_mm.models.kernels import beside, layer_norm_on_gpu, scaled_residual_on_gpu
from fan_mm.models.layers import EfficientChannelAttention
from fan_mm.models.layers.convolution import depthwise
from gpu.results import Results, largest
from gpu.timing import device

BACKBONES = (FANHybrid, FANViT, FANSwin, FANConvNeXt)
SMALL_GOLDEN = 'fan_tiny_8_p4_hybrid'
LOGITS, MAPS = 2e-5, 1e-4  # the goldens' tolerances
# Relative bounds on norms, two to four times the error on a CPU
AUTOCAST = {torch.bfloat16: 0.03, torch.float16: 0.005}  # against float32, each map
OPERATORS = {torch.float32: 1e-5, torch.bfloat16: 0.01, torch.float16: 0.002}  # against float64
SHAPES = (
    (2, 9, 17, 40),
    (1, 64, 64, 384),
    (3, 1, 1, 8),
    (2, 33, 70, 96),
)  # images, height, width, channels
SHAPE, SMALL_SHAPE = (2, 3, 96, 160), (2, 3, 32, 64)


def measure(results: Results, small: bool) -> None:
    """Add a row for every golden, architecture and precision."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    backbones = BACKBONES[:1] if small else BACKBONES
    shape = SMALL_SHAPE if small else SHAPE
    for dtype, bound in OPERATORS.items():
        for tokens in SHAPES[:1] if small else SHAPES:
            what = f'{str(dtype).removeprefix("torch.")}, {"x".join(map(str, tokens))}'
            for size in (3, 7):
                with results.case(f'depthwise {size}x{size} and its gradients, {what}') as row:
                    row |= compare_depthwise(tokens, size, dtype, bound)
            with results.case(f"the gate's similarity and its gradients, {what}") as row:
                row |= compare_similarity(tokens, dtype, bound)
            for own in (False, True):  # parameters of all samples, or each sample's own
                end = f'{", each sample its own" * own}, {what}'
                with results.case(f'LayerNorm and its gradients{end}') as row:
                    row |= compare_norm(tokens, own, dtype, bound)
                with results.case(f'layer scale and its gradients{end}') as row:
                    row |= compare_residual(tokens, own, dtype, bound)
    for name in [SMALL_GOLDEN] if small else golden_models():
        with results.case(f'golden {name}') as row:
            row |= compare_golden(name)
    for backbone in backbones:
        for arch in ['tiny'] if small else backbone.arch_zoo:
            with results.case(f'maps, float32 and halves, {backbone.__name__} {arch}') as row:
                row |= compare_devices(backbone, arch, shape)


def compare_depthwise(shape: tuple[int, ...], size: int, dtype: torch.dtype, bound: float) -> dict:
    """Our operator on a map, against PyTorch's in float64 on the CPU."""
    batch, height, width, channels = shape
    x = torch.randn(batch, channels, height, width, dtype=torch.float64)
    weight, bias = torch.randn(channels, 1, size, size).double(), torch.randn(channels).double()

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias, padding=size // 2, groups=channels)

    return compare_operators(depthwise, plain, (x, weight, bias), dtype, bound)


def compare_similarity(shape: tuple[int, ...], dtype: torch.dtype, bound: float) -> dict:
    """The same of the channel attention, heads of eight channels."""
    batch, height, width, channels = shape
    u, q = torch.randn(2, batch, height * width, channels, dtype=torch.float64) * 2
    module = EfficientChannelAttention(channels, channels // 8, channels, dict(type='BN'))
    similarity = module.similarity
    # Scaled like a GradScaler does: with many tokens, gradients underflow in float16.
    return compare_operators(similarity, similarity, (u, q), dtype, bound, scale=1024)


def parameters(shape: tuple[int, ...], own: bool, number: int) -> Tensor:
    """Of all samples (C,), or each sample's own (B, C)."""
    return torch.randn(number, *shape[:1] * own, shape[-1], dtype=torch.float64)


def compare_norm(shape: tuple[int, ...], own: bool, dtype: torch.dtype, bound: float) -> dict:
    """LayerNorm with a gate or without."""
    x = torch.randn(shape, dtype=torch.float64)

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        standard = F.layer_norm(x, x.shape[-1:], eps=1e-6)
        return standard * beside(weight, x) + beside(bias, x)

    def found(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return layer_norm_on_gpu(x, weight, bias, 1e-6, dtype if x.is_cuda else x.dtype)

    return compare_operators(found, plain, (x, *parameters(shape, own, 2)), dtype, bound)


def compare_residual(shape: tuple[int, ...], own: bool, dtype: torch.dtype, bound: float) -> dict:
    """Layer scale with drop path or without."""
    x, branch = torch.randn(2, *shape, dtype=torch.float64)

    def plain(x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
        return x + beside(factor, x) * branch

    inputs = x, *parameters(shape, own, 1), branch
    return compare_operators(scaled_residual_on_gpu, plain, inputs, dtype, bound)


def compare_operators(
    found: Callable,
    plain: Callable,
    inputs: tuple[Tensor, ...],
    dtype: torch.dtype,
    bound: float,
    scale: float = 1,
) -> dict:
    """The largest relative error of an output and the gradients of all inputs."""
    rounded = [x.to(dtype).double().requires_grad_() for x in inputs]
    on_gpu = [x.detach().to(device(), dtype).requires_grad_() for x in rounded]
    out, expected = found(*on_gpu), plain(*rounded)
    gradient = (scale * torch.randn_like(expected)).to(dtype)
    results = [out, *torch.autograd.grad(out, on_gpu, gradient.to(out.device, out.dtype))]
    targets = [expected, *torch.autograd.grad(expected, rounded, gradient.double())]
    errors = [
        ((x.cpu().double() - y).norm() / (y.norm() + 1e-12)).item()
        for x, y in zip(results, targets, strict=True)
    ]
    # a softmax over one token has no gradient, only rounding
    worst = (
        largest(errors) if inputs[0][0, ..., 0].numel() > 1 or inputs[0].ndim == 4 else errors[0]
    )
    return dict(worst=worst, unit='relative', holds=worst <= bound)


def golden_models() -> list[str]:
    """Names of the official models with golden outputs."""
    stems = (path.stem.split('__')[0] for path in (official.DATA / 'golden').glob('*.npz'))
    return sorted(stem for stem in stems if stem in official.VARIANTS)


def golden_outputs(name: str) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """What the GPU computes of a golden model, what the golden has, and the tolerance."""
    golden = official.golden(name + '__call_fixed' * ('_se_' in name))
    backbone = MODELS.build(official.backbone_config(name))
    backbone.load_state_dict(official.state_dict(name))
    backbone.eval().to(device())
    for logits in ('logits', 'cls_logits'):
        if logits in golden:
            (feature,) = backbone(official.images(2, 3, 224, 224).to(device()))
            yield F.linear(feature, *head(name)).cpu().numpy(), golden[logits], LOGITS
    for size, shape in (('224', (2, 3, 224, 224)), ('256x320', (1, 3, 256, 320))):
        if f'{size}/out0/sample' in golden:
            for i, x in enumerate(backbone(official.images(*shape).to(device()))):
                yield official.reduced(x.cpu()), golden[f'{size}/out{i}/sample'], MAPS


def head(name: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Weight and bias of a golden classifier's head."""
    shapes = official.keys(name)
    keys = ('head.weight', 'head.bias')
    return [official.value(key, shapes[key]).to(device(), dtype) for key in keys]


@torch.no_grad()
def compare_golden(name: str) -> dict:
    """The largest difference of any output from a golden, in units of its tolerance."""
    ratios = [
        np.abs(found - expected).max() / tolerance
        for found, expected, tolerance in golden_outputs(name)
    ]
    return dict(worst=max(ratios), unit='tolerance', holds=bool(np.max(ratios) <= 1))


def make(
    backbone: type[nn.Module], arch: str | dict, indices: tuple[int, ...] | None = None
) -> nn.Module:
    """A dense backbone on the CPU, with the goldens' kind of weights and nothing random in it."""
    if indices is None:
        indices = (3, 7, 11, -1) if backbone is FANViT else (0, 1, 2, 3)
    module = backbone(arch, out_indices=indices, drop_path_rate=0.0)
    state = module.state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            state[key] = official.value(key, list(value.shape))
    module.load_state_dict(state)
    return module.eval()


@torch.no_grad()
def compare_devices(backbone: type[nn.Module], arch: str, shape: tuple[int, ...]) -> dict:
    """Maps of the GPU against the CPU's, and half precision against the GPU's float32."""
    module, images = make(backbone, arch), official.images(*shape)
    expected = module(images)
    module, images = module.to(device()), images.to(device())
    maps = module(images)
    worst = largest((x.cpu() - y).abs().max().item() for x, y in zip(maps, expected, strict=True))
    row = dict(worst=worst / MAPS, unit='tolerance', holds=worst <= MAPS)
    for dtype, bound in AUTOCAST.items():
        with torch.autocast(device(), dtype):
            halves = module(images)
        errors = [
            ((x.float() - y).norm() / y.norm()).item() for x, y in zip(halves, maps, strict=True)
        ]
        row[str(dtype).removeprefix('torch.')] = largest(errors)
        row['holds'] &= all(error <= bound for error in errors)
    return row
