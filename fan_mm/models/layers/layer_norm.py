"""Layer normalisation over channels with a chosen variance divisor (spec section 2.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fan_mm.models.kernels import beside, fuses, layer_norm_on_gpu


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
        before_product: what follows takes the output in autocast's type, too: products, for which autocast
            casts it, a gate's softmax, a residual sum. So a kernel of ours may write that type at once,
            where PyTorch leaves float32.
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

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Normalise ``x``.

        Args:
            x: (B, ..., C).
            gate: a factor (B, C) of the output.

        Returns:
            (B, ..., C).
        """
        weight: Tensor = self.weight * self.ratio**0.5 if self.unbiased else self.weight
        bias: Tensor = self.bias
        eps = self.eps * self.ratio
        if fuses(x):
            dtype = self._type_under_autocast() if torch.is_autocast_enabled('cuda') else x.dtype
            if gate is not None:
                weight, bias = gate * weight, gate * bias
            return layer_norm_on_gpu(x, weight, bias, eps, dtype)
        out = F.layer_norm(x, self.normalized_shape, weight, bias, eps)
        return out if gate is None else out * beside(gate, out)

    def _type_under_autocast(self) -> torch.dtype:
        return torch.get_autocast_dtype('cuda') if self.before_product else torch.float32

    def extra_repr(self) -> str:
        """Show the size, epsilon and divisor."""
        return f'{super().extra_repr()}, unbiased={self.unbiased}'
