"""The part common to FAN-ViT and FAN-Hybrid: FAN blocks, class attention, mmpretrain's contract."""

import re
from collections.abc import Sequence
from typing import Any, cast

import torch
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
    CHANNEL_ATTENTIONS,
    ClassAttentionBlock,
    FANBlock,
    FourierPositionEncoding,
    checkpoint,
    contiguous_map,
)

OUT_TYPES = ('featmap', 'cls_token', 'raw', 'avg_featmap')
MLP_RATIO = 4
CLASS_ATTENTION_BLOCKS = 2


class ColumnarBackbone(FreezableBackbone):
    """FAN blocks and class attention after the subclass's stem.

    Only the modules that the requested outputs depend on are created: no blocks after the last
    output, and no class-attention weights that affect only the class token unless it is returned.
    Every parameter therefore gets a gradient, and DDP needs no ``find_unused_parameters``.
    Checkpoints of the full model can still be loaded; unused weights are ignored.

    Args:
        arch: a name in `arch_zoo`, or a dict with the keys `arch_keys`.
        out_type: 'featmap' for maps (B, C, H, W), 'cls_token' for (B, C) after class attention
            and the final norm, 'raw' for the class and patch tokens (B, 1+N, C) after both,
            'avg_featmap' for the mean over patch tokens (B, C).
        out_indices: which outputs to return; -1 is the last, after class attention. 'cls_token'
            and 'raw' are only available for the last.
        channel_attention: 'eca' (released models), 'se' (squeeze-excite, paper Table 6) or 'csa'
            (full channel self-attention, paper Eq. 6).
        token_pooling: number of scales K of the token-aware average pooling (TAP) before the token
            mixing of every block (4 in the published models); None disables it, as in FAN.
        paired_frequencies: share one frequency between each sine and cosine of the position encoding,
            as in the classification models; False for the variant of the official dense models (spec 2.3).
        last_stage_channels: output channels of a strided convolution that brings the last map to
            stride 32 for detection (768 in the official models); None for no convolution.
        out_norm: LayerNorm over channels on every output map.
        norm_cfg: config of the batch norms; None means ``dict(type='BN')``.
        drop_path_rate: the same rate for every FAN block (spec 1.1).
        with_cp: recompute block activations in the backward pass instead of keeping them.
        frozen_stages: -1 freezes nothing, 0 the stem, n everything that output n-1 depends on.
        norm_eval: keep batch norms in eval mode while training.
        init_cfg: mmengine's init_cfg; without it, parameters keep the initial values of the FAN recipe.
        **stem: options of the subclass's stem.

    Raises:
        InputError: an invalid argument.
    """

    family: str
    token_size = 16
    arch_zoo: dict[str, dict] = {}

    arch_keys: tuple[str, ...] = ('embed_dims', 'depth', 'num_heads')
    arch_defaults: dict = {}

    def __init__(
        self,
        arch: str | dict = 'tiny',
        out_type: str = 'featmap',
        out_indices: int | Sequence[int] = -1,
        channel_attention: str = 'eca',
        token_pooling: int | None = None,
        paired_frequencies: bool = True,
        last_stage_channels: int | None = None,
        out_norm: bool = False,
        norm_cfg: dict | None = None,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list[dict] | None = None,
        **stem: object,
    ) -> None:
        super().__init__(init_cfg)
        if out_type not in OUT_TYPES:
            raise InputError(f'out_type must be one of {", ".join(OUT_TYPES)}, not {out_type!r}')
        if channel_attention not in CHANNEL_ATTENTIONS:
            choices = ', '.join(CHANNEL_ATTENTIONS)
            raise InputError(
                f'channel_attention must be one of {choices}, not {channel_attention!r}'
            )
        self.arch = self._resolve_arch(arch)
        self.channel_attention = channel_attention
        check_positive('token_pooling', token_pooling)
        self.token_pooling = token_pooling
        self.out_type = out_type
        self.stem_outputs, self.taps = self._outputs()
        self.last_index = self.stem_outputs + len(self.taps)
        self.out_indices = self._resolve_out_indices(out_indices)
        self.with_cp = with_cp
        self.norm_eval = norm_eval
        norm_cfg = dict(type='BN') if norm_cfg is None else norm_cfg
        check_options(norm_cfg, drop_path_rate, frozen_stages)
        check_positive('last_stage_channels', last_stage_channels)

        widths = self._widths()
        for dim, num_heads, _ in widths:
            if dim % num_heads:
                raise InputError(f'embed_dims {dim} is not a multiple of num_heads {num_heads}')
        whole = self.out_indices[-1] == self.last_index
        blocks = len(widths) if whole else self._blocks_until(self.out_indices[-1])
        self.patch_embed = self._make_stem(blocks > 0, norm_cfg, **stem)
        self.pos_embed = None
        if blocks:
            self.pos_embed = FourierPositionEncoding(widths[0][0], paired_frequencies)
        layers = (
            FANBlock(
                dim,
                num_heads,
                MLP_RATIO * dim,
                norm_cfg,
                channel_attention,
                drop_path_rate,
                downsample_dim if i + 1 < blocks else None,
                token_pooling,
            )
            for i, (dim, num_heads, downsample_dim) in enumerate(widths[:blocks])
        )
        self.blocks = cast('list[FANBlock]', nn.ModuleList(layers))
        self.embed_dims, num_heads, _ = widths[-1]
        self.cls_attn_blocks: list[ClassAttentionBlock] | None = None
        self.cls_token: nn.Parameter | None = None
        self.norm: nn.LayerNorm | None = None
        if whole:
            self._make_class_attention(num_heads)
        channels = [
            *self.arch.get('stem_channels', ()),
            *(widths[block][0] for block in self.taps),
            last_stage_channels or self.embed_dims,
        ]
        self.out_channels = tuple(channels[i] for i in self.out_indices)
        self.learnable_downsample: nn.Conv2d | None = None
        self.out_norm = out_norm
        if last_stage_channels or out_norm:
            self._make_output_layers(last_stage_channels)
        self._freeze(frozen_stages, self.last_index + 1)

    @property
    def stem_depth(self) -> int:
        """Layer depth (`get_layer_depth`) of the first block."""
        return 1

    @property
    def anatomy(self) -> Anatomy:
        """Description of checkpoints of this architecture."""
        return Anatomy(
            self.family,
            *size_of(self.arch),
            self.channel_attention,
            self.arch['num_heads'] if self.channel_attention == 'eca' else None,
            self.token_pooling,
        )

    @property
    def unseen_options(self) -> dict[str, object]:
        """Options that a converted checkpoint must record."""
        options: dict[str, object] = dict(out_norm=self.out_norm)
        if self.pos_embed is not None:
            options['paired_frequencies'] = self.pos_embed.paired_frequencies
        if self.out_type == 'featmap':
            options['out_indices'] = self.out_indices
        return options

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs `out_indices` of images (B, 3, H, W), in ascending order.

        Raises:
            InputError: images smaller than one token (16 x 16 pixels).
        """
        self._check_size(images)
        stages, x = self.patch_embed(images)
        outputs: dict[int, Tensor] = dict(enumerate(stages))
        if self.pos_embed is not None:
            grid = tuple(x.shape[1:3])
            tokens = x.flatten(1, 2) + self.pos_embed(grid)
            for i, block in enumerate(self.blocks):
                tokens = checkpoint(block, tokens, grid) if self.with_cp else block(tokens, grid)
                if i in self.taps:
                    outputs[self.taps[i]] = tokens.unflatten(1, grid)
                if block.downsample is not None:
                    tokens, grid = block.downsample(tokens, grid)
            if self.cls_attn_blocks is not None:
                if self.cls_token is not None:
                    return (self._class_attention(tokens),)
                for attention in self.cls_attn_blocks:
                    tokens = attention.forward_patches(tokens)
                outputs[self.last_index] = tokens.unflatten(1, grid)
        return tuple(self._format(i, outputs[i]) for i in self.out_indices)

    def _class_attention(self, patches: Tensor) -> Tensor:
        """From patch tokens (B, N, C) the class token (B, C), or all tokens (B, 1+N, C)."""
        assert self.cls_token is not None and self.cls_attn_blocks is not None
        assert self.norm is not None
        token = self.cls_token.expand(patches.shape[0], -1, -1)
        for block in self.cls_attn_blocks:
            token, patches = block(token, patches)
        if self.out_type == 'cls_token':
            return self.norm(token).squeeze(1)
        return self.norm(torch.cat((token, patches), dim=1))

    def _format(self, index: int, x: Tensor) -> Tensor:
        """From a channel-last map (B, H, W, C) the output that was asked for."""
        if self.out_type == 'avg_featmap':
            if self.norm is not None and index == self.last_index:
                x = self.norm(x)
            return x.mean((1, 2))
        if index == self.last_index and self.learnable_downsample is not None:
            x = self.learnable_downsample(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if self.out_norm:
            x = getattr(self, f'out_norm{index}')(x)
        return contiguous_map(x)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning-rate decay (mmpretrain's interface).

        Args:
            param_name: full name of the parameter.
            prefix: the backbone's own prefix in that name.

        Returns:
            The depth, 0 for the stem, and the number of depths, the last one for everything after
            the backbone.
        """
        depth = self.stem_depth + self.arch['depth']
        num_layers = depth + CLASS_ATTENTION_BLOCKS + 1
        if not param_name.startswith(prefix):
            return num_layers - 1, num_layers
        module, *rest = param_name[len(prefix) :].split('.')
        if module in ('patch_embed', 'pos_embed'):
            return self._stem_layer(param_name[len(prefix) :]), num_layers
        if module == 'blocks' and rest:
            return self.stem_depth + int(rest[0]), num_layers
        if module == 'cls_token':
            return depth, num_layers
        if module == 'cls_attn_blocks' and rest:
            return depth + int(rest[0]), num_layers
        return num_layers - 1, num_layers

    def _make_class_attention(self, num_heads: int) -> None:
        dim, class_token = self.embed_dims, self.out_type in ('cls_token', 'raw')
        blocks = (
            ClassAttentionBlock(dim, num_heads, MLP_RATIO * dim, class_token)
            for _ in range(CLASS_ATTENTION_BLOCKS)
        )
        self.cls_attn_blocks = cast('list[ClassAttentionBlock]', nn.ModuleList(blocks))
        if class_token:
            self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        if self.out_type != 'featmap':
            self.norm = nn.LayerNorm(dim, eps=1e-6)

    def _make_output_layers(self, last_stage_channels: int | None) -> None:
        if self.out_type != 'featmap':
            raise InputError("last_stage_channels and out_norm need out_type 'featmap'")
        if last_stage_channels:
            if self.cls_attn_blocks is None:
                raise InputError(
                    f'last_stage_channels needs output {self.last_index}, the last one'
                )
            self.learnable_downsample = nn.Conv2d(
                self.embed_dims, last_stage_channels, 3, stride=2, padding=1
            )
        if self.out_norm:
            for i, width in zip(self.out_indices, self.out_channels, strict=True):
                self.add_module(f'out_norm{i}', nn.LayerNorm(width, eps=1e-5))

    def _stem_layer(self, name: str) -> int:
        """Depth of a parameter of ``patch_embed`` or ``pos_embed``."""
        return 0

    def _make_stem(self, tokens: bool, norm_cfg: dict, *_: Any, **stem: Any) -> nn.Module:
        """Make ``patch_embed``; without ``tokens`` only what the stem's own outputs need."""
        raise NotImplementedError

    def _outputs(self) -> tuple[int, dict[int, int]]:
        """How many outputs come from the stem, and which output each tapped block is."""
        raise NotImplementedError

    def _widths(self) -> list[tuple[int, int, int | None]]:
        """Width and heads of every block, and the width that a downsample behind it makes."""
        arch = self.arch
        return [(arch['embed_dims'], arch['num_heads'], None)] * arch['depth']

    def _blocks_until(self, out_index: int) -> int:
        """Number of blocks that an output before class attention needs."""
        return 1 + max((b for b, i in self.taps.items() if i <= out_index), default=-1)

    def _resolve_arch(self, arch: str | dict) -> dict:
        name = type(self).__name__
        return resolve_arch(name, arch, self.arch_zoo, self.arch_keys, self.arch_defaults)

    def _resolve_out_indices(self, out_indices: int | Sequence[int]) -> tuple[int, ...]:
        last = self.last_index
        indices = resolve_out_indices(type(self).__name__, out_indices, last)
        if self.out_type in ('cls_token', 'raw') and indices != (last,):
            raise InputError(
                f'out_type {self.out_type!r} is only available after class attention:'
                f' out_indices must be {last} (or -1), not {out_indices}'
            )
        return indices

    def _is_frozen(self, name: str) -> bool:
        if self.frozen_stages < 0:
            return False
        if match := re.match(r'out_norm(\d+)', name):
            return int(match[1]) < self.frozen_stages
        output = self.frozen_stages - 1
        if output == self.last_index:
            return True
        if output < self.stem_outputs:
            limit = self.frozen_stages
        else:
            limit = self.stem_depth + self._blocks_until(output) - 1
        return self.get_layer_depth(name)[0] <= limit
