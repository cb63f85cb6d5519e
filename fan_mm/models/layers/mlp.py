"""The MLPs of FAN: a plain one, and the one with depthwise convolutions (spec 3.4 and 3.5)."""

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fan_mm.models.layers.convolution import FanOutConv2d, depthwise
from fan_mm.models.layers.cpu_inference import PART_SIZE, gelu, writes_in_place
from fan_mm.models.layers.linear import Linear, cast_once, pointwise
from fan_mm.models.layers.token_map import as_map, as_tokens


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

    Tokens (B, N, C) are already a channels-last map in memory, so the convolutions run on a view.

    Args:
        dim: channels C.
        norm_cfg: mmcv config of the batch norm.
    """

    def __init__(self, dim: int, norm_cfg: dict) -> None:
        super().__init__()
        self.conv1 = FanOutConv2d(dim, dim, 3, padding=1, groups=dim)
        self.bn = build_norm_layer(norm_cfg, dim)[1]
        self.conv2 = FanOutConv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, tokens: Tensor, grid: tuple[int, int], gamma: Tensor | None = None) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W), N = H * W, to (B, N, C).

        Args:
            tokens: (B, N, C).
            grid: rows and columns of the tokens.
            gamma: a factor (C,) for the output. It is folded into conv2, whose weights are far
                fewer than the tokens.
        """
        x = depthwise(as_map(tokens, grid), self.conv1.weight, self.conv1.bias)
        x = self.bn(F.gelu(x))
        weight: Tensor = self.conv2.weight
        bias: Tensor = self.conv2.bias
        if gamma is not None:
            weight, bias = weight * gamma[:, None, None, None], bias * gamma
        return as_tokens(depthwise(x, weight, bias))


class ConvMlp(nn.Module):
    """The value branch of channel attention: ``fc2(a + gamma * DWConv(a))`` with ``a = fc1(x)``.

    The only activation between the two linear layers is the one inside `DWConv`.

    Args:
        dim: input and output channels C.
        hidden_dim: channels in between.
        norm_cfg: mmcv config of the batch norm inside `DWConv`.
        identity: False omits the ``a +`` (the classification FAN-Swin, spec section 6).
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
        if writes_in_place(tokens) and self._is_separable():
            return self._in_parts(tokens, grid)
        a = self.fc1(tokens)
        b = self.dwconv(a, grid, self.gamma)
        return self.fc2(a + b if self.identity else b)

    def _is_separable(self) -> bool:
        """Whether the weights alone give the output: no adapter (LoRA), hook or other norm is inside."""
        kinds = Linear, DWConv, Linear, FanOutConv2d, FanOutConv2d
        layers = self.fc1, self.dwconv, self.fc2, self.dwconv.conv1, self.dwconv.conv2
        norm = self.dwconv.bn
        watched = any(x._forward_hooks or x._forward_pre_hooks for x in (*layers, norm))
        return tuple(map(type, layers)) == kinds and _is_affine_map(norm) and not watched

    def _in_parts(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """The same in inference, some hidden channels at a time: they never mix before fc2."""
        conv1, bn, conv2 = self.dwconv.conv1, self.dwconv.bn, self.dwconv.conv2
        tokens = cast_once(tokens)
        scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
        shift = bn.bias - bn.running_mean * scale
        # Cast to the tokens' type: a sum of mixed types is slow.
        scale, shift, gamma, out = (
            x.to(tokens.dtype) for x in (scale, shift, self.gamma, self.fc2.bias)
        )
        channels = max(64, PART_SIZE // max(1, tokens.shape[:2].numel()) // 64 * 64)
        for start in range(0, len(gamma), channels):
            c = slice(start, start + channels)
            a = pointwise(tokens, self.fc1.weight[c], self.fc1.bias[c])
            b = gelu(as_tokens(depthwise(as_map(a, grid), conv1.weight[c], conv1.bias[c])))
            torch.addcmul(shift[c], scale[c], b, out=b)
            b = as_tokens(depthwise(as_map(b, grid), conv2.weight[c], conv2.bias[c]))
            b = a.addcmul_(gamma[c], b) if self.identity else b.mul_(gamma[c])
            out = pointwise(b, self.fc2.weight[:, c], None).add_(out)
        return out


def _is_affine_map(norm: nn.Module) -> bool:
    known = isinstance(norm, _BatchNorm) and norm.affine and norm.track_running_stats
    return known and not norm.training
