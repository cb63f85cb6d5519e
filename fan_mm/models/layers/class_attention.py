"""Class attention after the FAN blocks, inherited from XCiT and CaiT (spec section 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fan_mm.models.layers.linear import Linear
from fan_mm.models.layers.mlp import Mlp


class ClassAttention(nn.Module):
    """Attention of the class token over all tokens.

    Args:
        dim: channels C.
        num_heads: heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = Linear(dim, dim)
        self.k = Linear(dim, dim)
        self.v = Linear(dim, dim)
        self.proj = Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """From tokens (B, 1+N, C), the class token first, its new value (B, 1, C)."""
        q, k, v = (
            t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for t in (self.q(tokens[:, :1]), self.k(tokens), self.v(tokens))
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class ClassAttentionBlock(nn.Module):
    """Class attention and an MLP on the class token, with XCiT's side effects on patch tokens.

    Patch tokens ``t`` depend on neither the class token nor the MLP; they become
    ``2 * norm2(t + gamma1 * norm1(t))``. Dense models need only that (`forward_patches`).

    Args:
        dim: channels C.
        num_heads: heads.
        hidden_dim: hidden channels of the MLP.
        class_token: False omits the modules that only the class token needs (attention, MLP and
            gamma2); only `forward_patches` can then be called.
        tokens_norm: normalise all tokens with norm2, as in every FAN, or only the class token.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        hidden_dim: int,
        class_token: bool = True,
        tokens_norm: bool = True,
    ) -> None:
        super().__init__()
        self.tokens_norm = tokens_norm
        self.gamma1 = nn.Parameter(torch.ones(dim))
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        if class_token:
            self.attn = ClassAttention(dim, num_heads)
            self.mlp = Mlp(dim, hidden_dim)
            self.gamma2 = nn.Parameter(torch.ones(dim))

    def forward(self, class_token: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Map the class token (B, 1, C) and patch tokens (B, N, C) to their new values."""
        normed = self.norm1(torch.cat((class_token, patches), dim=1))
        c = self.norm2(torch.addcmul(class_token, self.gamma1, self.attn(normed)))
        c = torch.addcmul(c, self.gamma2, self.mlp(c))
        return c, self._update_patches(patches, normed[:, 1:])

    def forward_patches(self, patches: Tensor) -> Tensor:
        """The effect of `forward` on the patch tokens (B, N, C), without a class token."""
        return self._update_patches(patches, self.norm1(patches))

    def _update_patches(self, patches: Tensor, normed: Tensor) -> Tensor:
        patches = torch.addcmul(patches, self.gamma1, normed)
        return 2 * (self.norm2(patches) if self.tokens_norm else patches)
