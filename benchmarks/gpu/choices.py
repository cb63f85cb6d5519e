"""Implementation choices that depend on PyTorch's kernels, each compared with its alternatives in its layer.

``ms`` is the time of our implementation; for the alternatives, the ratio to it is given. Shapes are those of
FAN-Hybrid-S and FAN-Swin-T on two images of 1024x1024; half precision is autocast, as in training.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from unittest import mock

import torch
import torch.nn.functional as F
from backbone import captured
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fan_mm.models.kernels import layer_norm_on_gpu, scaled_residual_on_gpu
from fan_mm.models.layers import EfficientChannelAttention
from fan_mm.models.layers.convnext_stem import ConvNeXtBlock
from fan_mm.models.layers.layer_norm import ChannelLayerNorm
from fan_mm.models.layers.mlp import ConvMlp
from fan_mm.models.layers.token_mixing import TokenMixing
from fan_mm.models.layers.window_attention import WindowAttention
from gpu.results import Results, largest
from gpu.timing import device, medians

Context = Callable[[], AbstractContextManager]
Way = tuple[Callable[..., Tensor], Context]
PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)
NORM = dict(type='BN')
LAYERS = 'fan_mm.models.layers'
BACKENDS = ('FLASH_ATTENTION', 'EFFICIENT_ATTENTION', 'CUDNN_ATTENTION', 'MATH')
OURS = 'as the code has it'


def measure(results: Results, small: bool) -> None:
    """Add a row for every choice, precision, pass and way."""
    side = 4 if small else 64  # the grid of an image's tokens, stride 16
    for precision in () if small else (torch.bfloat16, torch.float16):
        for choice in (stem_norm, token_norm, stem_residual, token_residual):
            name, ways, x = choice(side, precision)
            for train in (False, True):
                what = f'{name}, {"forward and backward" if train else "forward"}'
                with results.case(what) as row:
                    row['precision'] = str(precision).removeprefix('torch.')
                    row |= compare_kernels(ways, x, train, precision)
    for precision in PRECISIONS[:1] if small else PRECISIONS:
        for choice in (conv_mlp, convnext_block, channel_gate, token_mixing, windows, layer_norm):
            name, ways, inputs = choice(side)
            for train in (False, True):
                what = f'{name}, {"forward and backward" if train else "forward"}'
                with results.case(what) as row:
                    row['precision'] = str(precision).removeprefix('torch.')
                    row |= compare(ways, inputs, train, precision)


def random(*shape: int) -> Tensor:
    """Values of a hidden layer."""
    return torch.randn(*shape, device=device())


def depthwise_ways(module: nn.Module, where: str) -> dict[str, Way]:
    """Our kernels of depthwise convolutions, and PyTorch's on maps of either layout."""

    def layout(memory_format: torch.memory_format) -> Context:
        def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            x = x.contiguous(memory_format=memory_format)
            return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))

        return lambda: mock.patch(f'{LAYERS}.{where}.depthwise', depthwise)

    return {
        OURS: (module, nullcontext),
        'contiguous': (module, layout(torch.contiguous_format)),
        'channels last': (module, layout(torch.channels_last)),
    }


def conv_mlp(side: int) -> tuple[str, dict[str, Way], tuple]:
    """Two depthwise 3x3 convolutions between matrix products."""
    module = ConvMlp(384, 1536, NORM).to(device())
    inputs = random(2, side**2, 384), (side, side)
    return 'depthwise 3x3 in the MLP', depthwise_ways(module, 'mlp'), inputs


def convnext_block(side: int) -> tuple[str, dict[str, Way], tuple]:
    """A depthwise 7x7 convolution on the map of stride 4."""
    module = ConvNeXtBlock(128).to(device())
    inputs = (random(2, 4 * side, 4 * side, 128),)
    return 'depthwise 7x7 in the stem', depthwise_ways(module, 'convnext_stem'), inputs


