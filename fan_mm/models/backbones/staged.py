"""What the hierarchical FANs share: stages of halving resolution, and mmpretrain's contract."""

import re
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fan_mm.errors import InputError
from fan_mm.models.backbones.freezable import FreezableBackbone
from fan_mm.models.backbones.options import (
    check_options,
    check_positive,
    resolve_arch,
    resolve_out_indices,
)
from fan_mm.models.checkpoints import Anatomy, size_of
from fan_mm.models.layers import (
    ChannelLayerNorm,
    EfficientChannelAttention,
    Mlp,
    as_tokens,
    checkpoint,
    contiguous_map,
)
from fan_mm.models.layers.token_map import channels_last, padding

PATCH_SIZE = 4  # pixels
MLP_RATIO = 4
OUT_TYPES = ('featmap', 'avg_featmap', 'raw')


class PatchEmbed(nn.Module):
    """Non-overlapping patches: 4x4 convolution with stride 4, then LayerNorm.

    Args:
        dim: channels C of the tokens.
        conv: class of the convolution, which determines its initial values.
        eps: of the LayerNorm.
    """

    def __init__(self, dim: int, conv: type[nn.Conv2d], eps: float) -> None:
        super().__init__()
        self.proj = conv(3, dim, PATCH_SIZE, stride=PATCH_SIZE)
        self.norm = ChannelLayerNorm(dim, eps)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Map images (B, 3, H, W), padded to whole patches, to tokens (B, N, C) and their grid."""
        down, right = padding(images.shape[-2:], PATCH_SIZE)
        x = self.proj(channels_last(F.pad(images, (0, right, 0, down))))
        return self.norm(as_tokens(x)), tuple(x.shape[2:])


class StagedBlock(nn.Module):
    """A block with channel attention or, in the last stage, an ordinary MLP in its place."""

    channel_attention: EfficientChannelAttention | None
    mlp: Mlp | None

    def _make_channel_mixing(
        self, dim: int, channel_heads: int | None, norm_cfg: dict, identity: bool = True
    ) -> None:
        self.channel_attention = self.mlp = None
        hidden = MLP_RATIO * dim
        if channel_heads:
            self.channel_attention = EfficientChannelAttention(
                dim, channel_heads, hidden, norm_cfg, identity
            )
        else:
            self.mlp = Mlp(dim, hidden)

    def _mix_channels(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.channel_attention is not None:
            return self.channel_attention(tokens, grid)
        assert self.mlp is not None
        return self.mlp(tokens)


class Stage(nn.Module):
    """Blocks of one width, followed by the downsampling to the next stage.

    Args:
        blocks: each maps tokens and their grid to tokens.
        downsample: None after the last stage.
        with_cp: recompute block activations in the backward pass.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], downsample: nn.Module | None, with_cp: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.with_cp = with_cp

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C), before the downsampling."""
        for block in self.blocks:
            tokens = checkpoint(block, tokens, grid) if self.with_cp else block(tokens, grid)
        return tokens


class StagedBackbone(FreezableBackbone):
    """Hierarchical backbone: each stage halves the grid and doubles the width, for images of any size.

    Outputs are the stages (strides 4, 8, 16, 32; channels C, 2C, 4C, 8C). Stages after the last
    output are not created.

    Args:
        arch: a name in `arch_zoo`, or a dict with ``embed_dims`` (C), and ``depths`` and
            ``num_heads`` per stage. All stages but the last have channel attention.
        out_type: 'featmap' for maps (B, C, H, W), each with its own LayerNorm ``norm{i}``;
            'avg_featmap' for the classification feature (B, 8C); 'raw' for the tokens (B, N, 8C)
            after the final ``norm``. There is no class token.
        out_indices: which stages to return; -1 is the last. 'avg_featmap' and 'raw' are only
            available for the last.
        channel_heads: heads of the channel attention in every stage; None uses the stage's
            ``num_heads``.
        norm_cfg: config of the batch norms; None means ``dict(type='BN')``.
        drop_path_rate: probability of skipping a branch; increases linearly from 0 at the first
            block to this value at the last.
        with_cp: recompute block activations in the backward pass instead of keeping them.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, n also the first n stages.
        norm_eval: keep batch norms in eval mode while training.
        init_cfg: mmengine's init_cfg; without it, parameters keep the initial values of the FAN recipe.
        **block: options of the subclass's blocks.

    Raises:
        InputError: an invalid argument.
    """

    family: str
    token_size = PATCH_SIZE
    arch_zoo: dict[str, dict] = {}
    norm_eps: float
    patch_conv: type[nn.Conv2d] = nn.Conv2d
    downsample_type: Callable[[int], nn.Module]  # tokens of this width to twice the width

    def __init__(
        self,
        arch: str | dict = 'tiny',
        out_type: str = 'featmap',
        out_indices: int | Sequence[int] = -1,
        channel_heads: int | None = None,
        norm_cfg: dict | None = None,
        drop_path_rate: float = 0.1,
        with_cp: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list[dict] | None = None,
        **block: object,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        if out_type not in OUT_TYPES:
            hint = f'{name} has no class token; ' if out_type == 'cls_token' else ''
            raise InputError(
                f'{hint}out_type of {name} must be one of {", ".join(OUT_TYPES)}, not {out_type!r}'
            )
        check_positive('channel_heads', channel_heads)
        self.arch = arch = self._resolve_arch(arch, channel_heads)
        self.out_type = out_type
        self.out_indices = self._resolve_out_indices(out_indices)
        self.channel_heads = channel_heads
        self.norm_eval = norm_eval
        norm_cfg = dict(type='BN') if norm_cfg is None else norm_cfg
        check_options(norm_cfg, drop_path_rate, frozen_stages)

        depths, last_stage = arch['depths'], self.out_indices[-1]
        widths = [arch['embed_dims'] * 2**i for i in range(len(depths))]
        rates = torch.linspace(0, drop_path_rate, sum(depths), device='cpu').tolist()
        self.patch_embed = PatchEmbed(widths[0], self.patch_conv, self.norm_eps)
        self.layers = cast('list[Stage]', nn.ModuleList())
        for i, (width, heads) in enumerate(zip(widths, arch['num_heads'], strict=True)):
            if i > last_stage:
                break
            mixes_channels = i < len(depths) - 1
            blocks = [
                self._make_block(
                    width,
                    heads,
                    j,
                    channel_heads=(channel_heads or heads) if mixes_channels else None,
                    norm_cfg=norm_cfg,
                    drop_path=rates[sum(depths[:i]) + j],
                    **block,
                )
                for j in range(depths[i])
            ]
            downsample = self.downsample_type(width) if i < last_stage else None
            self.layers.append(Stage(blocks, downsample, with_cp))
        if out_type == 'featmap':
            for i in self.out_indices:
                self.add_module(f'norm{i}', nn.LayerNorm(widths[i], eps=self.norm_eps))
        else:
            self.norm = nn.LayerNorm(widths[-1], eps=self.norm_eps)
        self.embed_dims = widths[-1]
        self.out_channels = tuple(widths[i] for i in self.out_indices)

        self._freeze(frozen_stages, len(self.layers))

    def _make_block(self, dim: int, num_heads: int, index: int, **options: object) -> nn.Module:
        """Make the index-th block of a stage: from tokens (B, N, dim) and their grid to tokens."""
        raise NotImplementedError

    def _average(self, tokens: Tensor) -> Tensor:
        """The classification feature (B, C) of the last stage's tokens (B, N, C)."""
        return self.norm(tokens).mean(1)

    @property
    def anatomy(self) -> Anatomy:
        """Description of checkpoints of this architecture."""
        heads = self.channel_heads or self.arch['num_heads'][0]
        return Anatomy(self.family, *size_of(self.arch), 'eca', heads)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs `out_indices` of images (B, 3, H, W), in ascending order.

        Raises:
            InputError: images smaller than one token (4 x 4 pixels).
        """
        self._check_size(images)
        tokens, grid = self.patch_embed(images)
        outputs = []
        for i, stage in enumerate(self.layers):
            tokens = stage(tokens, grid)
            if i in self.out_indices:
                outputs.append(self._format(i, tokens, grid))
            if stage.downsample is not None:
                tokens, grid = stage.downsample(tokens, grid)
        return tuple(outputs)

    def _format(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """From a stage's tokens (B, N, C) the output that was asked for."""
        if self.out_type == 'featmap':
            x = getattr(self, f'norm{index}')(tokens)
            return contiguous_map(x.unflatten(1, grid))
        return self._average(tokens) if self.out_type == 'avg_featmap' else self.norm(tokens)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning-rate decay (mmpretrain's interface).

        Args:
            param_name: full name of the parameter.
            prefix: the backbone's own prefix in that name.

        Returns:
            The depth, 0 for the patch embedding, and the number of depths, the last one for
            everything after the backbone.
        """
        depths = self.arch['depths']
        num_layers = sum(depths) + 2
        if not param_name.startswith(prefix):
            return num_layers - 1, num_layers
        module, *rest = param_name[len(prefix) :].split('.')
        if module == 'patch_embed':
            return 0, num_layers
        if module == 'layers':
            stage, part, *block = rest
            before = sum(depths[: int(stage)])
            if part == 'downsample':  # has the depth of the preceding block
                return before + depths[int(stage)], num_layers
            return before + int(block[0]) + 1, num_layers
        return num_layers - 1, num_layers

    def _is_frozen(self, name: str) -> bool:
        if match := re.match(r'(?:layers\.|norm)(\d+)', name):
            return int(match[1]) < self.frozen_stages
        return name.startswith('patch_embed') and self.frozen_stages >= 0

    def _resolve_arch(self, arch: str | dict, channel_heads: int | None) -> dict:
        name = type(self).__name__
        keys = ('embed_dims', 'depths', 'num_heads')
        arch = resolve_arch(name, arch, self.arch_zoo, keys)
        if len(arch['depths']) != len(arch['num_heads']):
            raise InputError(f'arch of {name}: depths and num_heads differ in length')
        for i, heads in enumerate(arch['num_heads']):
            width = arch['embed_dims'] * 2**i
            for number in (heads, channel_heads or heads):
                if width % number:
                    raise InputError(
                        f'stage {i} of {name}: {width} channels are not a multiple of {number} heads'
                    )
        return arch

    def _resolve_out_indices(self, out_indices: int | Sequence[int]) -> tuple[int, ...]:
        last = len(self.arch['depths']) - 1
        indices = resolve_out_indices(type(self).__name__, out_indices, last)
        if self.out_type != 'featmap' and indices != (last,):
            raise InputError(
                f'out_type {self.out_type!r} is only available for the last stage: out_indices must be'
                f' {last} (or -1), not {out_indices}'
            )
        return indices
