"""FAN-Hybrid: two ConvNeXt stages, FAN blocks, class attention (spec 1.1 and 2.2)."""

from typing import Any

from mmengine.registry import MODELS
from torch import nn

from fan_mm.errors import InputError
from fan_mm.models.backbones.columnar import ColumnarBackbone
from fan_mm.models.layers import HybridPatchEmbed


@MODELS.register_module()
class FANHybrid(ColumnarBackbone):
    """FAN-Hybrid: convolutional stages at strides 4 and 8 before the FAN blocks.

    [Understanding The Robustness in Vision Transformers](https://arxiv.org/abs/2204.12451).

    Outputs 0 and 1 are the convolutional stages (strides 4 and 8), 2 the patch tokens after the
    tapped block (stride 16), and 3 the patch tokens after class attention (stride 16; 32 for
    'xlarge', which halves its grid after the tapped block).

    Instead of a name, ``arch`` may be a dict with ``embed_dims``, ``depth``, ``num_heads`` and
    ``stem_depths`` (ConvNeXt blocks per stage), and optionally ``stem_channels``, ``tap`` (the
    block that output 2 is taken from, by default the last) and ``widen=dict(after, embed_dims,
    num_heads)``.

    Args:
        arch: see above.
        unbiased_stem_norm: divide the variance in the stem's norms, except the first, by C-1, as
            in the released models (spec 2.2).
        **kwargs: the other arguments of `ColumnarBackbone`.

    Examples:
        >>> backbone = FANHybrid('small', out_indices=(0, 1, 2, 3))
        >>> [tuple(x.shape) for x in backbone(torch.rand(1, 3, 64, 96))]
        [(1, 128, 16, 24), (1, 256, 8, 12), (1, 384, 4, 6), (1, 384, 4, 6)]
    """

    family = 'FANHybrid'
    arch_zoo = {
        'tiny': dict(embed_dims=192, depth=8, num_heads=8, stem_depths=(3, 3)),
        'small': dict(embed_dims=384, depth=10, num_heads=8, stem_depths=(3, 3)),
        'base': dict(embed_dims=448, depth=16, num_heads=8, stem_depths=(3, 3)),
        'large': dict(embed_dims=480, depth=22, num_heads=10, stem_depths=(3, 5), tap=18),
        'xlarge': dict(
            embed_dims=528,
            depth=23,
            num_heads=11,
            stem_depths=(3, 7),
            tap=19,
            widen=dict(after=19, embed_dims=768, num_heads=16),
        ),
    }
    arch_keys = ('embed_dims', 'depth', 'num_heads', 'stem_depths')
    arch_defaults = dict(stem_channels=(128, 256), tap=None, widen=None)

    def __init__(
        self, arch: str | dict = 'tiny', unbiased_stem_norm: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(arch, unbiased_norm=unbiased_stem_norm, **kwargs)

    @property
    def stem_depth(self) -> int:
        """Layer depth of the first block: the stem's stages count as layers."""
        return 1 + self.stem_outputs

    def _resolve_arch(self, arch: str | dict) -> dict:
        arch = super()._resolve_arch(arch)
        if len(arch['stem_depths']) != len(arch['stem_channels']):
            raise InputError('arch of FANHybrid: stem_depths and stem_channels differ in length')
        depth, widen = arch['depth'], arch['widen']
        if arch['tap'] is None:
            arch['tap'] = depth - 1
        if not 0 <= arch['tap'] < depth or (widen and not 0 <= widen['after'] < depth - 1):
            raise InputError(
                f'arch of FANHybrid: tap and widen.after must be within its {depth} blocks'
            )
        return arch

    def _outputs(self) -> tuple[int, dict[int, int]]:
        stages = len(self.arch['stem_depths'])
        return stages, {self.arch['tap']: stages}

    def _widths(self) -> list[tuple[int, int, int | None]]:
        widths = super()._widths()
        widen = self.arch['widen']
        if widen:
            after, dim, heads = widen['after'], widen['embed_dims'], widen['num_heads']
            widths[after] = (*widths[after][:2], dim)
            widths[after + 1 :] = [(dim, heads, None)] * (len(widths) - after - 1)
        return widths

    def _make_stem(self, tokens: bool, norm_cfg: dict, unbiased_norm: bool) -> nn.Module:
        arch = self.arch
        stages = len(arch['stem_depths']) if tokens else self.out_indices[-1] + 1
        return HybridPatchEmbed(
            arch['embed_dims'] if tokens else None,
            arch['stem_channels'][:stages],
            arch['stem_depths'][:stages],
            unbiased_norm,
            self.with_cp,
        )

    def _stem_layer(self, name: str) -> int:
        if name.startswith('patch_embed.backbone.stem'):
            return 0
        if name.startswith('patch_embed.backbone.stages.'):
            return 1 + int(name.split('.')[3])
        return self.stem_depth
