"""Convolutions as FAN initialises them (spec section 5), and the depthwise ones it is built of."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution that keeps height and width.

    Args:
        x: (B, C, H, W).
        weight: (C, 1, k, k) with an odd k.
        bias: (C,).
    """
    # For a channels-last input the weight's gradient has strides of its own where the size is 1;
    # the detour over two dimensions brings back the weight's, else DDP warns of slow gradients.
    weight = weight.flatten(1).view(weight.shape)
    if x.is_cuda and x.dtype != torch.float16:
        # cuDNN's channels-last kernels are made for float16; PyTorch's own, for the other types, are
        # for contiguous maps. The copy is cheap beside the wrong kernel.
        x = x.contiguous()
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])


class StemConv2d(nn.Conv2d):
    """Convolution of the ConvNeXt stem: truncated-normal weights of std 0.02, zero bias."""

    def reset_parameters(self) -> None:
        """Set the initial values."""
        nn.init.trunc_normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)


class FanOutConv2d(nn.Conv2d):
    """Convolution with normal weights of std ``sqrt(2 / fan_out)``, zero bias.

    ``fan_out`` is ``kh * kw * out_channels / groups``: 9 for a depthwise 3x3 convolution.
    """

    def reset_parameters(self) -> None:
        """Set the initial values."""
        fan_out = math.prod(self.kernel_size) * self.out_channels // self.groups
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / fan_out))
        nn.init.zeros_(self.bias)
