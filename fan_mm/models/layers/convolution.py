"""Convolutions as FAN initialises them (spec section 5), and the depthwise ones it is built of."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fan_mm.models.kernels import depthwise_on_gpu, has_kernels
from fan_mm.models.layers.cpu_inference import eager_on_cpu

FAST = 3  # columns; oneDNN has no depthwise kernel for the gradient of wider weights


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution that keeps height and width.

    Args:
        x: (B, C, H, W).
        weight: (C, 1, k, k) with an odd k.
        bias: (C,).
    """
    if has_kernels(x):
        return depthwise_on_gpu(x, weight, bias)
    # With a channels-last input, the weight's gradient gets other strides in its dimension of size 1,
    # and DDP warns about slow gradients. Flattening and viewing restores the weight's strides.
    weight = weight.flatten(1).view(weight.shape)
    if weight.shape[-1] > FAST and _trains_on_cpu(x, weight):
        return _WideDepthwise.apply(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])


def _trains_on_cpu(x: Tensor, weight: Tensor) -> bool:
    return (
        eager_on_cpu(x)
        and torch.is_grad_enabled()
        and weight.requires_grad
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled('cpu')
    )


class _WideDepthwise(torch.autograd.Function):
    """Depthwise convolution whose weight gets its gradient a few columns at a time.

    For kernels wider than three, oneDNN uses an implementation for dense groups, which multiplies
    mostly zeros: the gradient of a 7x7 weight then takes twenty times as long as the convolution.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, _: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _gradient(gradient, x, weight, (weight.shape[-1] // 2,) * 2, 0) if of_x else None,
            _weight_gradient(gradient, x, weight.shape[-1]) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
        )


def _gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int], of: int
) -> Tensor:
    """PyTorch's own gradient of a depthwise convolution's input (0) or weight (1)."""
    channels, mask = len(weight), [of == 0, of == 1, False]
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], channels, mask
    )[of]


def _weight_gradient(gradient: Tensor, x: Tensor, size: int) -> Tensor:
    """Gradient (C, 1, k, k) of a depthwise kernel wider than `FAST`.

    Three columns of the kernel, starting with the j-th, see the input shifted by j. With k - 1 zeros
    between its rows, the shifted input is the same memory with an offset of j pixels: values that
    wrap into the next row are multiplied by zeros, with which the output's gradient is padded.

    Args:
        gradient: of the output, (B, C, H, W).
        x: (B, C, H, W).
        size: k, odd.
    """
    batch, channels, height, width = x.shape
    wide = width + size - 1
    shape = batch, height, wide, channels
    values = math.prod(shape)
    memory = x.new_zeros(values + (size - FAST) * channels)
    memory[:values].view(shape).narrow(2, size // 2, width).copy_(x.permute(0, 2, 3, 1))
    gradient = F.pad(gradient.permute(0, 2, 3, 1), (0, 0, 0, size - FAST)).permute(0, 3, 1, 2)
    like = x.new_empty(channels, 1, size, FAST)
    found = x.new_empty(channels, 1, size, size)
    for start in (*range(0, size - FAST, FAST), size - FAST):
        shifted = memory[start * channels :][:values].view(shape).permute(0, 3, 1, 2)
        columns = _gradient(gradient, shifted, like, (size // 2, 0), 1)
        found[..., start : start + FAST] = columns
    return found


class StemConv2d(nn.Conv2d):
    """Convolution of the ConvNeXt stem: truncated-normal weights of std 0.02, zero bias."""

    bias: nn.Parameter

    def reset_parameters(self) -> None:
        """Set the initial values."""
        nn.init.trunc_normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)


class FanOutConv2d(nn.Conv2d):
    """Convolution with normal weights of std ``sqrt(2 / fan_out)``, zero bias.

    ``fan_out`` is ``kh * kw * out_channels / groups``: 9 for a depthwise 3x3 convolution.
    """

    bias: nn.Parameter

    def reset_parameters(self) -> None:
        """Set the initial values."""
        fan_out = math.prod(self.kernel_size) * self.out_channels // self.groups
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / fan_out))
        nn.init.zeros_(self.bias)
