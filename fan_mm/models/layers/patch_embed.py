"""From pixels to tokens, and from tokens to fewer and wider ones (spec 2.1 and 3.7)."""

import itertools

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from fan_mm.models.layers.convolution import FanOutConv2d
from fan_mm.models.layers.layer_norm import ChannelLayerNorm
from fan_mm.models.layers.token_map import as_map, as_tokens, channels_last

# Patch size -> divisor of the tokens' width after each convolution.
_WIDTHS = {16: (8, 4, 2, 1), 8: (4, 2, 1), 4: (4, 1)}


class ConvPatchEmbed(nn.Module):
    """Stack of stride-2 3x3 convolutions with batch norm, GELU between them: FAN-ViT's stem.

    Args:
        dim: channels C of the tokens.
        norm_cfg: mmcv config of the batch norms.
        patch_size: 16, 8 or 4 pixels, for four, three or two convolutions.
    """

    def __init__(self, dim: int, norm_cfg: dict, patch_size: int = 16) -> None:
        super().__init__()
        channels = [3, *(dim // divisor for divisor in _WIDTHS[patch_size])]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(channels):
            conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
            layers += [nn.Sequential(conv, build_norm_layer(norm_cfg, outputs)[1]), nn.GELU()]
        self.proj = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Map images (B, 3, H, W) to no stage maps and the tokens' map (B, H', W', C)."""
        return [], self.proj(channels_last(images)).permute(0, 2, 3, 1)


class OverlapDownsample(nn.Module):
    """Halve the grid and widen the tokens with an overlapping convolution (FAN-XLarge).

    Args:
        dim: channels of the tokens.
        out_dim: channels of the new tokens.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = FanOutConv2d(dim, out_dim, 3, stride=2, padding=1)
        self.norm = ChannelLayerNorm(out_dim, eps=1e-5)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Map tokens (B, N, C) on a grid (H, W) to the new tokens and their grid."""
        x = self.proj(as_map(tokens, grid))
        return self.norm(as_tokens(x)), tuple(x.shape[2:])
