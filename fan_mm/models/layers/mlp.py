"""The MLPs of FAN: a plain one, and the one with depthwise convolutions (spec 3.4 and 3.5)."""

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from fan_mm.models.layers.linear import FanOutConv2d, Linear


class Mlp(nn.Module):
    """Linear, GELU, Linear (class attention, and the last stage of FAN-Swin).

    Args:
        dim: input and output channels C.
        hidden_dim: channels in between.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return self.fc2(F.gelu(self.fc1(x)))


class DWConv(nn.Module):
    """Depthwise 3x3 convolution, GELU, batch norm, depthwise 3x3 convolution, on tokens.

    Tokens (B, N, C) are a channels-last map already: the convolutions run on a view of them.

    Args:
        dim: channels C.
        norm_cfg: mmcv config of the batch norm.
    """

    def __init__(self, dim: int, norm_cfg: dict) -> None:
        super().__init__()
        self.conv1 = FanOutConv2d(dim, dim, 3, padding=1, groups=dim)
        self.bn = build_norm_layer(norm_cfg, dim)[1]
        self.conv2 = FanOutConv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W), N = H * W, to (B, N, C)."""
        x = tokens.unflatten(1, grid).permute(0, 3, 1, 2)
        x = self.conv2(self.bn(F.gelu(self.conv1(x))))
        return x.permute(0, 2, 3, 1).flatten(1, 2)


class ConvMlp(nn.Module):
    """The value branch of channel attention: ``fc2(a + gamma * DWConv(a))`` with ``a = fc1(x)``.

    There is no activation between the two Linears other than the one inside `DWConv`.

    Args:
        dim: input and output channels C.
        hidden_dim: channels in between.
        norm_cfg: mmcv config of the batch norm inside `DWConv`.
        identity: False drops the ``a +`` (the classification FAN-Swin, spec section 6).
    """

    def __init__(self, dim: int, hidden_dim: int, norm_cfg: dict, identity: bool = True) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(hidden_dim))
        self.fc1 = Linear(dim, hidden_dim)
        self.dwconv = DWConv(hidden_dim, norm_cfg)
        self.fc2 = Linear(hidden_dim, dim)
        self.identity = identity

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C)."""
        a = self.fc1(tokens)
        b = self.dwconv(a, grid)
        b = torch.addcmul(a, self.gamma, b) if self.identity else self.gamma * b
        return self.fc2(b)
