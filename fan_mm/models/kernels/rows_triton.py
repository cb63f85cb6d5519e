"""Triton's kernels walk through maps (B, ..., C) as through rows of C values, some rows at a time."""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from fan_mm.models.kernels.library import parts_of, power_of_2

VALUES = 1024  # per step
PROGRAMS = 1024  # maximum number of programs that rows are distributed over when they are summed
WARPS = 2


@triton.jit
def places(step, rows, C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Channels, which of them there are, and where a step's values lie, with their mask."""
    row = (step * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    c = tl.arange(0, BLOCK)
    first = tl.program_id(1).to(tl.int64) * rows * C
    at = first + row[:, None] * C + c[None, :]
    return c, c < C, at, (row < rows)[:, None] & (c < C)[None, :]


@triton.jit
def parameter(pointer, c, known, C: tl.constexpr, EACH: tl.constexpr):
    """Values (BLOCK,) of a parameter, with EACH of this sample's own."""
    at = pointer + c
    if EACH:
        at += tl.program_id(1) * C
    return tl.load(at, mask=known, other=0.0).to(tl.float32)


@functools.cache
def _constants(channels: int, each: bool, values: int, warps: int) -> dict[str, int]:
    block = power_of_2(channels)
    rows = max(1, values // block)
    return dict(C=channels, ROWS=rows, BLOCK=block, EACH=each, num_warps=warps)


def plan(x: Tensor, weight: Tensor) -> tuple[int, int, int, dict[str, int]]:
    """Samples (one if they share a weight), rows of each, steps through these, a kernel's constants."""
    each = weight.dim() == 2
    samples = len(x) if each else 1
    constants = _constants(x.shape[-1], each, VALUES, WARPS)
    rows = x.numel() // max(1, samples * x.shape[-1])
    return samples, rows, parts_of(rows, constants['ROWS']), constants


def parts(like: Tensor, steps: int, *sums: int) -> Tensor:
    """Memory (programs, *sums, *like.shape) for what the programs find, which is added up afterwards."""
    shape = min(PROGRAMS, steps), *sums, *like.shape
    return torch.empty(shape, dtype=torch.float32, device=like.device)
