"""Which network a state dict belongs to, by names and shapes: which FAN, or which other network."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mmengine.registry import MODELS
from torch import Tensor


def size_of(arch: Mapping) -> tuple[int, tuple[int, ...]]:
    """`Anatomy.width` and `Anatomy.depths` of a backbone's resolved ``arch``."""
    depths = arch.get('depths') or (*arch.get('stem_depths', ()), arch['depth'])
    return arch['embed_dims'], tuple(depths)


@dataclass(frozen=True)
class Anatomy:
    """What the parameter names and shapes of a FAN backbone reveal about its architecture.

    Attributes:
        family: 'FANViT', 'FANHybrid', 'FANSwin' or 'FANConvNeXt'.
        width: channels of the first block.
        depths: number of blocks; one number per stage for FANSwin and FANConvNeXt, and preceded by
            those of the two convolutional stages for FANHybrid.
        channel_attention: 'eca', 'se' or 'csa'.
        channel_heads: of the first block; None if the weights do not determine it.
        token_pooling: number of scales of the token-aware average pooling; None without it.
    """

    family: str
    width: int
    depths: tuple[int, ...]
    channel_attention: str = 'eca'
    channel_heads: int | None = None
    token_pooling: int | None = None

    @property
    def arch(self) -> str | None:
        """The name that its size has in the family, as a user writes it for ``arch``."""
        zoo = MODELS.get(self.family).arch_zoo
        size = self.width, self.depths
        return next((name for name, arch in zoo.items() if size_of(arch) == size), None)

    def __str__(self) -> str:
        arch = self.arch or 'of an unreleased size'
        depths = '+'.join(map(str, self.depths))
        heads = f', {self.channel_heads} channel heads' if self.channel_heads else ''
        pooling = f', token pooling of {self.token_pooling} scales' if self.token_pooling else ''
        return (
            f'{self.family} {arch} (width {self.width}, {depths} blocks, '
            f'{self.channel_attention}{heads}{pooling})'
        )

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> 'Anatomy | None':
        """Recognise a whole backbone under our names; None if it is no FAN, or part of one."""

        def count(pattern: str) -> int:
            return sum(re.fullmatch(pattern, key) is not None for key in state)

        def counts(stages: str) -> tuple[int, ...]:
            numbers = (count(stages.format(i)) for i in itertools.count())
            return tuple(itertools.takewhile(bool, numbers))

        block = 'blocks.0'
        if 'patch_embed.backbone.stem.0.weight' in state:
            family = 'FANHybrid'
            stages = counts(r'patch_embed\.backbone\.stages\.{}\.blocks\.\d+\.gamma')
            depths = *stages, count(r'blocks\.\d+\.gamma1')
        elif 'patch_embed.proj.0.0.weight' in state:
            family, depths = 'FANViT', (count(r'blocks\.\d+\.gamma1'),)
        elif 'layers.0.blocks.0.channel_attention.q.weight' in state:
            block = 'layers.0.blocks.0'
            swin = f'{block}.norm1.weight' in state
            family, norm = ('FANSwin', 'norm1') if swin else ('FANConvNeXt', 'norm')
            depths = counts(rf'layers\.{{}}\.blocks\.\d+\.{norm}\.weight')
        else:
            return None
        mixing = 'conv_dw' if family == 'FANConvNeXt' else 'token_mixing.proj'
        if f'{block}.{mixing}.weight' not in state:
            return None
        attention = f'{block}.channel_attention'
        temperature = state.get(f'{attention}.temperature')
        scales = state.get(f'{block}.token_pooling.predictor.1.weight')
        return cls(
            family=family,
            width=len(state[f'{block}.{mixing}.weight']),
            depths=depths,
            channel_attention='se'
            if f'{attention}.se.conv_reduce.weight' in state
            else 'csa'
            if f'{attention}.k.weight' in state
            else 'eca',
            channel_heads=None if temperature is None else len(temperature),
            token_pooling=None if scales is None else len(scales),
        )


# A parameter name that identifies each other family, as its common checkpoints spell it.
_OTHERS = (
    (r'layer1\.0\.conv1\.weight', 'a ResNet'),
    (r'(blocks\.0\.local_mp|xca_layers\.0)\.', 'an XCiT'),
    (r'layers\.0\.blocks\.0\.attn\.relative_position_bias_table', 'a Swin Transformer'),
    (r'stages\.0\.blocks\.0\.attn\.w_msa\.', 'a Swin Transformer'),
    (r'features\.1\.0\.attn\.relative_position_index', 'a Swin Transformer'),
    (r'(blocks|layers)\.0\.attn\.qkv\.weight', 'a plain ViT'),
    (r'encoder\.layers\.encoder_layer_0\.self_attention\.', 'a plain ViT'),
    (r'(downsample_layers\.0\.0|stages\.0\.(blocks\.)?0\.(conv_dw|dwconv))\.', 'a ConvNeXt'),
    (r'features\.1\.0\.layer_scale', 'a ConvNeXt'),
    (r'network\.0\.0\.(layer_scale_1|norm1\.)', 'a PoolFormer'),
    (r'(patch_embed1\.proj|block1\.0\.attn\.q|layers\.0\.1\.0\.attn)\.', 'a MiT (SegFormer)'),
)


def describe(state: Mapping[str, Tensor]) -> str:
    """What a foreign state dict looks like, for an error's line."""
    other = other_network(state)
    if other is not None:
        return f'looks like {other}'
    return f'has {len(state)} tensors named {", ".join(list(state)[:3])}, ...'


def other_network(state: Mapping[str, Tensor]) -> str | None:
    """The family of a network that is no FAN, as a name with its article; None if it is not known."""
    for pattern, name in _OTHERS:
        if any(re.match(pattern, key) for key in state):
            return name
    return None
