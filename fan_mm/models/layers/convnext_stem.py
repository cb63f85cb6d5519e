"""The convolutional stem of FAN-Hybrid: two ConvNeXt stages and a patch convolution (spec 2.2).

Tensors between the convolutions have the shape (B, H, W, C); the convolutions run on channels-last
views of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fan_mm.models.layers.activation_checkpoint import checkpoint
from fan_mm.models.layers.convolution import StemConv2d, depthwise
from fan_mm.models.layers.cpu_inference import PART_SIZE, eager_on_cpu, gelu, writes_in_place
from fan_mm.models.layers.layer_norm import ChannelLayerNorm
from fan_mm.models.layers.linear import pointwise
from fan_mm.models.layers.residual import scaled_residual
from fan_mm.models.layers.token_map import channels_last


def _conv(conv: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution to a channel-last (B, H, W, C) tensor."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class PointwiseConv(StemConv2d):
    """A 1x1 convolution (with a 4-D weight) applied to channels-last tensors as a matrix product."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C')."""
        return pointwise(x, self.weight.flatten(1), self.bias)


class PointwiseMlp(nn.Module):
    """1x1 convolution, GELU, 1x1 convolution.

    Args:
        channels: input and output channels C; 4C in between.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = PointwiseConv(channels, 4 * channels)
        self.fc2 = PointwiseConv(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return self.fc2(gelu(self.fc1(x)))


class ConvNeXtBlock(nn.Module):
    """``x + gamma * mlp(norm(conv_dw(x)))`` with a 7x7 depthwise convolution.

    After the convolution all positions are independent, so a CPU processes a few rows at a time.

    Args:
        channels: C.
        unbiased_norm: divide the norm's variance by C-1 (`ChannelLayerNorm`).
    """

    def __init__(self, channels: int, unbiased_norm: bool = True) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))
        self.conv_dw = StemConv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = ChannelLayerNorm(channels, unbiased=unbiased_norm, before_product=True)
        self.mlp = PointwiseMlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        y = depthwise(x.permute(0, 3, 1, 2), self.conv_dw.weight, self.conv_dw.bias)
        y = y.permute(0, 2, 3, 1)
        if not eager_on_cpu(x):
            return scaled_residual(x, self.gamma, self.mlp(self.norm(y)))
        size = max(1, PART_SIZE // (4 * len(self.gamma)))
        x_parts, y_parts = (t.flatten(0, -2).split(size) for t in (x, y))
        if not writes_in_place(x):
            scaled = (
                torch.addcmul(x_part, self.gamma, self.mlp(self.norm(y_part)))
                for x_part, y_part in zip(x_parts, y_parts, strict=True)
            )
            return torch.cat(list(scaled)).view(x.shape)
        out = torch.empty(x.shape, dtype=torch.promote_types(x.dtype, self.gamma.dtype))
        out_parts = out.flatten(0, -2).split(size)
        for x_part, y_part, out_part in zip(x_parts, y_parts, out_parts, strict=True):
            torch.addcmul(x_part, self.gamma, self.mlp(self.norm(y_part)), out=out_part)
        return out


class ConvNeXtStage(nn.Module):
    """An optional downsampling, then blocks.

    Args:
        in_channels: channels of the input.
        channels: channels C of the stage.
        depth: number of blocks.
        downsample: halve the resolution first (norm, then 2x2 convolution of stride 2).
        unbiased_norm: divide the norms' variance by C-1.
        with_cp: recompute the blocks in the backward pass instead of keeping their activations.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        depth: int,
        downsample: bool,
        unbiased_norm: bool = True,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.downsample = None
        if downsample:
            self.downsample = nn.ModuleList(
                [
                    ChannelLayerNorm(in_channels, unbiased=unbiased_norm, before_product=True),
                    StemConv2d(in_channels, channels, 2, stride=2),
                ]
            )
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, unbiased_norm) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C') to (B, H, W, C), or to half the height and width."""
        if self.downsample is not None:
            norm, conv = self.downsample
            x = _conv(conv, norm(x))
        for block in self.blocks:
            x = checkpoint(block, x) if self.with_cp else block(x)
        return x


class ConvNeXtStem(nn.Module):
    """The first stages of a ConvNeXt, at strides 4, 8, ...

    Args:
        channels: channels of each stage.
        depths: blocks of each stage.
        unbiased_norm: divide the variance of every norm but the first by C-1, as in the training of
            the released models; False divides by C everywhere.
        with_cp: recompute blocks in the backward pass.
    """

    def __init__(
        self,
        channels: Sequence[int],
        depths: Sequence[int],
        unbiased_norm: bool = True,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.ModuleList(
            [
                StemConv2d(3, channels[0], 4, stride=4),
                ChannelLayerNorm(channels[0]),
            ]
        )
        self.stages = nn.ModuleList(
            ConvNeXtStage(
                channels[max(i - 1, 0)], channels[i], depth, i > 0, unbiased_norm, with_cp
            )
            for i, depth in enumerate(depths)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to one (B, H', W', C) tensor per stage."""
        conv, norm = self.stem
        x = norm(conv(channels_last(images)).permute(0, 2, 3, 1))
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class HybridPatchEmbed(nn.Module):
    """`ConvNeXtStem`, then a 2x2 patch convolution of stride 2 to the width of the tokens.

    Args:
        dim: channels C of the tokens; None creates only the stages.
        channels: channels of the ConvNeXt stages.
        depths: blocks of the ConvNeXt stages.
        unbiased_norm: see `ConvNeXtStem`.
        with_cp: recompute blocks in the backward pass.
    """

    def __init__(
        self,
        dim: int | None,
        channels: Sequence[int],
        depths: Sequence[int],
        unbiased_norm: bool = True,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = ConvNeXtStem(channels, depths, unbiased_norm, with_cp)
        self.proj = None if dim is None else nn.Conv2d(channels[-1], dim, 2, stride=2)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Map images (B, 3, H, W) to the stages' maps and the tokens' map, all (B, H', W', C)."""
        stages = self.backbone(images)
        return stages, None if self.proj is None else _conv(self.proj, stages[-1])
