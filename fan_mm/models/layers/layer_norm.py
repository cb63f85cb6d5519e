"""Layer normalisation over channels with a chosen variance divisor (spec section 2.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fan_mm.models.kernels import fuses, layer_norm_on_gpu


class ChannelLayerNorm(nn.LayerNorm):
    r"""LayerNorm over the last axis whose variance is divided by C or by C-1.

    The released FAN-Hybrid models were trained with the sample variance (divisor C-1) in every
    norm of the convolutional stem but the first. With ``s = (C-1)/C``,

    .. math:: \frac{x-\mu}{\sqrt{\sigma^2_{C-1} + \epsilon}}
              = \sqrt{s}\,\frac{x-\mu}{\sqrt{\sigma^2_{C} + s\,\epsilon}},

    so the fused kernel with a scaled weight and epsilon computes it.

    Args:
        channels: C.
        eps: added to the variance.
        unbiased: True divides the variance by C-1, False by C.
        before_product: every user of the output accepts autocast's type: matrix products, for which
            autocast would cast it, a gate's softmax, a residual sum. Our kernels then write that type
            directly, while PyTorch's LayerNorm returns float32.
    """

    def __init__(
        self,
        channels: int,
        eps: float = 1e-6,
        unbiased: bool = False,
        before_product: bool = False,
    ) -> None:
        super().__init__(channels, eps)
        self.unbiased = unbiased
        self.before_product = before_product
        self.ratio = (channels - 1) / channels if unbiased else 1.0  # s above

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` of shape (B, ..., C)."""
        if fuses(x):
            return self._by_kernel(x, self._weight(), self.bias)
        eps = self.eps * self.ratio
        return F.layer_norm(x, self.normalized_shape, self._weight(), self.bias, eps)

    def gated(self, x: Tensor, gate: Tensor) -> Tensor:
        """Normalise ``x`` (B, ..., C) and multiply it by a gate (B, C), in one pass: where `fuses` says so."""
        return self._by_kernel(x, gate * self._weight(), gate * self.bias)

    def _weight(self) -> Tensor:
        return self.weight * self.ratio**0.5 if self.unbiased else self.weight

    def _by_kernel(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        dtype = x.dtype
        if torch.is_autocast_enabled('cuda'):
            dtype = torch.get_autocast_dtype('cuda') if self.before_product else torch.float32
        return layer_norm_on_gpu(x, weight, bias, self.eps * self.ratio, dtype)

    def extra_repr(self) -> str:
        """Show the size, epsilon and divisor."""
        return f'{super().extra_repr()}, unbiased={self.unbiased}'
