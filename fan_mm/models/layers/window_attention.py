"""Attention within windows, the token mixing of FAN-Swin (Swin v1; spec sections 6 and 7.5)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fan_mm.models.kernels import exporting
from fan_mm.models.layers.linear import Linear
from fan_mm.models.layers.token_map import padding


def relative_position_index(window: int) -> Tensor:
    """Row of the bias table for every pair of positions in a window: (window², window²), int64.

    Offsets (dy, dx) of a query from a key, each in ``1-window .. window-1``, in row-major order.
    """
    rows, columns = (
        torch.arange(window).repeat_interleave(window),
        torch.arange(window).repeat(window),
    )
    dy, dx = rows[:, None] - rows, columns[:, None] - columns
    return (dy + window - 1) * (2 * window - 1) + dx + window - 1


def shift_mask(height: int, width: int, window: int, shift: int | Tensor, like: Tensor) -> Tensor:
    """Keep tokens apart that only the cyclic shift made neighbours.

    Args:
        height: rows of the grid, a multiple of the window.
        width: columns of the grid, a multiple of the window.
        window: side of a window.
        shift: rows and columns by which the grid was rolled, less than a window; 0 masks nothing.
        like: a tensor with the mask's device and type. The mask is created on that device, because
            copying it would synchronise with the GPU.

    Returns:
        (windows, window², window²): 0 within one region of the image, -100 across regions.
    """

    def along(length: int) -> Tensor:
        """Regions along an axis: 0; in the last window 1 and 2, before and after the seam."""
        position = torch.arange(length, device=like.device)
        return (position >= length - window).int() + (position >= length - shift)

    regions = 3 * along(height)[:, None] + along(width)
    regions = regions.reshape(height // window, window, width // window, window)
    regions = regions.transpose(1, 2).reshape(-1, window**2)
    return (regions[:, :, None] != regions[:, None, :]).to(like.dtype) * -100


def roll(x: Tensor, shift: int | Tensor) -> Tensor:
    """Move the rows and columns of (B, H, W, C) up and left by ``shift``, around the edges."""
    if not isinstance(shift, Tensor):
        return x.roll((-shift, -shift), (1, 2))
    rows, columns = (torch.arange(n, device=x.device) for n in x.shape[1:3])
    # Lengths as tensors: the ONNX exporter does not support a remainder by a symbolic length.
    rows, columns = ((i + shift) % (i[-1:] + 1) for i in (rows, columns))
    return x.index_select(1, rows).index_select(2, columns)


class WindowAttention(nn.Module):
    """Multi-head self-attention in windows of a map, with a learned bias per relative position.

    The map is zero-padded at the right and bottom to whole windows. The padding is not masked in the
    attention, as in the official models.

    Args:
        dim: channels C.
        num_heads: heads h; C must be a multiple of h.
        window: side of the square windows.
        shift: rows and columns by which the windows are shifted; 0 for none.
        always_shift: also shift if the grid is no larger than a window. The official segmentation
            models do, Swin itself does not.
    """

    def __init__(
        self, dim: int, num_heads: int, window: int, shift: int, always_shift: bool = False
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.shift = shift
        self.always_shift = always_shift
        self.relative_position_bias_table = nn.Parameter(
            torch.empty((2 * window - 1) ** 2, num_heads)
        )
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer(
            'relative_position_index', relative_position_index(window), persistent=False
        )
        self.relative_position_index: Tensor
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Mix tokens (B, N, C) on a grid (H, W) to (B, N, C)."""
        window = self.window
        shift = self._shift_on(grid, tokens.device)
        down, right = padding(grid, window)
        x = F.pad(tokens.unflatten(1, grid), (0, 0, 0, right, 0, down))
        moves = isinstance(shift, Tensor) or shift > 0
        x = self._within_windows(roll(x, shift) if moves else x, shift if moves else None)
        x = roll(x, -shift) if moves else x
        return x[:, : grid[0], : grid[1]].flatten(1, 2)

    def _shift_on(self, grid: tuple[int, int], device: torch.device) -> int | Tensor:
        """The shift on a grid (H, W); in an exported graph, which runs on other grids too, a tensor."""
        if not self.shift or self.always_shift:
            return self.shift
        if not exporting():
            return self.shift if min(grid) > self.window else 0
        beyond = [(torch.arange(n, device=device) == self.window).any() for n in grid]
        return self.shift * (beyond[0] & beyond[1]).long()

    def _within_windows(self, x: Tensor, shift: int | Tensor | None) -> Tensor:
        batch, height, width, channels = x.shape
        window, heads = self.window, self.num_heads
        rows, columns = height // window, width // window
        # (B, windows * heads, window², d): with windows and heads in one axis, a single mask
        # broadcasts over the batch.
        q, k, v = (
            self.qkv(x)
            .view(batch, rows, window, columns, window, 3, heads, channels // heads)
            .permute(5, 0, 1, 3, 6, 2, 4, 7)
            .reshape(3, batch, rows * columns * heads, window**2, channels // heads)
        )
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        bias = bias.expand(rows * columns, -1, -1, -1)
        if shift is not None:
            bias = bias + shift_mask(height, width, window, shift, bias)[:, None]
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype).flatten(0, 1)[None])
        return self.proj(
            x.view(batch, rows, columns, heads, window, window, channels // heads)
            .permute(0, 1, 4, 2, 5, 3, 6)
            .reshape(batch, height, width, channels)
        )
