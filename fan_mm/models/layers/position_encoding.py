"""Fourier position code, computed for whatever grid the image has (spec 2.3)."""

import math

import torch
from torch import Tensor, nn


def fourier_code(length: int, paired: bool, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of the positions along one axis.

    Args:
        length: rows or columns of the grid.
        paired: channels 2j and 2j+1 share one frequency (classification models); False gives each
            channel its own (the official segmentation and detection code).
        device: where to compute the code; copying it from the CPU would synchronise with the GPU.

    Returns:
        (length, 32) float32: even channels are sines, odd ones cosines.
    """
    position = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    position = position / (length + 1e-6) * (2 * math.pi)
    channel = torch.arange(32, dtype=torch.float32, device=device)
    power = 2 * ((channel / 2).floor() if paired else channel / 2) / 32
    angle = position[:, None] / 10000**power
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


class FourierPositionEncoding(nn.Module):
    """Fourier code of row and column, 32 channels each, projected to the width of the tokens.

    The projection is linear, so the encoding of a token is the sum of a row vector and a column
    vector: only H + W vectors are projected, not H * W.

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
        weight, bias = self.token_projection.weight.flatten(1), self.token_projection.bias
        assert bias is not None
        height, width = (
            fourier_code(length, self.paired_frequencies, weight.device).to(weight.dtype)
            for length in grid
        )
        # Elementwise products and sums: autocast would round the positions in a matrix product to half
        # precision. keepdim and squeeze: without them, OpenVINO 2026.4 silently adds the bias to wrong channels.
        rows = (height[:, None] * weight[:, :32]).sum(-1, keepdim=True).squeeze(-1) + bias
        columns = (width[:, None] * weight[:, 32:]).sum(-1)
        return (rows[:, None] + columns).flatten(0, 1).unsqueeze(0)
