"""Residual branches with layer scale and drop path (stochastic depth), spec 3.1 and 9.

Layer scale is a factor per channel, drop path one per sample. Their product is small; applying them to
the branch one after the other would read and write all tokens twice.
"""

import functools

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor

from fan_mm.models.kernels import beside, fuses, scaled_residual_on_gpu


def residual(
    tokens: Tensor, branch: Tensor, drop_path: DropPath, gamma: Tensor | None = None
) -> Tensor:
    """``tokens + drop_path(gamma * branch)``.

    Args:
        tokens: (B, N, C).
        branch: (B, N, C).
        drop_path: drop path, which makes samples skip the branch in training.
        gamma: the layer scale (C,); None for none.

    Returns:
        (B, N, C).
    """
    if not (drop_path.training and drop_path.drop_prob):
        return tokens + branch if gamma is None else scaled_residual(tokens, gamma, branch)
    # Always in float32: with the 8 significant bits of bfloat16, random numbers would miss the probability.
    kept = drop_path(torch.ones(len(tokens), 1, 1, device=tokens.device)).flatten(1)
    kept = kept.to(tokens.dtype)
    if gamma is None:
        return torch.addcmul(tokens, kept[:, None], branch)
    return scaled_residual(tokens, kept * gamma, branch)


def scaled_residual(x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
    """``x + factor * branch``.

    Args:
        x: (B, ..., C).
        factor: (C,), or (B, C) for one per sample.
        branch: (B, ..., C).

    Returns:
        (B, ..., C).
    """
    if fuses(x) and x.dtype == _widest(x, factor, branch):
        return scaled_residual_on_gpu(x, factor, branch)
    return torch.addcmul(x, beside(factor, x), branch)


def _widest(*tensors: Tensor) -> torch.dtype:
    """The type of their sum: of a layer scale in float32 it is float32, also where the rest has fewer bits."""
    return functools.reduce(torch.promote_types, (x.dtype for x in tensors))
