"""Triton kernels of the depthwise convolution and its gradients, on maps (B, H, W, C).

A program computes a tile of positions for a block of channels. The k * k values that a position needs lie
in tiles read just before, so all but the first come out of the cache.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fan_mm.models.kernels.library import parts_of

# As measured on an H200, docs/performance.md
TILE = 2, 8, 128  # rows, columns and channels of a program
STEPS = {
    False: (16, 64, 4),
    True: (8, 128, 8),
}  # for kernels wider than 3: positions, channels, warps
PROGRAMS = 2048  # that the gradient of a weight is spread over, at least


@triton.jit
def _convolve(
    x, weight, bias, out, height, width, channels,
    K: tl.constexpr, FLIP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The convolution, or with FLIP that by the kernel turned by 180 degrees."""
    columns_of_tiles = tl.cdiv(width, COLUMNS)
    tiles = columns_of_tiles * tl.cdiv(height, ROWS)
    image = (tl.program_id(0) // tiles).to(tl.int64) * height * width * channels
    tile = tl.program_id(0) % tiles
    position = tl.arange(0, ROWS * COLUMNS)
    row = tile // columns_of_tiles * ROWS + position // COLUMNS
    column = tile % columns_of_tiles * COLUMNS + position % COLUMNS
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = c < channels
    total = tl.zeros((ROWS * COLUMNS, CHANNELS), tl.float32)
    for tap in tl.static_range(K * K):
        y = row + (tap // K - K // 2)
        z = column + (tap % K - K // 2)
        inside = (y >= 0) & (y < height) & (z >= 0) & (z < width)
        at = image + ((y * width + z) * channels)[:, None] + c[None, :]
        value = tl.load(x + at, mask=inside[:, None] & known[None, :], other=0.0)
        which = K * K - 1 - tap if FLIP else tap
        factor = tl.load(weight + c * (K * K) + which, mask=known)
        total += value.to(tl.float32) * factor.to(tl.float32)[None, :]
    if bias is not None:
        total += tl.load(bias + c, mask=known).to(tl.float32)[None, :]
    inside = (row < height) & (column < width)
    at = image + ((row * width + column) * channels)[:, None] + c[None, :]
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside[:, None] & known[None, :])


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, flip: bool) -> Tensor:
    """Depthwise convolution that keeps height and width.

    Args:
        x: (B, H, W, C), contiguous.
        weight: (C, 1, k, k), contiguous, with an odd k.
        bias: (C,) or None.
        flip: turn the kernel by 180 degrees, as the gradient of the input does.

    Returns:
        (B, H, W, C) of the type of ``x``.
    """
    batch, height, width, channels = x.shape
    rows, columns, depth = TILE
    out = torch.empty_like(x)
    grid = (
        batch * parts_of(height, rows) * parts_of(width, columns),
        parts_of(channels, depth),
    )
    if out.numel():
        _convolve[grid](
            x,
            weight,
            bias,
            out,
            height,
            width,
            channels,
            K=weight.shape[-1],
            FLIP=flip,
            ROWS=rows,
            COLUMNS=columns,
            CHANNELS=depth,
            num_warps=4,
        )
    return out


@triton.jit
def _gradients(
    gradient, x, of_weight, of_bias, positions, share, height, width, channels,
    K: tl.constexpr, TAPS: tl.constexpr, POSITIONS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Parts (parts, C, K * K) and (parts, C): a row of the kernel over some of the positions."""
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    known = c < channels
    down = tl.program_id(1) - K // 2
    tap = tl.arange(0, TAPS)
    begin = tl.program_id(2).to(tl.int64) * share
    end = tl.minimum(begin + share, positions)
    total = tl.zeros((TAPS, POSITIONS, CHANNELS), tl.float32)
    of_all = tl.zeros((POSITIONS, CHANNELS), tl.float32)
    for start in range(begin, end, POSITIONS):
        position = start + tl.arange(0, POSITIONS)
        valid = position < end
        at = position[:, None] * channels + c[None, :]
        g = tl.load(gradient + at, mask=valid[:, None] & known[None, :], other=0.0).to(tl.float32)
        of_all += g
        y = position // width % height + down
        z = (position % width)[None, :] + (tap - K // 2)[:, None]
        inside = (valid & (y >= 0) & (y < height))[None, :] & (z >= 0) & (z < width)
        inside &= (tap < K)[:, None]
        moved = (position + down * width)[None, :] + (tap - K // 2)[:, None]
        places = moved[:, :, None] * channels + c[None, None, :]
        value = tl.load(x + places, mask=inside[:, :, None] & known[None, None, :], other=0.0)
        total += value.to(tl.float32) * g[None, :, :]
    part = tl.program_id(2) * channels + c
    row = part[None, :] * (K * K) + tl.program_id(1) * K + tap[:, None]
    tl.store(of_weight + row, tl.sum(total, 1), mask=(tap < K)[:, None] & known[None, :])
    if tl.program_id(1) == 0:
        tl.store(of_bias + part, tl.sum(of_all, 0), mask=known)


def gradients(gradient: Tensor, x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Gradients of the weight and the bias.

    A program sums a row of the kernel over some positions; what the programs found is added up
    afterwards, so the order of all sums is fixed.

    Args:
        gradient: of the output, (B, H, W, C), contiguous.
        x: the input, (B, H, W, C), contiguous.
        size: k, odd.

    Returns:
        (C, 1, k, k) and (C,), float32.
    """
    batch, height, width, channels = x.shape
    positions = batch * height * width
    step, depth, warps = STEPS[size > 3]
    blocks = parts_of(channels, depth)
    parts = max(1, min(parts_of(PROGRAMS, blocks * size), parts_of(positions, 4 * step)))
    of_weight = x.new_empty((parts, channels, 1, size, size), dtype=torch.float32)
    of_bias = x.new_empty((parts, channels), dtype=torch.float32)
    _gradients[(blocks, size, parts)](
        gradient,
        x,
        of_weight,
        of_bias,
        positions,
        parts_of(positions, parts),
        height,
        width,
        channels,
        K=size,
        TAPS=triton.next_power_of_2(size),
        POSITIONS=step,
        CHANNELS=depth,
        num_warps=warps,
    )
    return of_weight.sum(0), of_bias.sum(0)
