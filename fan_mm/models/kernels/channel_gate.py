r"""The similarity in the gate of the efficient channel attention (FAN paper Eq. 7, spec 3.3).

With :math:`S = \sigma_n(u)` and :math:`P = \sigma_n(q)` the softmax over tokens, and :math:`d` channels per head,

.. math:: \bar{k}_{nh} = \frac{1}{d} \sum_{c \in h} S_{nc}, \qquad s_c = \sum_n P_{nc} \, \bar{k}_{nh}.

With PyTorch's operators this takes about twenty kernels and a dozen token-sized intermediates, and about
forty kernels for the gradient; most of that time a GPU computes nothing. Here the tokens are read twice, and
the only token-sized outputs are the gradients,

.. math:: \dot{q}_{nc} = P_{nc} \, \dot{s}_c (\bar{k}_{nh} - s_c), \qquad
          \dot{u}_{nc} = S_{nc} \Big(\frac{\dot{k}_{nh}}{d} - \sum_m S_{mc} \frac{\dot{k}_{mh}}{d}\Big),
          \qquad \dot{k}_{nh} = \sum_{c \in h} \dot{s}_c P_{nc}.
"""

from typing import Any

import torch
from torch import Tensor

from fan_mm.models.kernels.library import (
    LIBRARY,
    differentiable_gradients,
    implement,
    needs_gradient,
)

LIBRARY.define('channel_similarity(Tensor u, Tensor q, int heads) -> (Tensor, Tensor, Tensor)')
LIBRARY.define(
    'channel_similarity_gradients(Tensor gradient, Tensor u, Tensor q, Tensor similarity, '
    'Tensor prototypes, Tensor statistics) -> (Tensor, Tensor)'
)


def channel_similarity(u: Tensor, q: Tensor, heads: int) -> Tensor:
    """The similarity of every channel's queries with its head's token prototype.

    Args:
        u: tokens (B, N, C).
        q: queries (B, N, C).
        heads: h, a divisor of C.

    Returns:
        (B, C), float32, between 0 and 1.
    """
    if needs_gradient(u, q):
        return _ChannelSimilarity.apply(u, q, heads)
    return torch.ops.fan_mm.channel_similarity(u, q, heads)[0]


class _ChannelSimilarity(torch.autograd.Function):
    """The operators, one the gradient of the other."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, q: Tensor, heads: int) -> Tensor:
        outputs = torch.ops.fan_mm.channel_similarity(u, q, heads)
        ctx.heads = heads
        ctx.save_for_backward(u, q, *outputs)
        return outputs[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        u, q, *outputs = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            # Only the formula supports double backward.
            similarity = _plain_similarity(u, q, ctx.heads)[0]
            return *differentiable_gradients(similarity, (u, q), gradient), None
        found = torch.ops.fan_mm.channel_similarity_gradients(gradient, u, q, *outputs)
        return *found, None


def softmax_over_tokens(x: Tensor) -> Tensor:
    """Softmax over the tokens of (B, N, C), as (B, C, N)."""
    # On a GPU, PyTorch's softmax uses a block of threads per row but only one thread per column, which
    # would process all tokens serially. On a CPU columns are fast enough.
    return x.transpose(1, 2).softmax(-1) if x.is_cuda else x.softmax(1).transpose(1, 2)


def _plain_similarity(u: Tensor, q: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    of_u, of_q = (softmax_over_tokens(x.float()).unflatten(1, (heads, -1)) for x in (u, q))
    prototypes = of_u.mean(2)
    similarity = torch.einsum('bhdn,bhn->bhd', of_q, prototypes).flatten(1)
    unused = similarity.new_zeros((len(u), 4, u.shape[2]))  # only the kernels use the statistics
    return similarity, prototypes.transpose(1, 2).contiguous(), unused


def _plain_gradients(
    gradient: Tensor,
    u: Tensor,
    q: Tensor,
    similarity: Tensor,
    prototypes: Tensor,
    statistics: Tensor,
) -> tuple[Tensor, Tensor]:
    width = u.shape[2] // prototypes.shape[2]
    of_u, of_q = (softmax_over_tokens(x.float()).transpose(1, 2) for x in (u, q))
    of_prototypes = (of_q * gradient[:, None]).unflatten(2, (-1, width)).sum(3) / width
    spread = of_prototypes.repeat_interleave(width, 2)
    centred = prototypes.repeat_interleave(width, 2) - similarity[:, None]
    found_u = of_u * (spread - (of_u * spread).sum(1, keepdim=True))
    found_q = of_q * gradient[:, None] * centred
    return found_u.to(u.dtype).contiguous(), found_q.to(q.dtype).contiguous()


def _similarity_shapes(u: Tensor, q: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    batch, tokens, channels = u.shape
    new = u.new_empty
    return (
        new((batch, channels), dtype=torch.float32),
        new((batch, tokens, heads), dtype=torch.float32),
        new((batch, 4, channels), dtype=torch.float32),
    )


def _gradients_shapes(
    gradient: Tensor,
    u: Tensor,
    q: Tensor,
    similarity: Tensor,
    prototypes: Tensor,
    statistics: Tensor,
) -> tuple[Tensor, Tensor]:
    return u.new_empty(u.shape), q.new_empty(q.shape)


implement(
    'channel_similarity', _plain_similarity, _similarity_shapes, 'channel_gate_triton:similarity'
)
implement(
    'channel_similarity_gradients',
    _plain_gradients,
    _gradients_shapes,
    'channel_gate_triton:gradients',
)
