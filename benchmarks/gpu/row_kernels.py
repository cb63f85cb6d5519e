"""Candidates for LayerNorm and for layer scale with its residual, which `choices` times beside PyTorch's.

Both read and write each value once. Under autocast PyTorch's LayerNorm computes in float32: its input from a
convolution is cast before it, its output for a product after it, 14 to 20 bytes for a value where 4 to 6 would
do. ``addcmul`` casts the branch first (18 bytes for 10), and its gradients are five kernels.

In the backward passes a program walks through some of the rows and keeps their sums; PyTorch adds up what
the programs found, always in the same order.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fan_mm.models.kernels.library import parts_of

VALUES = 2048  # of a step
PROGRAMS = 1024  # that rows are spread over in a backward pass, at most
WARPS = 4


@triton.jit
def _places(step, rows, C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Channels, which of them there are, and where a step's values lie, with their mask."""
    row = (step * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    c = tl.arange(0, BLOCK)
    return c, c < C, row[:, None] * C + c[None, :], (row < rows)[:, None] & (c < C)[None, :]


@triton.jit
def _standardised(x, at, mask, known, eps, C: tl.constexpr):
    """Rows of mean 0 and variance 1, and the factor that made it 1."""
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    centred = tl.where(known[None, :], value - (tl.sum(value, 1) / C)[:, None], 0.0)
    factor = tl.rsqrt(tl.sum(centred * centred, 1) / C + eps)
    return centred * factor[:, None], factor


@triton.jit
def _norm(
    x, weight, bias, out, rows, eps, C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    c, known, at, mask = _places(tl.program_id(0), rows, C, ROWS, BLOCK)
    standard, _ = _standardised(x, at, mask, known, eps, C)
    w = tl.load(weight + c, mask=known, other=0.0).to(tl.float32)
    b = tl.load(bias + c, mask=known, other=0.0).to(tl.float32)
    value = standard * w[None, :] + b[None, :]
    tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _norm_gradients(
    gradient, x, weight, of_x, parts, rows, steps, eps,
    C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient of x; parts (programs, 2, C) of those of weight and bias."""
    c = tl.arange(0, BLOCK)
    w = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32)
    of_weight = tl.zeros((BLOCK,), tl.float32)
    of_bias = tl.zeros((BLOCK,), tl.float32)
    for step in range(tl.program_id(0), steps, tl.num_programs(0)):
        _, known, at, mask = _places(step, rows, C, ROWS, BLOCK)
        standard, factor = _standardised(x, at, mask, known, eps, C)
        g = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
        of_weight += tl.sum(g * standard, 0)
        of_bias += tl.sum(g, 0)
        g = g * w[None, :]
        along = tl.sum(g * standard, 1) / C
        found = (g - (tl.sum(g, 1) / C)[:, None] - standard * along[:, None]) * factor[:, None]
        tl.store(of_x + at, found.to(of_x.dtype.element_ty), mask=mask)
    part = parts + tl.program_id(0) * 2 * C + c
    tl.store(part, of_weight, mask=c < C)
    tl.store(part + C, of_bias, mask=c < C)


@triton.jit
def _residual(
    x, gamma, branch, out, rows, C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    c, known, at, mask = _places(tl.program_id(0), rows, C, ROWS, BLOCK)
    factor = tl.load(gamma + c, mask=known, other=0.0).to(tl.float32)
    value = tl.load(branch + at, mask=mask, other=0.0).to(tl.float32) * factor[None, :]
    value += tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _residual_gradients(
    gradient, gamma, branch, of_branch, parts, rows, steps,
    C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient of the branch; parts (programs, C) of that of gamma."""
    c = tl.arange(0, BLOCK)
    factor = tl.load(gamma + c, mask=c < C, other=0.0).to(tl.float32)
    of_gamma = tl.zeros((BLOCK,), tl.float32)
    for step in range(tl.program_id(0), steps, tl.num_programs(0)):
        _, _, at, mask = _places(step, rows, C, ROWS, BLOCK)
        g = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
        value = tl.load(branch + at, mask=mask, other=0.0).to(tl.float32)
        of_gamma += tl.sum(g * value, 0)
        found = (g * factor[None, :]).to(of_branch.dtype.element_ty)
        tl.store(of_branch + at, found, mask=mask)
    tl.store(parts + tl.program_id(0) * C + c, of_gamma, mask=c < C)


def _tiles(x: Tensor) -> tuple[int, int, dict[str, int]]:
    """Rows of (..., C), the steps through them, and what a kernel is compiled for."""
    channels = x.shape[-1]
    rows, block = x.numel() // channels, triton.next_power_of_2(channels)
    height = max(1, VALUES // block)
    return rows, parts_of(rows, height), dict(C=channels, ROWS=height, BLOCK=block, num_warps=WARPS)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        rows, steps, sizes = _tiles(x)
        out = torch.empty_like(x, dtype=dtype)
        _norm[(steps,)](x, weight, bias, out, rows, eps, **sizes)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):
        x, weight = ctx.saved_tensors
        rows, steps, sizes = _tiles(x)
        of_x, programs = torch.empty_like(x), min(PROGRAMS, steps)
        parts = weight.new_empty((programs, 2, len(weight)), dtype=torch.float32)
        gradient = gradient.contiguous()
        _norm_gradients[(programs,)](
            gradient, x, weight, of_x, parts, rows, steps, ctx.eps, **sizes
        )
        return of_x, *parts.sum(0), None, None


class _ScaledResidual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, branch: Tensor):
        ctx.save_for_backward(gamma, branch)
        rows, steps, sizes = _tiles(x)
        out = torch.empty_like(x)
        _residual[(steps,)](x, gamma, branch, out, rows, **sizes)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):
        gamma, branch = ctx.saved_tensors
        rows, steps, sizes = _tiles(branch)
        of_branch, programs = torch.empty_like(branch), min(PROGRAMS, steps)
        parts = gamma.new_empty((programs, len(gamma)), dtype=torch.float32)
        gradient = gradient.contiguous()
        _residual_gradients[(programs,)](
            gradient, gamma, branch, of_branch, parts, rows, steps, **sizes
        )
        return gradient, parts.sum(0), of_branch


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """LayerNorm over the last axis in float32, for a product of another type.

    Args:
        x: (..., C), contiguous, of any of the three types.
        weight: (C,), float32.
        bias: (C,), float32.
        eps: added to the variance, whose divisor is C.
        dtype: of the output.

    Returns:
        (..., C).
    """
    return _LayerNorm.apply(x, weight, bias, eps, dtype)


def scaled_residual(x: Tensor, gamma: Tensor, branch: Tensor) -> Tensor:
    """``x + gamma * branch``, of the type of ``x``.

    Args:
        x: (..., C), contiguous, float32.
        gamma: layer scale, (C,), float32.
        branch: (..., C), contiguous, of any of the three types.

    Returns:
        (..., C).
    """
    return _ScaledResidual.apply(x, gamma, branch)
