"""FAN-ViT: a stack of strided convolutions, FAN blocks, class attention (spec 1.1 and 2.1)."""

from mmengine.registry import MODELS
from torch import nn

from fan_mm.models.backbones.columnar import ColumnarBackbone
from fan_mm.models.layers import ConvPatchEmbed


@MODELS.register_module()
class FANViT(ColumnarBackbone):
    """FAN-ViT: stride 16 throughout.

    [Understanding The Robustness in Vision Transformers](https://arxiv.org/abs/2204.12451).

    Outputs 0 to ``depth - 1`` are the patch tokens after each block, output ``depth`` the patch
    tokens after class attention. For the arguments see `ColumnarBackbone`.

    Examples:
        >>> backbone = FANViT('small', out_indices=(4, 7, 11, 12))
        >>> [tuple(x.shape) for x in backbone(torch.rand(1, 3, 64, 96))]
        [(1, 384, 4, 6), (1, 384, 4, 6), (1, 384, 4, 6), (1, 384, 4, 6)]
    """

    family = 'FANViT'
    arch_zoo = {
        'tiny': dict(embed_dims=192, depth=12, num_heads=4),
        'small': dict(embed_dims=384, depth=12, num_heads=8),
        'base': dict(embed_dims=448, depth=18, num_heads=8),
        'large': dict(embed_dims=480, depth=24, num_heads=10),
    }

    def _make_stem(self, tokens: bool, norm_cfg: dict) -> nn.Module:
        return ConvPatchEmbed(self.arch['embed_dims'], norm_cfg)

    def _outputs(self) -> tuple[int, dict[int, int]]:
        return 0, {i: i for i in range(self.arch['depth'])}
