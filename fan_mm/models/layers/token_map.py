"""Tokens and maps are two views of the same memory: a channels-last map is a list of tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fan_mm.models.kernels import transformed


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """View tokens (B, H * W, C) as a map (B, C, H, W), channels last in memory, without a copy."""
    return tokens.unflatten(1, grid).permute(0, 3, 1, 2)


def as_tokens(x: Tensor) -> Tensor:
    """View a channels-last map (B, C, H, W) as tokens (B, H * W, C); others are copied."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def channels_last(x: Tensor) -> Tensor:
    """Copy a map (B, C, H, W), such as the images, to channels-last memory; later layers keep it.

    By an operation that torch.func supports, unlike ``contiguous(memory_format=...)``.
    """
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def contiguous_map(x: Tensor) -> Tensor:
    """Copy a channel-last map (B, H, W, C) to (B, C, H, W), contiguous.

    Used for a backbone's outputs, because mmcv's operators (RoIAlign) silently misread channels-last maps.
    """
    # Tracing cannot save Python functions, and torch.func has no rules for ours.
    if x.requires_grad and not torch.jit.is_tracing() and not transformed():
        return _ContiguousMap.apply(x)
    return x.permute(0, 3, 1, 2).contiguous()


class _ContiguousMap(torch.autograd.Function):
    """A contiguous copy whose gradient has the memory layout of tokens.

    Otherwise the gradient would be a transposed view, and through the residual connections so would the
    gradients of all earlier tokens: their sums and products would read memory with large strides.
    """

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2).contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.permute(0, 2, 3, 1).contiguous()


def padding(size: Sequence[int], multiple: int) -> tuple[int, int]:
    """Rows and columns that a map (H, W) lacks to multiples of a number.

    The formula computes the next multiple first, so that an exporter knows that the padded size is one;
    with ``-size % multiple`` it would need minutes to prove it.
    """
    height, width = ((length + multiple - 1) // multiple * multiple for length in size)
    return height - size[0], width - size[1]
