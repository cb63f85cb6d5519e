"""Layers that are born with the initial values of the FAN recipe (spec section 5).

Every building block initialises its own parameters when it is made, so a backbone used without
mmengine's ``init_weights`` is initialised too, and an ``init_cfg`` only ever overrides.
"""

import math

from torch import nn


def linear(in_features: int, out_features: int) -> nn.Linear:
    """Linear layer with truncated-normal weights of std 0.02 and a zero bias."""
    layer = nn.Linear(in_features, out_features)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


def fan_out_normal(conv: nn.Conv2d) -> nn.Conv2d:
    """Fill a convolution from a normal of std ``sqrt(2 / fan_out)``, its bias with zero.

    ``fan_out`` is ``kh * kw * out_channels / groups``: 9 for a depthwise 3x3 convolution.
    """
    height, width = conv.kernel_size
    fan_out = height * width * conv.out_channels // conv.groups
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 / fan_out))
    nn.init.zeros_(conv.bias)
    return conv


def convnext_init(conv: nn.Conv2d) -> nn.Conv2d:
    """Fill a convolution of the ConvNeXt stem: truncated normal of std 0.02, zero bias."""
    nn.init.trunc_normal_(conv.weight, std=0.02)
    nn.init.zeros_(conv.bias)
    return conv
