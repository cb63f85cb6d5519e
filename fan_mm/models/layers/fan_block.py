"""The FAN block: token mixing, then channel attention (FAN paper Figure 2b, spec 3.1); TAP in front."""

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from fan_mm.models.layers.channel_attention import CHANNEL_ATTENTIONS
from fan_mm.models.layers.layer_norm import ChannelLayerNorm
from fan_mm.models.layers.patch_embed import OverlapDownsample
from fan_mm.models.layers.residual import residual
from fan_mm.models.layers.token_mixing import TokenMixing
from fan_mm.models.layers.token_pooling import TokenPooling


class FANBlock(nn.Module):
    """Two pre-norm residual branches with layer scale: token mixing, channel attention.

    Token pooling, if any, changes only the input of the first branch, not the residual.

    Args:
        dim: channels C.
        num_heads: heads of both attentions.
        hidden_dim: hidden channels of the MLP inside the channel attention.
        norm_cfg: mmcv config of the batch norm inside the MLP.
        channel_attention: 'eca', 'se' or 'csa'.
        drop_path: probability that a sample skips a branch.
        downsample_dim: output channels of this block's `downsample` module (FAN-XLarge), which the
            caller applies; None for no downsampling.
        token_pooling: number of scales of the token-aware average pooling before the token mixing;
            None for no pooling.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        hidden_dim: int,
        norm_cfg: dict,
        channel_attention: str = 'eca',
        drop_path: float = 0.0,
        downsample_dim: int | None = None,
        token_pooling: int | None = None,
    ) -> None:
        super().__init__()
        self.gamma1 = nn.Parameter(torch.ones(dim))
        self.gamma2 = nn.Parameter(torch.ones(dim))
        self.norm1 = ChannelLayerNorm(dim, before_product=True)
        self.token_mixing = TokenMixing(dim, num_heads)
        self.norm2 = ChannelLayerNorm(dim, before_product=True)
        self.channel_attention = CHANNEL_ATTENTIONS[channel_attention](
            dim, num_heads, hidden_dim, norm_cfg
        )
        self.token_pooling = TokenPooling(dim, token_pooling) if token_pooling else None
        self.drop_path = DropPath(drop_path)
        self.downsample = OverlapDownsample(dim, downsample_dim) if downsample_dim else None

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C)."""
        pooled = tokens if self.token_pooling is None else self.token_pooling(tokens, grid)
        mixed = self.token_mixing(self.norm1(pooled))
        tokens = residual(tokens, mixed, self.drop_path, self.gamma1)
        mixed = self.channel_attention(self.norm2(tokens), grid)
        return residual(tokens, mixed, self.drop_path, self.gamma2)
