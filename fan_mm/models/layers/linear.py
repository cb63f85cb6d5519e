"""Linear layers as FAN initialises them (spec section 5), and the fast way through them."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fan_mm.models.layers.cpu_inference import eager_on_cpu


def prefers_onednn(x: Tensor) -> bool:
    """Whether products with ``x`` shall go through oneDNN: on a CPU, eager, with several threads.

    With a single thread, PyTorch does not use oneDNN for 1x1 convolutions.
    """
    return eager_on_cpu(x) and torch.get_num_threads() > 1


@cache
def mkl_is_half_as_wide() -> bool:
    """Whether MKL uses only half of the processor's vector units: on AMD's Zen 5 and later.

    MKL uses AVX-512 on Intel's processors only. Zen 4 executes it in halves, so that MKL loses nothing there. Zen 5
    does not, and differs from Zen 4 by AVX-VNNI.
    """
    # Older versions of torch do not tell.
    processor: dict = getattr(torch.cpu, 'get_capabilities', dict)()
    name, flags = processor.get('cpu_name', ''), ('avx512_f', 'avx_vnni')
    return name.startswith('AMD') and all(processor.get(flag) for flag in flags)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias`` on the last axis, by the faster library of the device.

    On a CPU, PyTorch computes matrix products with MKL, which does not use AVX-512 on non-Intel
    processors and adds the bias in a separate pass. As a 1x1 convolution the same product is
    computed by oneDNN, which has neither drawback (1.1 times faster on an AMD EPYC of the Zen 4
    generation, up to 2.3 times on a newer one). Exported and compiled graphs keep the plain product.

    Args:
        x: (..., C), contiguous.
        weight: (C', C).
        bias: (C',) or None.

    Returns:
        (..., C').
    """
    if not prefers_onednn(x) or not x.numel():
        return F.linear(x, weight, bias)
    rows = x.flatten(0, -2)[None, :, None].permute(0, 3, 1, 2)
    product = F.conv2d(rows, weight[:, :, None, None], bias)
    return product.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


def cast_once(x: Tensor) -> Tensor:
    """``x`` cast once, where autocast would cast it for every product."""
    device = x.device.type
    if device in ('cpu', 'cuda') and torch.is_autocast_enabled(device):
        return x.to(torch.get_autocast_dtype(device))
    return x


class Linear(nn.Linear):
    """Linear layer initialised with truncated-normal weights of std 0.02 and a zero bias."""

    def reset_parameters(self) -> None:
        """Set the initial values."""
        nn.init.trunc_normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C')."""
        return pointwise(x, self.weight, self.bias)
