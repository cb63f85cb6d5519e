"""Residual branches with layer scale and drop path (stochastic depth), spec 3.1 and 9.

Both are factors, of the channels and of the samples. Multiplied with each other first, they are few
values; applied to the branch one after the other, every step reads and writes all tokens again.
"""

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor


def residual(
    tokens: Tensor, branch: Tensor, drop_path: DropPath, gamma: Tensor | None = None
) -> Tensor:
    """``tokens + drop_path(gamma * branch)``.

    Args:
        tokens: (B, N, C).
        branch: (B, N, C).
        drop_path: which samples skip the branch while training.
        gamma: the layer scale (C,); None for a branch without.

    Returns:
        (B, N, C).
    """
    if not (drop_path.training and drop_path.drop_prob):
        return tokens + branch if gamma is None else torch.addcmul(tokens, gamma, branch)
    # in float32 whatever autocast does: with 8 bits the random numbers would miss the probability
    kept = drop_path(torch.ones(len(tokens), 1, 1, device=tokens.device)).to(tokens.dtype)
    return torch.addcmul(tokens, kept if gamma is None else kept * gamma, branch)
