"""Triton kernels of LayerNorm and its gradients, on maps (B, ..., C)."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fan_mm.models.kernels.launch import launch
from fan_mm.models.kernels.rows_triton import parameter, parts, places, plan


@triton.jit
def _standardised(x, at, mask, known, eps, C: tl.constexpr):
    """Rows of mean 0 and variance 1, and the factor that made it 1."""
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    centred = tl.where(known[None, :], value - (tl.sum(value, 1) / C)[:, None], 0.0)
    factor = tl.rsqrt(tl.sum(centred * centred, 1) / C + eps)
    return centred * factor[:, None], factor


@triton.jit(do_not_specialize=['rows', 'eps'])
def _norm(
    x, weight, bias, out, rows, eps,
    C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, EACH: tl.constexpr,
):  # fmt: skip
    c, known, at, mask = places(tl.program_id(0), rows, C, ROWS, BLOCK)
    standard, _ = _standardised(x, at, mask, known, eps, C)
    w = parameter(weight, c, known, C, EACH)
    b = parameter(bias, c, known, C, EACH)
    value = standard * w[None, :] + b[None, :]
    tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['rows', 'steps', 'eps'])
def _norm_gradients(
    gradient, x, weight, of_x, sums, rows, steps, eps,
    C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, EACH: tl.constexpr,
):  # fmt: skip
    """Gradient of x; parts (programs, 2, samples, C) of those of weight and bias."""
    c = tl.arange(0, BLOCK)
    w = parameter(weight, c, c < C, C, EACH)
    of_weight = tl.zeros((BLOCK,), tl.float32)
    of_bias = tl.zeros((BLOCK,), tl.float32)
    for step in range(tl.program_id(0), steps, tl.num_programs(0)):
        _, known, at, mask = places(step, rows, C, ROWS, BLOCK)
        standard, factor = _standardised(x, at, mask, known, eps, C)
        g = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
        of_weight += tl.sum(g * standard, 0)
        of_bias += tl.sum(g, 0)
        g = g * w[None, :]
        along = tl.sum(g * standard, 1) / C
        found = (g - (tl.sum(g, 1) / C)[:, None] - standard * along[:, None]) * factor[:, None]
        tl.store(of_x + at, found.to(of_x.dtype.element_ty), mask=mask)
    samples = tl.num_programs(1)
    part = tl.program_id(0) * 2 * samples + tl.program_id(1)
    tl.store(sums + part * C + c, of_weight, mask=c < C)
    tl.store(sums + (part + samples) * C + c, of_bias, mask=c < C)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """See `layer_norm.layer_norm_on_gpu`; all inputs contiguous."""
    out = torch.empty_like(x, dtype=dtype)
    samples, rows, steps, constants = plan(x, weight)
    if out.numel():
        launch(_norm, (steps, samples, 1), x, weight, bias, out, rows, eps, **constants)
    return out


def gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the input, and in float32 of weight and bias.

    Args:
        gradient: of the output, (B, ..., C), contiguous.
        x: the input, (B, ..., C), contiguous.
        weight: (C,) or (B, C), contiguous.
        eps: added to the variance.
    """
    of_x = torch.empty_like(x)
    samples, rows, steps, constants = plan(x, weight)
    sums = parts(weight, steps, 2)
    grid = len(sums), samples, 1
    if of_x.numel():
        launch(
            _norm_gradients, grid, gradient, x, weight, of_x, sums, rows, steps, eps, **constants
        )
    of_weight, of_bias = sums.sum(0).unbind()
    return of_x, of_weight, of_bias
