"""Candidates for the depthwise convolution and its weight's gradient, which `tiles` times beside the package's.

The package's take 169 and 310 us for 7x7 on two maps of 256x256x128 in bfloat16, where the products alone would
take about 30. Here a program takes some rows of a tile for a block of channels, and goes along the columns. Of
each it reads the k values that the rows' windows have there, once for k * k products: of the convolution it
keeps the sums of the k outputs that lie within reach, of the weight's gradient the last k gradients. Both keep
k * k values, weights or their gradients, in registers, so a tile is narrow; the compiled code has no spills, and
half of its instructions are products. Not timed yet; compiling for 7x7 takes some ten seconds.
"""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from fan_mm.models.kernels.launch import launch
from fan_mm.models.kernels.library import parts_of

# Rows at a time, rows of a tile, columns, channels and warps; for kernels wider than 3
TILES = {False: (4, 4, 32, 128, 4), True: (4, 4, 64, 64, 4)}  # of the convolution
SUMMED_TILES = {False: (4, 4, 32, 128, 4), True: (4, 8, 64, 64, 4)}  # of the weight's gradient


@triton.jit
def _place(
    height, width, C: tl.constexpr, ROWS: tl.constexpr, HEIGHT: tl.constexpr,
    COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Where an image begins, rows and columns of a tile, and channels (ROWS, CHANNELS), the same in all rows."""
    columns_of_tiles = tl.cdiv(width, COLUMNS)
    tiles = columns_of_tiles * tl.cdiv(height, HEIGHT)
    image = (tl.program_id(0) // tiles).to(tl.int64) * height * width * C
    tile = tl.program_id(0) % tiles
    top, left = tile // columns_of_tiles * HEIGHT, tile % columns_of_tiles * COLUMNS
    bottom, end = tl.minimum(top + HEIGHT, height), tl.minimum(left + COLUMNS, width)
    # of two dimensions, so that no value of a weight goes from thread to thread
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    return image, top, bottom, left, end, c + tl.zeros((ROWS, 1), tl.int32)


@triton.jit(do_not_specialize=['height', 'width'])
def _convolve(
    x, weight, bias, out, height, width,
    C: tl.constexpr, K: tl.constexpr, FLIP: tl.constexpr, ROWS: tl.constexpr, HEIGHT: tl.constexpr,
    COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The convolution, or with FLIP that by the kernel turned by 180 degrees."""
    image, top, bottom, left, end, c = _place(height, width, C, ROWS, HEIGHT, COLUMNS, CHANNELS)
    known = c < C
    weights = ()
    for tap in tl.static_range(K * K):
        which = K * K - 1 - tap if FLIP else tap
        factor = tl.load(weight + (which * C + c), mask=known, other=0.0)
        weights = weights + (factor.to(tl.float32),)
    none = tl.zeros((ROWS, CHANNELS), tl.float32)
    first = none
    if bias is not None:
        first = tl.load(bias + c, mask=known, other=0.0).to(tl.float32)
    for begin in range(top, bottom, ROWS):
        y = begin + tl.arange(0, ROWS)[:, None]
        sums = (first,) * K  # of the outputs from K // 2 columns ahead to K // 2 behind
        for start in range(left - K // 2, end + K // 2, K):
            for step in tl.static_range(K):
                column = start + step
                there = known & (column >= 0) & (column < width)
                for down in tl.static_range(K):
                    row = y + (down - K // 2)
                    at = image + ((row * width + column) * C + c)
                    inside = there & (row >= 0) & (row < height)
                    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
                    added = ()
                    for along in tl.static_range(K):
                        added = added + (sums[along] + value * weights[down * K + along],)
                    sums = added
                column -= K // 2  # whose output is complete
                at = image + ((y * width + column) * C + c)
                inside = known & (y < bottom) & (column >= left) & (column < end)
                tl.store(out + at, sums[K - 1].to(out.dtype.element_ty), mask=inside)
                sums = (first,) + sums[: K - 1]


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, flip: bool) -> Tensor:
    """See `fan_mm.models.kernels.depthwise_triton.convolve`."""
    batch, height, width, channels = x.shape
    size = weight.shape[-1]
    rows, tall, columns, depth, warps = TILES[size > 3]
    out = torch.empty_like(x)
    weight = weight.flatten(1).t().contiguous()  # the channels of a tap side by side
    tiles = batch * parts_of(height, tall) * parts_of(width, columns)
    grid = tiles, parts_of(channels, depth), 1
    constants = dict(C=channels, K=size, FLIP=flip)
    tile = dict(ROWS=rows, HEIGHT=tall, COLUMNS=columns, CHANNELS=depth, num_warps=warps)
    if out.numel():
        launch(_convolve, grid, x, weight, bias, out, height, width, **constants, **tile)
    return out


@triton.jit(do_not_specialize=['height', 'width'])
def _gradients(
    gradient, x, of_weight, of_bias, height, width,
    C: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr, HEIGHT: tl.constexpr,
    COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Parts (parts, K * K, C) and (parts, C): the whole kernel over a tile of an image."""
    image, top, bottom, left, end, c = _place(height, width, C, ROWS, HEIGHT, COLUMNS, CHANNELS)
    known = c < C
    none = tl.zeros((ROWS, CHANNELS), tl.float32)
    of_all = none
    total = (none,) * (K * K)
    for begin in range(top, bottom, ROWS):
        y = begin + tl.arange(0, ROWS)[:, None]
        recent = (none,) * K  # gradients from K // 2 columns ahead to K // 2 behind
        for start in range(left - K // 2, end + K // 2, K):
            for step in tl.static_range(K):
                column = start + step
                newest = column + K // 2
                at = image + ((y * width + newest) * C + c)
                inside = known & (y < bottom) & (newest < end)
                g = tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32)
                of_all += g
                recent = (g,) + recent[: K - 1]
                there = known & (column >= 0) & (column < width)
                added = ()
                for down in tl.static_range(K):
                    row = y + (down - K // 2)
                    at = image + ((row * width + column) * C + c)
                    inside = there & (row >= 0) & (row < height)
                    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
                    for along in tl.static_range(K):
                        added = added + (total[down * K + along] + value * recent[along],)
                total = added
    part = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    for tap in tl.static_range(K * K):
        tl.store(of_weight + (part * (K * K) + tap) * C + c, tl.sum(total[tap], 0), mask=c < C)
    tl.store(of_bias + part * C + c, tl.sum(of_all, 0), mask=c < C)


def gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """See `fan_mm.models.kernels.depthwise_triton.gradients`."""
    batch, height, width, channels = x.shape
    size = weight.shape[-1]
    rows, tall, columns, depth, warps = SUMMED_TILES[size > 3]
    parts = batch * parts_of(height, tall) * parts_of(width, columns)
    new = functools.partial(torch.empty, dtype=torch.float32, device=x.device)
    of_weight, of_bias = new(parts, size * size, channels), new(parts, channels)
    tile = dict(ROWS=rows, HEIGHT=tall, COLUMNS=columns, CHANNELS=depth, num_warps=warps)
    grid = parts, parts_of(channels, depth), 1
    if parts:
        inputs = gradient, x, of_weight, of_bias, height, width
        launch(_gradients, grid, *inputs, C=channels, K=size, **tile)
    found = new(channels, 1, size, size)
    torch.sum(of_weight.transpose(1, 2), 0, out=found.view(channels, -1))
    return found, of_bias.sum(0)
