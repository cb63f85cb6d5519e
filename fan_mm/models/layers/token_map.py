"""Tokens and maps are two views of the same memory: a channels-last map is a list of tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """View tokens (B, H * W, C) as a map (B, C, H, W), channels last in memory, without a copy."""
    return tokens.unflatten(1, grid).permute(0, 3, 1, 2)


def as_tokens(x: Tensor) -> Tensor:
    """View a channels-last map (B, C, H, W) as tokens (B, H * W, C); others are copied."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def contiguous_map(x: Tensor) -> Tensor:
    """Copy a channel-last map (B, H, W, C) to (B, C, H, W), contiguous.

    For what leaves a backbone: mmcv's operators (RoIAlign) silently misread a channels-last map.
    """
    if x.requires_grad and not torch.jit.is_tracing():  # which cannot save functions in Python
        return _ContiguousMap.apply(x)
    return x.permute(0, 3, 1, 2).contiguous()


class _ContiguousMap(torch.autograd.Function):
    """The copy, with a gradient that is laid out as tokens are.

    Otherwise the gradient would stay a transposed view, and so would, through all residual sums, every
    gradient of tokens behind it: each of their sums and products would read memory with large strides.
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

    The whole multiples come first: so an exporter sees that they are some, where ``-size % multiple``
    leaves it a proof that takes minutes.
    """
    height, width = ((length + multiple - 1) // multiple * multiple for length in size)
    return height - size[0], width - size[1]
