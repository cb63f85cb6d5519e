"""Scaled dot-product attention, by the fastest exact way that a device offers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fan_mm.models.layers.cpu_inference import writes_in_place
from fan_mm.models.layers.linear import mkl_is_half_as_wide, pointwise, prefers_onednn

SCORES = 2**21  # attention scores held at once (8 MB)
MANY_TOKENS = 1024  # below this, blocks are not faster


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``softmax(q @ k.T / sqrt(d)) @ v`` in memory that grows with N, not N².

    Uses PyTorch's fused kernel, which on a CPU multiplies with MKL. Where MKL is slow, inference over many tokens
    multiplies blocks of queries with oneDNN instead (elsewhere these take 1.2 times as long). bfloat16 keeps to
    the fused kernel, because the blocks would round the scores that it keeps in float32.

    Args:
        q: (B, h, N, d).
        k: (B, h, N, d).
        v: (B, h, N, d).

    Returns:
        (B, h, N, d); its transpose to (B, N, h, d) is contiguous.
    """
    batch, heads, tokens, width = q.shape
    onednn = writes_in_place(q) and prefers_onednn(q) and mkl_is_half_as_wide()
    if not onednn or q.dtype != torch.float32 or tokens < MANY_TOKENS:
        return F.scaled_dot_product_attention(q, k, v)
    out = q.new_empty(batch, tokens, heads, width).transpose(1, 2)
    queries = max(1, SCORES // tokens)
    for i in range(batch * heads):
        head = divmod(i, heads)
        keys, values = k[head] * width**-0.5, v[head].t().contiguous()
        for query, mixed in zip(q[head].split(queries), out[head].split(queries), strict=True):
            scores = pointwise(query.contiguous(), keys, None)
            mixed.copy_(pointwise(torch.softmax(scores, -1, out=scores), values, None))
    return out


class Attention(nn.Module):
    """`attention` as a module, so that forward hooks get queries, keys and values."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map three tensors (B, h, N, d) to one."""
        return attention(q, k, v)
