"""TAP and ADL written down literally: nine copies of the tokens, the N x N attention of every head."""

import torch
import torch.nn.functional as F
from reference.fan import Parameters, batch_norm, below, conv
from torch import Tensor


def scale_weights(x: Tensor, p: Parameters, training: bool = False) -> Tensor:
    """Shares (B, K, H, W) of the scales, from a map (B, C, H, W)."""
    x = batch_norm(conv(x, below(p, '0.'), padding=1), below(p, '1.'), training)
    return conv(x, below(p, '2.'), padding=1).softmax(1)


def neighbourhood_mean(x: Tensor, d: int) -> Tensor:
    """The mean of 9 tokens of a map (B, C, H, W), d apart; outside the grid they are 0."""
    height, width = x.shape[2:]
    padded = F.pad(x, (d, d, d, d))
    copies = [
        padded[:, :, d + i * d : d + i * d + height, d + j * d : d + j * d + width]
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    return torch.stack(copies).sum(0) / 9


def token_pooling(x: Tensor, p: Parameters, training: bool = False) -> Tensor:
    """From a map (B, C, H, W) the pooled one."""
    weights = scale_weights(x, p, training)
    means = [x, *(neighbourhood_mean(x, d) for d in range(1, weights.shape[1]))]
    return sum(weights[:, d : d + 1] * mean for d, mean in enumerate(means))


def attention_diversity(q: Tensor, k: Tensor, threshold: float = 2.0) -> Tensor:
    """The loss of one attention, from queries and keys (B, h, N, d)."""
    attention = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).mean(1)
    mean = attention.mean(1, keepdim=True)
    mean, attention = (u * (u > threshold / q.shape[2]) for u in (mean, attention))
    return F.cosine_similarity(mean, attention, dim=-1, eps=1e-8).mean()
