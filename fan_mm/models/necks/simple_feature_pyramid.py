"""The simple feature pyramid of ViTDet: every level from one map (Li et al. 2022, section 3)."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn.bricks import build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from fan_mm.errors import InputError

# Strides of the levels computed from the map of stride 16; further levels are subsampled from the last.
STRIDES = (4, 8, 16, 32)


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of maps (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every pixel."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Pyramid levels with strides 4, 8, 16, 32 and more from the last map of a single-stride backbone.

    [Exploring Plain Vision Transformer Backbones for Object Detection](https://arxiv.org/abs/2203.16527),
    section 3 and appendix A.2: two transposed convolutions with LayerNorm and GELU in between for stride 4,
    one transposed convolution for 8, identity for 16, max pooling for 32; then on every level a 1x1 and a
    3x3 convolution, each with LayerNorm. No top-down path.

    For `FANViT` in mmdet; for UPerNet-like heads, mmseg has its own `Feature2Pyramid`.

    Args:
        in_channels: channels of the backbone's last map, of stride 16; or of all its maps, of which
            only the last is used.
        out_channels: channels of every level.
        num_outs: number of levels, at least 4; additional ones subsample every second pixel.
        norm_cfg: mmcv norm config, for a norm other than LayerNorm.
        init_cfg: mmengine's init_cfg.

    Examples:
        >>> neck = SimpleFeaturePyramid(384, 256, num_outs=5)
        >>> [tuple(x.shape[2:]) for x in neck([torch.rand(1, 384, 8, 12)])]
        [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        out_channels: int,
        num_outs: int = 5,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        dim = in_channels if isinstance(in_channels, int) else in_channels[-1]

        def norm(channels: int) -> nn.Module:
            return build_norm_layer(norm_cfg, channels)[1] if norm_cfg else LayerNorm2d(channels)

        def level(width: int, *scaling: nn.Module) -> nn.Sequential:
            return nn.Sequential(
                *scaling,
                nn.Conv2d(width, out_channels, 1, bias=False),
                norm(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                norm(out_channels),
            )

        self.levels = nn.ModuleList(
            [
                level(
                    dim // 4,
                    nn.ConvTranspose2d(dim, dim // 2, 2, stride=2),
                    norm(dim // 2),
                    nn.GELU(),
                    nn.ConvTranspose2d(dim // 2, dim // 4, 2, stride=2),
                ),
                level(dim // 2, nn.ConvTranspose2d(dim, dim // 2, 2, stride=2)),
                level(dim),
                level(dim, nn.MaxPool2d(2, ceil_mode=True)),
            ]
        )
        self.extra = num_outs - len(STRIDES)
        if self.extra < 0:
            raise InputError(f'num_outs is {num_outs}, but must be at least {len(STRIDES)}')

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """From a backbone's maps, the last (B, C, H, W), the levels, the finest first."""
        outputs = [level(inputs[-1]) for level in self.levels]
        for _ in range(self.extra):
            outputs.append(F.max_pool2d(outputs[-1], 1, stride=2))
        # mmcv's operators (RoIAlign) silently misread a channels-last map
        return tuple(x.contiguous() for x in outputs)
