"""Depthwise convolutions on channels-last maps: what the tokens of FAN are in memory.

cuDNN has channels-last kernels for float16 only, and PyTorch's own kernels need contiguous maps, which costs
two copies per convolution; their weight gradient takes as long as an attention layer. A depthwise convolution
is bound by memory, so these kernels read each value from memory about once.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fan_mm.models.kernels.library import (
    LIBRARY,
    differentiable_gradients,
    implement,
    needs_gradient,
)

LIBRARY.define('depthwise(Tensor x, Tensor weight, Tensor? bias, bool flip) -> Tensor')
LIBRARY.define('depthwise_gradients(Tensor gradient, Tensor x, Tensor weight) -> (Tensor, Tensor)')


def depthwise_on_gpu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution that keeps height and width; autocast applies to it.

    Args:
        x: (B, C, H, W), fast if channels-last.
        weight: (C, 1, k, k) with an odd k; not cast by autocast.
        bias: (C,).

    Returns:
        (B, C, H, W), channels-last.
    """
    if torch.is_autocast_enabled('cuda'):
        x = x.to(torch.get_autocast_dtype('cuda'))
    x = x.permute(0, 2, 3, 1)
    if needs_gradient(x, weight, bias):
        out = _Depthwise.apply(x, weight, bias)
    else:
        out = torch.ops.fan_mm.depthwise(x, weight, bias, False)
    return out.permute(0, 3, 1, 2)


class _Depthwise(torch.autograd.Function):
    """The operators with their gradients, on (B, H, W, C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return torch.ops.fan_mm.depthwise(x, weight, bias, False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        x, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            # Only PyTorch's operator supports double backward.
            out = _plain_depthwise(x, weight, bias, False)
            return tuple(differentiable_gradients(out, (x, weight, bias), gradient))
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = torch.ops.fan_mm.depthwise(gradient, weight, None, True)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            of_weight, of_bias = torch.ops.fan_mm.depthwise_gradients(gradient, x, weight)
            of_weight, of_bias = of_weight.to(weight.dtype), of_bias.to(bias.dtype)
        return of_x, of_weight, of_bias


def _plain_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, flip: bool) -> Tensor:
    weight = weight.to(x.dtype).flip(2, 3) if flip else weight.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    padding, channels = weight.shape[-1] // 2, len(weight)
    out = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=padding, groups=channels)
    return out.permute(0, 2, 3, 1).contiguous()


def _plain_gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    size, channels = weight.shape[-1], len(weight)
    _, of_weight, of_bias = torch.ops.aten.convolution_backward(
        gradient.permute(0, 3, 1, 2),
        x.permute(0, 3, 1, 2),
        weight.to(x.dtype),
        [channels],
        [1, 1],
        [size // 2, size // 2],
        [1, 1],
        False,
        [0, 0],
        channels,
        [False, True, True],
    )
    return of_weight.float().contiguous(), of_bias.float()


def _depthwise_shape(x: Tensor, weight: Tensor, bias: Tensor | None, flip: bool) -> Tensor:
    return x.new_empty(x.shape)


def _gradients_shape(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    of_weight = x.new_empty(weight.shape, dtype=torch.float32)
    return of_weight, of_weight.new_empty(len(weight))


implement('depthwise', _plain_depthwise, _depthwise_shape, 'depthwise_triton:convolve')
implement('depthwise_gradients', _plain_gradients, _gradients_shape, 'depthwise_triton:gradients')
