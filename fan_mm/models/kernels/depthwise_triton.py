"""Triton kernels of the depthwise convolution and its gradients, on maps (B, H, W, C).

For the convolution, a program computes a tile of positions for a block of channels. Most of the k * k values
that a position needs were just read for its neighbours, so they come from the cache.

For the weight gradient, a program moves along the rows of a tile. At each position it reads one column of the
input window, as high as the kernel, and multiplies it by the last k output gradients, which it still holds in
registers: two reads for k * k products.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fan_mm.models.kernels.launch import launch
from fan_mm.models.kernels.library import parts_of, power_of_2

# Fastest on an H200, see docs/performance.md
TILE = 2, 8, 128  # rows, columns and channels per program
SUMMED_TILES = {  # tile and warps of a program that sums gradients, for kernels wider than 3
    False: (4, 32, 256, 4),
    True: (8, 32, 64, 4),
}

MOST_PARTS = 2**16 - 1  # CUDA's limit for the second axis of a grid


@triton.jit(do_not_specialize=['height', 'width'])
def _convolve(
    x, weight, bias, out, height, width,
    C: tl.constexpr, K: tl.constexpr, FLIP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The convolution, or with FLIP that by the kernel turned by 180 degrees."""
    columns_of_tiles = tl.cdiv(width, COLUMNS)
    tiles = columns_of_tiles * tl.cdiv(height, ROWS)
    image = (tl.program_id(0) // tiles).to(tl.int64) * height * width * C
    tile = tl.program_id(0) % tiles
    position = tl.arange(0, ROWS * COLUMNS)
    row = tile // columns_of_tiles * ROWS + position // COLUMNS
    column = tile % columns_of_tiles * COLUMNS + position % COLUMNS
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = c < C
    total = tl.zeros((ROWS * COLUMNS, CHANNELS), tl.float32)
    for tap in tl.static_range(K * K):
        y = row + (tap // K - K // 2)
        z = column + (tap % K - K // 2)
        inside = (y >= 0) & (y < height) & (z >= 0) & (z < width)
        at = image + ((y * width + z) * C)[:, None] + c[None, :]
        value = tl.load(x + at, mask=inside[:, None] & known[None, :], other=0.0)
        which = K * K - 1 - tap if FLIP else tap
        factor = tl.load(weight + c * (K * K) + which, mask=known)
        total += value.to(tl.float32) * factor.to(tl.float32)[None, :]
    if bias is not None:
        total += tl.load(bias + c, mask=known).to(tl.float32)[None, :]
    inside = (row < height) & (column < width)
    at = image + ((row * width + column) * C)[:, None] + c[None, :]
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside[:, None] & known[None, :])


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, flip: bool) -> Tensor:
    """Depthwise convolution that keeps height and width.

    Args:
        x: (B, H, W, C), contiguous.
        weight: (C, 1, k, k), contiguous, with an odd k.
        bias: (C,) or None.
        flip: rotate the kernel by 180 degrees, for the gradient of the input.

    Returns:
        (B, H, W, C) with the type of ``x``.
    """
    batch, height, width, channels = x.shape
    rows, columns, depth = TILE
    out = torch.empty_like(x)
    tiles = batch * parts_of(height, rows) * parts_of(width, columns)
    grid = tiles, parts_of(channels, depth), 1
    constants = dict(C=channels, K=weight.shape[-1], FLIP=flip)
    tile = dict(ROWS=rows, COLUMNS=columns, CHANNELS=depth, num_warps=4)
    if out.numel():
        launch(_convolve, grid, x, weight, bias, out, height, width, **constants, **tile)
    return out


@triton.jit(do_not_specialize=['height', 'width'])
def _gradients(
    gradient, x, of_weight, of_bias, height, width,
    C: tl.constexpr, K: tl.constexpr, TAPS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Parts (parts, C, K * K) and (parts, C): the whole kernel over a tile of an image."""
    columns_of_tiles = tl.cdiv(width, COLUMNS)
    tiles = columns_of_tiles * tl.cdiv(height, ROWS)
    image = (tl.program_id(1) // tiles).to(tl.int64) * height * width * C
    tile = tl.program_id(1) % tiles
    top, left = tile // columns_of_tiles * ROWS, tile % columns_of_tiles * COLUMNS
    bottom, end = tl.minimum(top + ROWS, height), tl.minimum(left + COLUMNS, width)
    c = (tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    down = tl.arange(0, TAPS)[:, None]
    known = (c < C) & (down < K)
    none = tl.zeros((TAPS, CHANNELS), tl.float32)
    of_all = none
    total = (none,) * K
    for row in range(top, bottom):
        y = row + down - K // 2
        inside = known & (y >= 0) & (y < height)
        recent = (none,) * K
        for column in range(left - K // 2, end + K // 2):
            newest = column + K // 2
            # Broadcast over all rows of the window, so that threads exchange no values.
            at = image + (row * width + newest) * C + c + down * 0
            g = tl.load(gradient + at, mask=known & (newest < end), other=0.0).to(tl.float32)
            of_all += g
            recent = (g,) + recent[: K - 1]
            at = image + (y * width + column) * C + c
            there = (column >= 0) & (column < width)
            value = tl.load(x + at, mask=inside & there, other=0.0).to(tl.float32)
            added = ()  # the first column of taps belongs to the newest gradient
            for along in tl.static_range(K):
                added += (total[along] + value * recent[along],)
            total = added
    part = tl.program_id(1) * C + c
    for along in tl.static_range(K):
        tl.store(of_weight + part * (K * K) + down * K + along, total[along], mask=known)
    tl.store(of_bias + part + down * 0, of_all, mask=known & (down == 0))


def gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the weight and the bias.

    The programs' partial sums are added up afterwards, without atomics, so the result is deterministic.

    Args:
        gradient: of the output, (B, H, W, C), contiguous.
        x: the input, (B, H, W, C), contiguous.
        weight: (C, 1, k, k) with an odd k; only its shape is used.

    Returns:
        (C, 1, k, k) and (C,), float32.
    """
    batch, height, width, channels = x.shape
    size = weight.shape[-1]
    rows, columns, depth, warps = SUMMED_TILES[size > 3]
    while rows < height and batch * parts_of(height, rows) * parts_of(width, columns) > MOST_PARTS:
        rows *= 2
    parts = batch * parts_of(height, rows) * parts_of(width, columns)
    of_weight = x.new_empty((parts, channels, 1, size, size), dtype=torch.float32)
    of_bias = x.new_empty((parts, channels), dtype=torch.float32)
    constants = dict(C=channels, K=size, TAPS=power_of_2(size))
    tile = dict(ROWS=rows, COLUMNS=columns, CHANNELS=depth, num_warps=warps)
    grid = parts_of(channels, depth), parts, 1
    if parts:
        launch(
            _gradients, grid, gradient, x, of_weight, of_bias, height, width, **constants, **tile
        )
    return of_weight.sum(0), of_bias.sum(0)