class GateOfOperators(EfficientChannelAttention):
    """The channel attention's gate of PyTorch's operators, with a direction of the softmax over tokens."""

    rows = True

    def similarity(self, tokens: Tensor, queries: Tensor) -> Tensor:
        prototype = self._softmax(tokens).mean(2)
        return torch.einsum('bhdn,bhn->bhd', self._softmax(queries), prototype)

    def _softmax(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).softmax(-1) if self.rows else x.softmax(1).transpose(1, 2)
        return x.unflatten(1, (self.num_heads, -1))


def channel_gate(side: int) -> tuple[str, dict[str, Way], tuple]:
    """Our kernels of the gate; softmax over tokens along the rows of a transposed copy, or along columns."""
    ways = {OURS: EfficientChannelAttention(384, 8, 1536, NORM)}
    for name, rows in (('along rows', True), ('along columns', False)):
        ways[name] = GateOfOperators(384, 8, 1536, NORM)
        ways[name].rows = rows
    ways = {name: (gate_of(module.to(device())), nullcontext) for name, module in ways.items()}
    return "channel attention's gate", ways, (random(2, side**2, 384),)


def gate_of(module: EfficientChannelAttention) -> Callable[[Tensor], Tensor]:
    """The gate from tokens alone."""
    return lambda tokens: module.gate(tokens, module.q(tokens))


def attention_ways(module: nn.Module) -> dict[str, Way]:
    """PyTorch's choice among the backends of attention, and each of them."""
    ways = {OURS: (module, nullcontext)}
    for name in BACKENDS:
        ways[name] = module, functools.partial(sdpa_kernel, getattr(SDPBackend, name))
    return ways


def token_mixing(side: int) -> tuple[str, dict[str, Way], tuple]:
    """Attention over all tokens, heads of 48 channels."""
    module = TokenMixing(384, 8).to(device())
    return 'attention over all tokens', attention_ways(module), (random(2, side**2, 384),)


def windows(side: int) -> tuple[str, dict[str, Way], tuple]:
    """Attention in shifted windows with a bias, heads of 32 channels."""
    module = WindowAttention(96, 3, window=7, shift=3).to(device())
    inputs = random(2, 16 * side**2, 96), (4 * side, 4 * side)
    return 'attention in windows', attention_ways(module), inputs


def layer_norm(side: int) -> tuple[str, dict[str, Way], tuple]:
    """The variance divided by C-1: through a scaled weight, by its formula; and what C would cost."""
    sample, plain = (ChannelLayerNorm(128, unbiased=u).to(device()) for u in (True, False))

    def formula(x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, -1, keepdim=True)
        normed = (x - mean) * torch.rsqrt(variance + sample.eps)
        return torch.addcmul(sample.bias, sample.weight, normed)

    ways = {OURS: sample, 'formula': formula, 'divisor C (not the same)': plain}
    ways = {name: (function, nullcontext) for name, function in ways.items()}
    return 'LayerNorm with divisor C-1', ways, (random(2, 4 * side, 4 * side, 128),)


def norm_ways(channels: int, precision: torch.dtype) -> dict[str, Callable[[Tensor], Tensor]]:
    """Our kernel of a LayerNorm before a product; PyTorch's, with the casts that autocast makes around it."""
    norm = nn.LayerNorm(channels, eps=1e-6).to(device())
    return {
        OURS: lambda x: layer_norm_on_gpu(x, norm.weight, norm.bias, norm.eps, precision),
        'PyTorch': lambda x: norm(x).to(precision),
    }


