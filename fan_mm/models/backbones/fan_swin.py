"""FAN-Swin: Swin Transformer v1 with the FAN block's channel attention (spec 6 and 7.5)."""

from typing import Any, cast

import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.registry import MODELS
from torch import Tensor, nn

from fan_mm.models.backbones.staged import StagedBackbone, StagedBlock
from fan_mm.models.layers import (
    ChannelLayerNorm,
    WindowAttention,
    residual,
)
from fan_mm.models.layers.linear import pointwise
from fan_mm.models.layers.token_map import padding

WINDOW = 7  # tokens


class PatchMerging(nn.Module):
    """Halve the grid: merge the four tokens of each 2x2 patch into one with twice the channels.

    Args:
        dim: channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = ChannelLayerNorm(4 * dim, eps=1e-5, before_product=True)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        nn.init.trunc_normal_(self.reduction.weight, std=0.02)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Map tokens (B, H * W, C) to (B, ceil(H/2) * ceil(W/2), 2C) and their grid."""
        down, right = padding(grid, 2)
        x = F.pad(tokens.unflatten(1, grid), (0, 0, 0, right, 0, down))
        height, width = x.shape[1] // 2, x.shape[2] // 2
        x = x.unflatten(2, (width, 2)).unflatten(1, (height, 2))
        # (B, H/2, 2, W/2, 2, C): Swin orders the four tokens by columns
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)
        return pointwise(self.norm(x), self.reduction.weight, None), (height, width)


class FANSwinBlock(StagedBlock):
    """Two pre-norm residual branches: attention in windows, then channel attention or an MLP.

    Args:
        dim: channels C.
        num_heads: heads of the window attention.
        shift: displacement of the windows.
        always_shift: shift even if one window covers the grid.
        channel_heads: heads of the channel attention; None for an ordinary MLP in its place.
        mlp_identity: identity path of the MLP inside the channel attention.
        norm_cfg: mmcv config of the batch norm in that MLP.
        drop_path: probability that a sample skips a branch.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        shift: int,
        always_shift: bool,
        channel_heads: int | None,
        mlp_identity: bool,
        norm_cfg: dict,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm1 = ChannelLayerNorm(dim, eps=1e-5, before_product=True)
        self.token_mixing = WindowAttention(dim, num_heads, WINDOW, shift, always_shift)
        self.norm2 = ChannelLayerNorm(dim, eps=1e-5, before_product=True)
        self._make_channel_mixing(dim, channel_heads, norm_cfg, mlp_identity)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C)."""
        tokens = residual(tokens, self.token_mixing(self.norm1(tokens), grid), self.drop_path)
        return residual(tokens, self._mix_channels(self.norm2(tokens), grid), self.drop_path)


@MODELS.register_module()
class FANSwin(StagedBackbone):
    """FAN-Swin, for images of any size.

    [Understanding The Robustness in Vision Transformers](https://arxiv.org/abs/2204.12451),
    Table 7.

    The defaults are those of the classification models. The official segmentation model is
    ``channel_heads=8, mlp_identity=True, always_shift=True``.

    Args:
        arch: 'tiny', 'small', 'base', 'large', or a dict (`StagedBackbone`).
        mlp_identity: identity path of the MLP inside the channel attention (spec 3.4).
        always_shift: shift windows even if a stage's shorter side is no larger than a window
            (at 224 pixels: in the last stage).
        **kwargs: the other arguments of `StagedBackbone`.

    Examples:
        >>> backbone = FANSwin('tiny', out_indices=(0, 1, 2, 3))
        >>> [tuple(x.shape) for x in backbone(torch.rand(1, 3, 64, 96))]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    family = 'FANSwin'
    arch_zoo = {
        'tiny': dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
        'small': dict(embed_dims=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
        'base': dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
        'large': dict(embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
    }
    norm_eps = 1e-5
    downsample_type = PatchMerging

    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        mlp_identity: bool = False,
        always_shift: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(arch, mlp_identity=mlp_identity, always_shift=always_shift, **kwargs)

    @property
    def unseen_options(self) -> dict[str, object]:
        """Options that a converted checkpoint must record."""
        block = cast('FANSwinBlock', self.layers[0].blocks[0])
        options: dict[str, object] = dict(always_shift=block.token_mixing.always_shift)
        if block.channel_attention is not None:
            options['mlp_identity'] = block.channel_attention.mlp.identity
        return options

    def _make_block(self, dim: int, num_heads: int, index: int, **options: Any) -> FANSwinBlock:
        return FANSwinBlock(dim, num_heads, shift=WINDOW // 2 if index % 2 else 0, **options)
