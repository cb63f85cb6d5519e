"""A candidate for the gradient of a depthwise convolution's weight, which `choices` times beside the package's.

The package's kernel takes 674 us for 7x7 on two maps of 256x256x128 in bfloat16, where reading them once takes
about 15. It reads each value once for every tap, with a division and three-dimensional masks for every
position. Here a program goes along the rows of a tile. At each position it reads a column of the input's window,
as high as the kernel, and multiplies it by the last k gradients, which it still has: two reads for k * k products.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fan_mm.models.kernels.library import parts_of

TILE = 16, 32, 128  # rows, columns and channels of a program
WARPS = 2, 4, 8  # to choose from; none was measured yet


@triton.jit
def _gradients(
    gradient, x, of_weight, of_bias, height, width, channels,
    K: tl.constexpr, TAPS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Parts (parts, C, K * K) and (parts, C): the whole kernel over a tile of an image."""
    columns_of_tiles = tl.cdiv(width, COLUMNS)
    tiles = columns_of_tiles * tl.cdiv(height, ROWS)
    image = (tl.program_id(1) // tiles).to(tl.int64) * height * width * channels
    tile = tl.program_id(1) % tiles
    top, left = tile // columns_of_tiles * ROWS, tile % columns_of_tiles * COLUMNS
    bottom, end = tl.minimum(top + ROWS, height), tl.minimum(left + COLUMNS, width)
    c = (tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    down = tl.arange(0, TAPS)[:, None]
    known = (c < channels) & (down < K)
    none = tl.zeros((TAPS, CHANNELS), tl.float32)
    of_all = none
    total = (none,) * K
    for row in range(top, bottom):
        y = row + down - K // 2
        inside = known & (y >= 0) & (y < height)
        recent = (none,) * K
        for column in range(left - K // 2, end + K // 2):
            newest = column + K // 2
            # the same in all rows of the window, so that no value goes from thread to thread
            at = image + (row * width + newest) * channels + c + down * 0
            g = tl.load(gradient + at, mask=known & (newest < end), other=0.0).to(tl.float32)
            of_all += g
            recent = (g,) + recent[: K - 1]
            at = image + (y * width + column) * channels + c
            there = (column >= 0) & (column < width)
            value = tl.load(x + at, mask=inside & there, other=0.0).to(tl.float32)
            added = (total[0] + value * recent[0],)  # the first column of taps meets the newest
            for along in tl.static_range(1, K):
                added = added + (total[along] + value * recent[along],)
            total = added
    part = tl.program_id(1) * channels + c
    for along in tl.static_range(K):
        tl.store(of_weight + part * (K * K) + down * K + along, total[along], mask=known)
    tl.store(of_bias + part + down * 0, of_all, mask=known & (down == 0))


def gradients(gradient: Tensor, x: Tensor, size: int, warps: int = 4) -> tuple[Tensor, Tensor]:
    """See `fan_mm.models.kernels.depthwise_triton.gradients`."""
    batch, height, width, channels = x.shape
    rows, columns, depth = TILE
    parts = batch * parts_of(height, rows) * parts_of(width, columns)
    of_weight = x.new_empty((parts, channels, 1, size, size), dtype=torch.float32)
    of_bias = x.new_empty((parts, channels), dtype=torch.float32)
    _gradients[(parts_of(channels, depth), parts)](
        gradient,
        x,
        of_weight,
        of_bias,
        height,
        width,
        channels,
        K=size,
        TAPS=triton.next_power_of_2(size),
        ROWS=rows,
        COLUMNS=columns,
        CHANNELS=depth,
        num_warps=warps,
    )
    return of_weight.sum(0), of_bias.sum(0)
