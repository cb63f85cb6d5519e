"""A residual sum with layer scale, ``x + factor * branch``, read and written once.

With PyTorch's ``addcmul`` under autocast the branch is cast first, 18 bytes for a value in the place of 10, and
the gradients are five kernels.
"""

from typing import Any

import torch
from torch import Tensor

from fan_mm.models.kernels.library import (
    LIBRARY,
    beside,
    differentiable_gradients,
    needs_gradient,
    triton_compiles,
)

LIBRARY.define('scaled_residual(Tensor x, Tensor factor, Tensor branch) -> Tensor')
LIBRARY.define(
    'scaled_residual_gradients(Tensor gradient, Tensor factor, Tensor branch) -> (Tensor, Tensor)'
)


def scaled_residual_on_gpu(x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
    """``x + factor * branch``, of the type of ``x``.

    Args:
        x: (B, ..., C).
        factor: (C,), or (B, C) for each sample its own.
        branch: (B, ..., C).

    Returns:
        (B, ..., C).
    """
    x, factor, branch = x.contiguous(), factor.contiguous(), branch.contiguous()
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
            # a gradient of the gradient is wanted, which the formula has
            scaled = beside(factor, branch) * branch
            return gradient, *differentiable_gradients(scaled, (factor, branch), gradient)
        of_branch, of_factor = torch.ops.fan_mm.scaled_residual_gradients(
            gradient.contiguous(), factor, branch
        )
        return gradient, of_factor.to(factor.dtype), of_branch


@torch.library.impl(LIBRARY, 'scaled_residual', 'CUDA')
def _scaled_residual(x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
    if not triton_compiles():
        return _plain(x, factor, branch)
    from fan_mm.models.kernels import scaled_residual_triton

    return scaled_residual_triton.scaled_residual(x, factor, branch)


@torch.library.impl(LIBRARY, 'scaled_residual_gradients', 'CUDA')
def _gradients(gradient: Tensor, factor: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
    if not triton_compiles():
        return _plain_gradients(gradient, factor, branch)
    from fan_mm.models.kernels import scaled_residual_triton

    return scaled_residual_triton.gradients(gradient, factor, branch)


@torch.library.impl(LIBRARY, 'scaled_residual', 'CompositeExplicitAutograd')
def _plain(x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
    return torch.addcmul(x, beside(factor, x).to(x.dtype), branch.to(x.dtype))


@torch.library.impl(LIBRARY, 'scaled_residual_gradients', 'CompositeExplicitAutograd')
def _plain_gradients(gradient: Tensor, factor: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
    gradient = gradient.float()
    summed = list(range(factor.dim() - 1, branch.dim() - 1))
    of_branch = (gradient * beside(factor, branch)).to(branch.dtype)
    return of_branch, (gradient * branch).sum(summed)


@torch.library.register_fake('fan_mm::scaled_residual', lib=LIBRARY)
def _shape(x: Tensor, factor: Tensor, branch: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.register_fake('fan_mm::scaled_residual_gradients', lib=LIBRARY)
def _gradient_shapes(gradient: Tensor, factor: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(branch), factor.new_empty(factor.shape, dtype=torch.float32)
