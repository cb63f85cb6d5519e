"""Fourier position code, computed for whatever grid the image has (spec 2.3)."""

import functools
import math

import numpy as np
import torch
from torch import Tensor, nn


@functools.lru_cache(maxsize=256)
def _code(length: int, paired: bool) -> np.ndarray:
    """`fourier_code` as NumPy, so that no device, inference mode or tracer gets into the cache.

    256 lengths of 32 numbers; pictures of many sizes have few rows and columns of tokens.
    """
    position = np.arange(1, length + 1, dtype=np.float32)
    position = position / np.float32(length + 1e-6) * np.float32(2 * math.pi)
    channel = np.arange(32, dtype=np.float32)
    power = 2 * (channel // 2 if paired else channel / 2) / 32
    angle = position[:, None] / np.float32(10000) ** power
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle))


def fourier_code(length: int, paired: bool, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of the positions along one axis, computed once for each length.

    Args:
        length: rows or columns of the grid.
        paired: channels 2j and 2j+1 share one frequency (classification models); False gives each
            channel its own (the official segmentation and detection code).
        device: where to compute.

    Returns:
        (length, 32) float32: even channels are sines, odd ones cosines.
    """
    return torch.from_numpy(_code(length, paired)).to(device, copy=True)


class FourierPositionEncoding(nn.Module):
    """Code of row and column, 32 channels each, projected to the width of the tokens.

    The projection is linear, so the code of a token is the sum of one vector of its row and one
    of its column: H + W vectors are projected, not H * W.

    Args:
        dim: channels C of the tokens.
        paired_frequencies: see `fourier_code`.
    """

    def __init__(self, dim: int, paired_frequencies: bool = True) -> None:
        super().__init__()
        self.token_projection = nn.Conv2d(64, dim, 1)
        self.paired_frequencies = paired_frequencies

    def forward(self, grid: tuple[int, int]) -> Tensor:
        """The code of a grid (H, W), tokens in row-major order: (1, H * W, C)."""
        weight = self.token_projection.weight.flatten(1)
        height, width = (
            fourier_code(length, self.paired_frequencies, weight.device).to(weight.dtype)
            for length in grid
        )
        # Products and sums, no matrix products: autocast would round positions to half precision.
        rows = (height[:, None] * weight[:, :32]).sum(-1) + self.token_projection.bias
        columns = (width[:, None] * weight[:, 32:]).sum(-1)
        return (rows[:, None] + columns).flatten(0, 1).unsqueeze(0)
