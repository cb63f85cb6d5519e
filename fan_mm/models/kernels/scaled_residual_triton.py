"""Triton kernels of the residual sum with layer scale and its gradients, on maps (B, ..., C)."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fan_mm.models.kernels.launch import launch
from fan_mm.models.kernels.rows_triton import parameter, parts, places, plan


@triton.jit(do_not_specialize=['rows'])
def _residual(
    x, factor, branch, out, rows,
    C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, EACH: tl.constexpr,
):  # fmt: skip
    c, known, at, mask = places(tl.program_id(0), rows, C, ROWS, BLOCK)
    scale = parameter(factor, c, known, C, EACH)
    value = tl.load(branch + at, mask=mask, other=0.0).to(tl.float32) * scale[None, :]
    value += tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['rows', 'steps'])
def _residual_gradients(
    gradient, factor, branch, of_branch, sums, rows, steps,
    C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, EACH: tl.constexpr,
):  # fmt: skip
    """Gradient of the branch; parts (programs, samples, C) of that of the factor."""
    c = tl.arange(0, BLOCK)
    scale = parameter(factor, c, c < C, C, EACH)
    of_factor = tl.zeros((BLOCK,), tl.float32)
    for step in range(tl.program_id(0), steps, tl.num_programs(0)):
        _, _, at, mask = places(step, rows, C, ROWS, BLOCK)
        g = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
        value = tl.load(branch + at, mask=mask, other=0.0).to(tl.float32)
        of_factor += tl.sum(g * value, 0)
        found = (g * scale[None, :]).to(of_branch.dtype.element_ty)
        tl.store(of_branch + at, found, mask=mask)
    part = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    tl.store(sums + part * C + c, of_factor, mask=c < C)


def scaled_residual(x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
    """See `scaled_residual.scaled_residual_on_gpu`; all inputs contiguous."""
    out = torch.empty_like(x)
    samples, rows, steps, constants = plan(x, factor)
    if out.numel():
        launch(_residual, (steps, samples, 1), x, factor, branch, out, rows, **constants)
    return out


def gradients(gradient: Tensor, factor: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the branch, and in float32 of the factor.

    Args:
        gradient: of the sum, (B, ..., C), contiguous.
        factor: (C,) or (B, C), contiguous.
        branch: (B, ..., C), contiguous.
    """
    of_branch = torch.empty_like(branch)
    samples, rows, steps, constants = plan(branch, factor)
    sums = parts(factor, steps)
    grid = len(sums), samples, 1
    if of_branch.numel():
        launch(
            _residual_gradients, grid,
            gradient, factor, branch, of_branch, sums, rows, steps, **constants,
        )  # fmt: skip
    return of_branch, sums.sum(0)
