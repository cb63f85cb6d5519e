"""A residual sum with layer scale, ``x + factor * branch``, read and written once.

With PyTorch's ``addcmul`` under autocast the branch is cast first, which moves 18 bytes per value instead of 10,
and the gradients take five kernels.
"""

from typing import Any

import torch
from torch import Tensor

from fan_mm.models.kernels.library import (
    LIBRARY,
    beside,
    differentiable_gradients,
    implement,
    needs_gradient,
)

LIBRARY.define('scaled_residual(Tensor x, Tensor factor, Tensor branch) -> Tensor')
LIBRARY.define(
    'scaled_residual_gradients(Tensor gradient, Tensor factor, Tensor branch) -> (Tensor, Tensor)'
)


def scaled_residual_on_gpu(x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
    """``x + factor * branch``, of the type of ``x``.

    Args:
        x: (B, ..., C).
        factor: (C,), or (B, C) for one per sample.
        branch: (B, ..., C).

    Returns:
        (B, ..., C).
    """
    if needs_gradient(x, factor, branch):
        return _ScaledResidual.apply(x, factor, branch)
    return torch.ops.fan_mm.scaled_residual(x, factor, branch)


class _ScaledResidual(torch.autograd.Function):
    """The operators, one the gradient of the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
        ctx.save_for_backward(factor, branch)
        return torch.ops.fan_mm.scaled_residual(x, factor, branch)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        factor, branch = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Only the formula supports double backward.
            scaled = beside(factor, branch) * branch
            return gradient, *differentiable_gradients(scaled, (factor, branch), gradient)
        of_branch, of_factor = torch.ops.fan_mm.scaled_residual_gradients(gradient, factor, branch)
        return gradient, of_factor.to(factor.dtype), of_branch


def _plain(x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
    return torch.addcmul(x, beside(factor, x).to(x.dtype), branch.to(x.dtype))


def _plain_gradients(gradient: Tensor, factor: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
    gradient = gradient.float()
    summed = list(range(factor.dim() - 1, branch.dim() - 1))
    of_branch = (gradient * beside(factor, branch)).to(branch.dtype)
    return of_branch, (gradient * branch).sum(summed)


def _shape(x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _gradient_shapes(gradient: Tensor, factor: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
    return branch.new_empty(branch.shape), factor.new_empty(factor.shape, dtype=torch.float32)


implement('scaled_residual', _plain, _shape, 'scaled_residual_triton:scaled_residual')
implement(
    'scaled_residual_gradients',
    _plain_gradients,
    _gradient_shapes,
    'scaled_residual_triton:gradients',
)