def residual_ways(channels: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Our kernel of layer scale and residual; PyTorch's, for which autocast casts the branch first, or not."""
    gamma = nn.Parameter(torch.rand(channels, device=device()))

    def mixed_types(x: Tensor, branch: Tensor) -> Tensor:
        with torch.autocast('cuda', enabled=False):
            return torch.addcmul(x, gamma, branch)

    return {
        OURS: lambda x, branch: scaled_residual_on_gpu(x, gamma, branch),
        'PyTorch': lambda x, branch: torch.addcmul(x, gamma, branch),
        'PyTorch, mixed types': mixed_types,
    }


def stem_norm(side: int, precision: torch.dtype) -> tuple[str, dict, tuple[Tensor, ...]]:
    """Behind a depthwise convolution."""
    x = random(2, 4 * side, 4 * side, 128).to(precision)
    return 'LayerNorm in the stem', norm_ways(128, precision), (x,)


def token_norm(side: int, precision: torch.dtype) -> tuple[str, dict, tuple[Tensor, ...]]:
    """Of the residual stream."""
    return 'LayerNorm of tokens', norm_ways(384, precision), (random(2, side**2, 384),)


def stem_residual(side: int, precision: torch.dtype) -> tuple[str, dict, tuple[Tensor, ...]]:
    """Behind an MLP of the stem."""
    x, branch = random(2, 2, 4 * side, 4 * side, 128)
    return 'layer scale in the stem', residual_ways(128), (x, branch.to(precision))


def token_residual(side: int, precision: torch.dtype) -> tuple[str, dict, tuple[Tensor, ...]]:
    """Behind the attention."""
    x, branch = random(2, 2, side**2, 384)
    return 'layer scale of tokens', residual_ways(384), (x, branch.to(precision))


def compare_kernels(
    ways: dict[str, Callable[..., Tensor]],
    inputs: tuple[Tensor, ...],
    train: bool,
    precision: torch.dtype,
) -> dict:
    """Time of the GPU alone, as CUDA graphs, and what Python takes in addition for each."""
    inputs = tuple(x.requires_grad_(train) for x in inputs)

    def work(function: Callable[..., Tensor]) -> Tensor:
        with torch.autocast('cuda', precision), torch.set_grad_enabled(train):
            out = function(*inputs)
        if train:
            out.backward(torch.ones_like(out))
        return out.detach()  # a live autograd graph would tie a captured CUDA graph to its stream

    eager = {name: functools.partial(work, way) for name, way in ways.items()}
    expected, scale = work(ways[OURS]).float(), 4 * torch.finfo(precision).eps
    difference = largest(
        ((work(way).float() - expected).norm() / expected.norm()).item() for way in ways.values()
    )
    graphs = medians({name: captured(call) for name, call in eager.items()}, seconds=0.2)
    row = beside_ours(graphs) | dict(difference=difference, holds=difference < scale)
    return row | {'ms with Python': medians(eager, seconds=0.2)}


def beside_ours(milliseconds: dict[str, float]) -> dict:
    """What the others take, in times of what ours does."""
    others = {way: ms / milliseconds[OURS] for way, ms in milliseconds.items() if way != OURS}
    fastest = min(others, key=others.get)
    return {'ms': milliseconds[OURS], 'fastest other way': fastest, 'times as long as ours': others}


def compare(ways: dict[str, Way], inputs: tuple, train: bool, precision: torch.dtype) -> dict:
    """Time a forward pass, or one with its backward pass, in every way that takes it."""
    x, *grid = inputs
    x = x.clone().requires_grad_(train)
    half = torch.autocast(device(), precision, enabled=precision != torch.float32)

    def work(function: Callable[..., Tensor], context: Context) -> None:
        with context(), half, torch.set_grad_enabled(train):
            out = function(x, *grid)
        if train:
            out.backward(torch.ones_like(out))

    named, times = {}, {}
    for way, (function, context) in ways.items():
        named[way] = functools.partial(work, function, context)
        try:
            named[way]()
        except RuntimeError:  # the backend does not support this type
            if way == OURS:
                raise
            del named[way]
            times[way] = 'refused'
    row = beside_ours(medians(named, seconds=0.2))
    row['times as long as ours'] |= times
    return row
