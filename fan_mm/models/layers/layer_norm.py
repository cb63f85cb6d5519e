"""Layer normalisation over channels with a chosen variance divisor (spec section 2.2)."""

import torch.nn.functional as F
from torch import Tensor, nn


class ChannelLayerNorm(nn.LayerNorm):
    r"""LayerNorm over the last axis whose variance is divided by C or by C-1.

    The released FAN-Hybrid models were trained with the sample variance (divisor C-1) in every
    norm of the convolutional stem but the first. With ``s = (C-1)/C``,

    .. math:: \frac{x-\mu}{\sqrt{\sigma^2_{C-1} + \epsilon}}
              = \sqrt{s}\,\frac{x-\mu}{\sqrt{\sigma^2_{C} + s\,\epsilon}},

    so the fused kernel computes it with a scaled weight and epsilon.

    Args:
        channels: C.
        eps: added to the variance.
        unbiased: True divides the variance by C-1, False by C.
    """

    def __init__(self, channels: int, eps: float = 1e-6, unbiased: bool = False) -> None:
        super().__init__(channels, eps)
        self.unbiased = unbiased
        self.ratio = (channels - 1) / channels if unbiased else 1.0  # s above

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` of shape (..., C)."""
        weight = self.weight * self.ratio**0.5 if self.unbiased else self.weight
        return F.layer_norm(x, self.normalized_shape, weight, self.bias, self.eps * self.ratio)

    def extra_repr(self) -> str:
        """Show the size, epsilon and divisor."""
        return f'{super().extra_repr()}, unbiased={self.unbiased}'
