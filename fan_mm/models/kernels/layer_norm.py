r"""LayerNorm that reads and writes each value once, whatever types its input and output have.

Under autocast, PyTorch's LayerNorm runs in float32: the output of a convolution is cast before it, and the input
of a matrix product after it, which moves 14 to 20 bytes per value where 4 to 8 suffice. Weight and bias may
differ between samples, which is used to apply a gate.

With :math:`\hat{x}` of mean 0 and variance 1, :math:`\hat{x} = (x - \mu) r`, :math:`y = w \hat{x} + b`, and
:math:`g = w \dot{y}`,

.. math:: \dot{x} = r \big(g - \mathrm{mean}(g) - \hat{x} \, \mathrm{mean}(g \hat{x})\big), \qquad
          \dot{w} = \sum \dot{y} \hat{x}, \qquad \dot{b} = \sum \dot{y}.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fan_mm.models.kernels.library import (
    LIBRARY,
    beside,
    differentiable_gradients,
    implement,
    needs_gradient,
)

LIBRARY.define(
    'layer_norm(Tensor x, Tensor weight, Tensor bias, float eps, ScalarType dtype) -> Tensor'
)
LIBRARY.define(
    'layer_norm_gradients(Tensor gradient, Tensor x, Tensor weight, float eps) '
    '-> (Tensor, Tensor, Tensor)'
)


def layer_norm_on_gpu(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
) -> Tensor:
    """LayerNorm over the last axis, in float32 between its input and its output.

    Args:
        x: (B, ..., C).
        weight: (C,), or (B, C) for one per sample.
        bias: (C,), or (B, C) for one per sample.
        eps: added to the variance, whose divisor is C.
        dtype: of the output.

    Returns:
        (B, ..., C).
    """
    if needs_gradient(x, weight, bias):
        return _LayerNorm.apply(x, weight, bias, eps, dtype)
    return torch.ops.fan_mm.layer_norm(x, weight, bias, eps, dtype)


class _LayerNorm(torch.autograd.Function):
    """The operators, one the gradient of the other."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.eps, ctx.dtype = eps, dtype
        return torch.ops.fan_mm.layer_norm(x, weight, bias, eps, dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        x, weight, bias = inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Only the formula supports double backward.
            out = _plain(x, weight, bias, ctx.eps, ctx.dtype)
            return *differentiable_gradients(out, inputs, gradient), None, None
        of_x, of_weight, of_bias = torch.ops.fan_mm.layer_norm_gradients(
            gradient, x, weight, ctx.eps
        )
        return of_x, of_weight.to(weight.dtype), of_bias.to(bias.dtype), None, None


def _plain(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    standard = F.layer_norm(x.float(), x.shape[-1:], eps=eps)
    return (standard * beside(weight, x) + beside(bias, x)).to(dtype)


def _plain_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    standard, _, factor = torch.native_layer_norm(x.float(), x.shape[-1:], None, None, eps)
    gradient = gradient.float()
    summed = list(range(weight.dim() - 1, x.dim() - 1))
    of_weight, of_bias = (t.sum(summed) for t in (gradient * standard, gradient))
    g = gradient * beside(weight, x)
    along = standard * (g * standard).mean(-1, keepdim=True)
    of_x = factor * (g - g.mean(-1, keepdim=True) - along)
    return of_x.to(x.dtype), of_weight, of_bias


def _shape(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    return x.new_empty(x.shape, dtype=dtype)


def _gradient_shapes(
    gradient: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    new = weight.new_empty
    of_weight, of_bias = (new(weight.shape, dtype=torch.float32) for _ in range(2))
    return x.new_empty(x.shape), of_weight, of_bias


implement('layer_norm', _plain, _shape, 'layer_norm_triton:layer_norm')
implement('layer_norm_gradients', _plain_gradients, _gradient_shapes, 'layer_norm_triton:gradients')
