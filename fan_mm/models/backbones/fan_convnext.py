"""FAN-ConvNeXt: ConvNeXt with the efficient channel attention instead of its MLP (paper Table 7)."""

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.registry import MODELS
from torch import Tensor, nn

from fan_mm.models.backbones.staged import StagedBackbone, StagedBlock
from fan_mm.models.layers import (
    ChannelLayerNorm,
    as_map,
    as_tokens,
    residual,
)
from fan_mm.models.layers.convolution import StemConv2d, depthwise
from fan_mm.models.layers.token_map import padding

LAYER_SCALE = 1e-6


class ConvNeXtDownsample(nn.Module):
    """Halve the grid and double the width: LayerNorm, then 2x2 convolution with stride 2.

    Args:
        dim: channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = ChannelLayerNorm(dim, before_product=True)
        self.reduction = StemConv2d(dim, 2 * dim, 2, stride=2)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Map tokens (B, H * W, C) to (B, ceil(H/2) * ceil(W/2), 2C) and their grid."""
        x = as_map(self.norm(tokens), grid)
        down, right = padding(grid, 2)
        x = self.reduction(F.pad(x, (0, right, 0, down)))
        return as_tokens(x), tuple(x.shape[2:])


class FANConvNeXtBlock(StagedBlock):
    """``x + gamma * attention(norm(conv_dw(x)))`` with a 7x7 depthwise convolution.

    Args:
        dim: channels C.
        channel_heads: heads of the channel attention; None for an ordinary MLP in its place.
        norm_cfg: mmcv config of the batch norm inside the attention's MLP.
        drop_path: probability that a sample skips the branch.
    """

    def __init__(
        self, dim: int, channel_heads: int | None, norm_cfg: dict, drop_path: float
    ) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.conv_dw = StemConv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = ChannelLayerNorm(dim, before_product=True)
        self._make_channel_mixing(dim, channel_heads, norm_cfg)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C)."""
        x = depthwise(as_map(tokens, grid), self.conv_dw.weight, self.conv_dw.bias)
        x = self._mix_channels(self.norm(as_tokens(x)), grid)
        return residual(tokens, x, self.drop_path, self.gamma)


@MODELS.register_module()
class FANConvNeXt(StagedBackbone):
    """FAN-ConvNeXt, for images of any size.

    [Understanding The Robustness in Vision Transformers](https://arxiv.org/abs/2204.12451),
    Table 7, row "ConvNeXt-T + FAN": 82.5 % on ImageNet, 60.8 % on ImageNet-C, compared with 82.1 and
    59.1 % for ConvNeXt-T. The authors released neither code nor weights, so this is an interpretation of the paper.

    The paper specifies that the network is ConvNeXt-T ("FAN block" added) and that a FAN block differs
    from others in its channel processing: the efficient channel attention scales the output of the
    MLP (Figure 2b, Eq. 7). Everything else follows ConvNeXt
    ([A ConvNet for the 2020s](https://arxiv.org/abs/2201.03545)): depths, widths, 7x7 depthwise
    convolution, norm positions, layer scale initialised to 1e-6, linearly increasing drop path, and
    the norm after a classifier's global average pooling.

    Our choices:

    - The attention replaces the MLP (1x1 convolution, GELU, 1x1 convolution); the
      depthwise convolution in front, ConvNeXt's token mixing, stays, and so does the single residual
      branch.
    - The last stage keeps the ordinary MLP, as in the released FAN-Swin, the authors' own
      hierarchical model.
    - Channel heads of 32 channels, as in FAN-Swin, which the paper found best (section 2.3).
    - The attention is that of the released FAN-ViT, including the depthwise convolutions inside its
      MLP and the identity path around them.
    - Images and grids of odd size are padded at the right and bottom, as in FAN-Swin.

    Args:
        arch: 'tiny', 'small', 'base', 'large' (ConvNeXt's sizes), or a dict; see `StagedBackbone`, also
            for the other arguments.

    Examples:
        >>> backbone = FANConvNeXt('tiny', out_indices=(0, 1, 2, 3))
        >>> [tuple(x.shape) for x in backbone(torch.rand(1, 3, 64, 96))]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    family = 'FANConvNeXt'
    arch_zoo = {
        'tiny': dict(embed_dims=96, depths=(3, 3, 9, 3), num_heads=(3, 6, 12, 24)),
        'small': dict(embed_dims=96, depths=(3, 3, 27, 3), num_heads=(3, 6, 12, 24)),
        'base': dict(embed_dims=128, depths=(3, 3, 27, 3), num_heads=(4, 8, 16, 32)),
        'large': dict(embed_dims=192, depths=(3, 3, 27, 3), num_heads=(6, 12, 24, 48)),
    }
    norm_eps = 1e-6
    patch_conv = StemConv2d
    downsample_type = ConvNeXtDownsample

    def _make_block(self, dim: int, num_heads: int, index: int, **options: Any) -> FANConvNeXtBlock:
        return FANConvNeXtBlock(dim, **options)

    def _average(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens.mean(1))
