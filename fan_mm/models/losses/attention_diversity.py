r"""Attention diversification loss, ADL (Guo et al., Robustifying Token Attention, ICCV 2023).

With A the attention of an image, averaged over heads, :math:`\bar{a}` its mean over queries, and M
keeping what exceeds ``threshold / N`` (the rest becomes 0),

.. math:: L = \frac{1}{N} \sum_i \cos(M(\bar{a}), M(A_i)),

which decreases as queries attend to different tokens. A cosine is the product of two unit vectors, so L
depends on the queries only through the sum of :math:`M(A_i) / |M(A_i)|`. One pass over blocks of queries
computes that sum and :math:`\bar{a}`; a second one, in the backward pass, computes the gradients. The
N x N matrix is never stored.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fan_mm.errors import InputError
from fan_mm.models.layers import Attention

SCORES = {'cpu': 2**20, 'cuda': 2**24}  # attention scores held at once, twice in the backward pass
EPS = 1e-8  # as in torch's cosine similarity


def attention_diversity(q: Tensor, k: Tensor, threshold: float = 2.0) -> Tensor:
    """The loss of one attention, the mean over its images, in memory that grows with N.

    Computed in float32, also under autocast.

    Args:
        q: queries (B, h, N, d), not yet scaled.
        k: keys (B, h, N, d).
        threshold: attention up to ``threshold / N`` is treated as 0.

    Returns:
        A number from 0 to 1.
    """
    return _AttentionDiversity.apply(q, k, threshold)


class AttentionDiversity:
    """The mean of `attention_diversity` over all token mixings that a model runs.

    Hooks on the attention modules read their queries and keys, so the model needs no changes.
    Forward passes without gradients (a teacher, validation) and the recomputation of checkpointed
    blocks are not counted. Several forward passes are averaged.

    Args:
        model: any model that contains a `FANViT` or `FANHybrid`.
        threshold: see `attention_diversity`.

    Raises:
        InputError: the model contains none.

    Examples:
        >>> diversity = AttentionDiversity(model)
        >>> diversity.start()
        >>> loss = criterion(model(images), labels) + diversity.loss()
        >>> loss.backward()
        >>> diversity.remove()  # only now: checkpointed blocks run once more in the backward pass
    """

    def __init__(self, model: nn.Module, threshold: float = 2.0) -> None:
        self.threshold = threshold
        self._attentions = [m for m in model.modules() if isinstance(m, Attention)]
        if not self._attentions:
            raise InputError(
                'attention diversification needs a FANViT or FANHybrid, but there is none in the '
                f'{type(model).__name__}'
            )
        self._handles = [m.register_forward_hook(self._record) for m in self._attentions]
        self._values: list[Tensor] | None = None

    def start(self) -> None:
        """Start recording, and discard earlier recordings."""
        self._values = []

    def loss(self) -> Tensor | None:
        """Stop recording and return the mean over everything since `start`, None if nothing ran."""
        values, self._values = self._values, None
        # the divisor of the authors
        return sum(values[1:], values[0]) / (len(values) + 1e-6) if values else None

    def remove(self) -> None:
        """Remove the hooks from the model."""
        for handle in self._handles:
            handle.remove()

    def _record(self, _: nn.Module, inputs: tuple[Tensor, Tensor, Tensor], __: Tensor) -> None:
        if not torch.is_grad_enabled():
            return
        # Computed even if not recorded: recomputation must save as many tensors as the first pass.
        value = attention_diversity(*inputs[:2], self.threshold)
        if self._values is not None:
            self._values.append(value)


class _AttentionDiversity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, threshold: float) -> Tensor:
        ctx.threshold = threshold
        batch, heads, tokens, _ = q.shape
        with torch.autocast(q.device.type, enabled=False):
            blocks = _Blocks(q, k)
            log_sums = blocks.q.new_empty(batch, heads, tokens, 1)  # of the softmax
            total, directions = blocks.q.new_zeros(2, batch, tokens)
            for images, queries in blocks:
                # On a CPU an exponential is one fast call to MKL; PyTorch's softmax is slower.
                scores = blocks.scores(images, queries)
                highest = scores.amax(-1, keepdim=True)
                exponentials = scores.sub_(highest).exp_()
                sums = exponentials.sum(-1, keepdim=True)
                log_sums[images, :, queries] = sums.log() + highest
                shares = (heads * sums).reciprocal_().permute(0, 2, 3, 1)
                attended = (shares @ exponentials.transpose(1, 2)).squeeze(2)
                kept = _keep(attended, threshold)
                total[images] += attended.sum(1)
                directions[images] += (_norm(kept).reciprocal_().mT @ kept).squeeze(1)
            ctx.save_for_backward(q, k, log_sums, total, directions)
            mean = _keep(total / tokens, threshold)
            return (mean / _norm(mean) * directions).sum(-1).mean() / tokens

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        q, k, log_sums, total, directions = ctx.saved_tensors
        batch, heads, tokens, width = q.shape
        with torch.autocast(q.device.type, enabled=False):
            blocks = _Blocks(q, k, log_sums)
            gradient = gradient / (batch * tokens * heads)
            mean = _keep(total / tokens, ctx.threshold)[:, None]
            of_mean = gradient / tokens * _through_direction(mean, directions[:, None])
            of_direction = gradient * mean / _norm(mean)
            grad_q, grad_k = torch.empty_like(blocks.q), torch.zeros_like(blocks.k)
            buffer = torch.empty_like(blocks.buffer)
            for images, queries in blocks:
                attention = blocks.scores(images, queries).exp_()
                kept = _keep(attention.mean(1), ctx.threshold)
                of_attention = _through_direction(kept, of_direction[images]).add_(of_mean[images])
                of_scores = _view(buffer, attention.shape)  # derivative of the softmax:
                torch.mul(attention, of_attention[:, None], out=of_scores)
                of_scores.addcmul_(attention, of_scores.sum(-1, keepdim=True), value=-1)
                grad_q[images, :, queries] = of_scores @ blocks.k[images]
                grad_k[images].flatten(0, 1).baddbmm_(
                    of_scores.flatten(0, 1).mT, blocks.q[images, :, queries].flatten(0, 1)
                )
            return (grad_q * width**-0.5).to(q.dtype), grad_k.to(k.dtype), None


class _Blocks:
    """Attention scores in blocks of images and queries, with memory for one block.

    Args:
        q: queries (B, h, N, d).
        k: keys (B, h, N, d).
        less: (B, h, N, 1), subtracted from each query's scores within the product with the keys.
    """

    def __init__(self, q: Tensor, k: Tensor, less: Tensor | None = None) -> None:
        dtype = torch.promote_types(q.dtype, torch.float32)
        batch, heads, tokens, width = q.shape
        self.q = (q.to(dtype) * width**-0.5).contiguous()
        self.k = k.to(dtype).contiguous()
        self._left, self._right = self.q, self.k.mT.contiguous()
        if less is not None:
            self._left = torch.cat((self.q, -less), dim=-1)
            self._right = torch.cat((self._right, torch.ones_like(self._right[:, :, :1])), dim=-2)
        scores = SCORES.get(q.device.type, SCORES['cpu'])
        self._images = min(batch, max(1, scores // (heads * tokens * tokens)))
        self._queries = min(tokens, max(1, scores // (heads * tokens)))
        self.buffer = self.q.new_empty(self._images * heads * self._queries * tokens)

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        batch, _, tokens, _ = self.q.shape
        for image in range(0, batch, self._images):
            for query in range(0, tokens, self._queries):
                yield slice(image, image + self._images), slice(query, query + self._queries)

    def scores(self, images: slice, queries: slice) -> Tensor:
        """Those of a block, (b, h, n, N), until the next are asked for."""
        left, right = self._left[images, :, queries], self._right[images]
        out = _view(self.buffer, (*left.shape[:-1], right.shape[-1]))
        return torch.matmul(left, right, out=out)


def _view(buffer: Tensor, shape: Sequence[int]) -> Tensor:
    return buffer[: math.prod(shape)].view(shape)


def _keep(attention: Tensor, threshold: float) -> Tensor:
    """What exceeds ``threshold / N``, 0 elsewhere."""
    return F.threshold(attention, threshold / attention.shape[-1], 0.0)


def _norm(x: Tensor) -> Tensor:
    return x.norm(dim=-1, keepdim=True).clamp_(min=EPS)


def _through_direction(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient by rows ``x`` (b, n, N), kept where they are not 0, from that by x / |x|."""
    norm = _norm(x)
    along = x @ gradient.mT / norm**3
    return (gradient / norm).addcmul_(x, along, value=-1).mul_(x > 0)
