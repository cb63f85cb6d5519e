"""Token mixing: multi-head self-attention over tokens (FAN paper Eq. 1, spec 3.2)."""

from torch import Tensor, nn

from fan_mm.models.layers.attention import Attention
from fan_mm.models.layers.linear import Linear, cast_once


class TokenMixing(nn.Module):
    """Multi-head self-attention with memory linear in the number of tokens N, not N².

    Args:
        dim: channels C.
        num_heads: heads h; C must be a multiple of h.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = Linear(dim, dim)
        self.kv = Linear(dim, 2 * dim)
        self.attention = Attention()
        self.proj = Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens (B, N, C) to (B, N, C)."""
        tokens = cast_once(tokens)
        q, k, v = (
            t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for t in (self.q(tokens), *self.kv(tokens).chunk(2, dim=-1))
        )
        mixed = self.attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))
