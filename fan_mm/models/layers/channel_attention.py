"""The channel attentions: efficient (FAN paper Eq. 7), squeeze-excite (Table 6), full (Eq. 6).

All three take normalised tokens and their grid, and none has an output projection. Where the
paper's Eq. 7 and the released models differ, the released models are followed (spec 3.3).
"""

import torch
from torch import Tensor, nn

from fan_mm.models.kernels import channel_similarity, fuses, has_kernels, softmax_over_tokens
from fan_mm.models.layers.convolution import FanOutConv2d
from fan_mm.models.layers.layer_norm import ChannelLayerNorm
from fan_mm.models.layers.linear import Linear, cast_once
from fan_mm.models.layers.mlp import ConvMlp


class EfficientChannelAttention(nn.Module):
    r"""ECA: every channel of an MLP's output is scaled by one gate per sample.

    With the channels split into heads, :math:`\sigma_n` the softmax over tokens and
    :math:`\bar{k}_h = \mathrm{mean}_{c \in h}\,\sigma_n(u)_c` the token prototype of a head,

    .. math:: \mathrm{gate}_c = t_h \, \mathrm{sigmoid}\Big(\sum_n \sigma_n(W_Q u)_{nc}\,
              \bar{k}_{nh}\Big), \qquad \mathrm{out} = \mathrm{gate} \odot \mathrm{LN}(\mathrm{MLP}(u)).

    Args:
        dim: channels C.
        num_heads: channel heads h.
        hidden_dim: hidden channels of the MLP.
        norm_cfg: mmcv config of the batch norm inside the MLP.
        identity: the identity path of the MLP (`ConvMlp`).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        hidden_dim: int,
        norm_cfg: dict,
        identity: bool = True,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.q = Linear(dim, dim)
        self.mlp = ConvMlp(dim, hidden_dim, norm_cfg, identity)
        self.norm_v = ChannelLayerNorm(dim, eps=1e-5, before_product=True)

    def gate(self, tokens: Tensor, queries: Tensor) -> Tensor:
        """One factor per channel, between 0.5 and 0.7311 times the temperature: (B, C)."""
        similarity = self.similarity(tokens, queries)
        return (similarity.sigmoid() * self.temperature.flatten(1)).flatten(1)

    def similarity(self, tokens: Tensor, queries: Tensor) -> Tensor:
        """Of every channel's queries with its head's token prototype, (B, h, d)."""
        if has_kernels(tokens):
            found = channel_similarity(tokens, queries, self.num_heads)
            return found.to(self.temperature.dtype).unflatten(1, (self.num_heads, -1))
        prototype = self._softmax_of_tokens(tokens).mean(2)
        return torch.einsum('bhdn,bhn->bhd', self._softmax_of_tokens(queries), prototype)

    def _softmax_of_tokens(self, x: Tensor) -> Tensor:
        """Softmax over the tokens of (B, N, C), as (B, h, d, N)."""
        return softmax_over_tokens(x).unflatten(1, (self.num_heads, -1))

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C)."""
        cast = cast_once(tokens)
        values, gate = self.mlp(cast, grid), self.gate(tokens, self.q(cast))
        return (
            self.norm_v.gated(values, gate)
            if fuses(values)
            else gate[:, None] * self.norm_v(values)
        )


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means over the tokens (spec 3.9).

    Args:
        dim: channels C; the squeezed width is C/4, rounded.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        squeezed = max(1, int(dim / 4 + 0.5))
        self.conv_reduce = FanOutConv2d(dim, squeezed, 1)
        self.conv_expand = FanOutConv2d(squeezed, dim, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scale tokens (B, N, C)."""
        mean = tokens.mean(1)[:, :, None, None]
        gate = self.conv_expand(self.conv_reduce(mean).relu()).sigmoid()
        return tokens * gate.flatten(1).unsqueeze(1)


class SqueezeExciteAttention(ConvMlp):
    """The MLP with depthwise convolutions, then squeeze-excite: the SE row of Table 6.

    Args:
        dim: channels C.
        num_heads: unused, squeeze-excite has no heads.
        hidden_dim: hidden channels of the MLP.
        norm_cfg: mmcv config of the batch norm inside the MLP.
    """

    def __init__(self, dim: int, num_heads: int, hidden_dim: int, norm_cfg: dict) -> None:
        super().__init__(dim, hidden_dim, norm_cfg)
        self.se = SqueezeExcite(dim)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C)."""
        return self.se(super().forward(tokens, grid))


class ChannelSelfAttention(nn.Module):
    r"""The full channel self-attention of the paper's Eq. 6, per head of d channels.

    .. math:: \mathrm{Softmax}\Big(\frac{(W_Q u)^\top (W_K u)}{\sqrt{N}}\Big)\,\mathrm{MLP}(u)^\top,

    a (d, d) matrix whose rows sum to one over channels. The authors released no model with it.

    Args:
        dim: channels C.
        num_heads: channel heads h.
        hidden_dim: hidden channels of the MLP.
        norm_cfg: mmcv config of the batch norm inside the MLP.
    """

    def __init__(self, dim: int, num_heads: int, hidden_dim: int, norm_cfg: dict) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = Linear(dim, dim)
        self.k = Linear(dim, dim)
        self.mlp = ConvMlp(dim, hidden_dim, norm_cfg)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C)."""
        q, k, v = (
            t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for t in (self.q(tokens), self.k(tokens), self.mlp(tokens, grid))
        )
        attention = (q.transpose(-2, -1) @ k * tokens.shape[1] ** -0.5).softmax(-1)
        return (v @ attention.transpose(-2, -1)).transpose(1, 2).flatten(2)


CHANNEL_ATTENTIONS: dict[str, type[nn.Module]] = {
    'eca': EfficientChannelAttention,
    'se': SqueezeExciteAttention,
    'csa': ChannelSelfAttention,
}
