"""FAN-Swin: Swin Transformer v1 with the FAN block's channel attention (spec 6 and 7.5)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fan_mm.errors import InputError
from fan_mm.models.backbones.options import resolve_arch, resolve_out_indices
from fan_mm.models.checkpoints import Anatomy, CheckpointedBackbone
from fan_mm.models.layers import (
    EfficientChannelAttention,
    Mlp,
    WindowAttention,
    checkpoint,
)
from fan_mm.models.layers.linear import pointwise

PATCH_SIZE = 4  # pixels
WINDOW = 7  # tokens
MLP_RATIO = 4
OUT_TYPES = ('featmap', 'avg_featmap', 'raw')


class PatchEmbed(nn.Module):
    """Non-overlapping patches: 4x4 convolution with stride 4, then LayerNorm.

    Args:
        dim: channels C of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH_SIZE, stride=PATCH_SIZE)
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Map images (B, 3, H, W), padded to whole patches, to tokens (B, N, C) and their grid."""
        height, width = images.shape[-2:]
        x = self.proj(F.pad(images, (0, -width % PATCH_SIZE, 0, -height % PATCH_SIZE)))
        return self.norm(x.flatten(2).transpose(1, 2)), tuple(x.shape[2:])


class PatchMerging(nn.Module):
    """Halve the grid: the four tokens of each 2x2 patch become one of twice the channels.

    Args:
        dim: channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=1e-5)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        nn.init.trunc_normal_(self.reduction.weight, std=0.02)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Map tokens (B, H * W, C) to (B, ceil(H/2) * ceil(W/2), 2C) and their grid."""
        x = F.pad(tokens.unflatten(1, grid), (0, 0, 0, grid[1] % 2, 0, grid[0] % 2))
        height, width = x.shape[1] // 2, x.shape[2] // 2
        x = x.unflatten(2, (width, 2)).unflatten(1, (height, 2))
        # (B, H/2, 2, W/2, 2, C): rows change fastest among the four
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)
        return pointwise(self.norm(x), self.reduction.weight, None), (height, width)


class FANSwinBlock(nn.Module):
    """Two pre-norm residual branches: attention in windows, then channel attention or an MLP.

    Args:
        dim: channels C.
        num_heads: heads of the window attention.
        shift: displacement of the windows.
        always_shift: shift also where one window covers the grid.
        channel_heads: heads of the channel attention; None for an ordinary MLP in its place.
        mlp_identity: identity path of the MLP inside the channel attention.
        norm_cfg: mmcv config of the batch norm in that MLP.
        drop_path: probability that a sample skips a branch.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        shift: int,
        always_shift: bool,
        channel_heads: int | None,
        mlp_identity: bool,
        norm_cfg: dict,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-5)
        self.token_mixing = WindowAttention(dim, num_heads, WINDOW, shift, always_shift)
        self.norm2 = nn.LayerNorm(dim, eps=1e-5)
        self.channel_attention = self.mlp = None
        if channel_heads:
            self.channel_attention = EfficientChannelAttention(
                dim, channel_heads, MLP_RATIO * dim, norm_cfg, mlp_identity
            )
        else:
            self.mlp = Mlp(dim, MLP_RATIO * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C)."""
        tokens = tokens + self.drop_path(self.token_mixing(self.norm1(tokens), grid))
        x = self.norm2(tokens)
        x = self.mlp(x) if self.channel_attention is None else self.channel_attention(x, grid)
        return tokens + self.drop_path(x)


class Stage(nn.Module):
    """Blocks of one width, and the merging that leads to the next stage.

    Args:
        blocks: every other one shifts its windows.
        downsample: None after the last stage.
        with_cp: recompute block activations in the backward pass.
    """

    def __init__(
        self, blocks: Sequence[FANSwinBlock], downsample: PatchMerging | None, with_cp: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.with_cp = with_cp

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C), before the merging."""
        for block in self.blocks:
            tokens = checkpoint(block, tokens, grid) if self.with_cp else block(tokens, grid)
        return tokens


@MODELS.register_module()
class FANSwin(CheckpointedBackbone):
    """FAN-Swin, for images of any size.

    `Understanding The Robustness in Vision Transformers <https://arxiv.org/abs/2204.12451>`_,
    Table 7.

    Outputs 0 to 3 are the stages (strides 4, 8, 16, 32; channels C, 2C, 4C, 8C). Stages behind the
    last output are not created.

    The defaults are the classification models. The official segmentation copy is
    ``channel_heads=8, mlp_identity=True, always_shift=True``.

    Args:
        arch: 'tiny', 'small', 'base', 'large', or a dict with ``embed_dims`` (C), and ``depths`` and
            ``num_heads`` of the stages. All stages but the last have channel attention.
        out_type: 'featmap' for maps (B, C, H, W), each through its own LayerNorm ``norm{i}``;
            'avg_featmap' for the classification feature (B, 8C), the mean over tokens after the
            final ``norm``; 'raw' for those tokens (B, N, 8C). There is no class token.
        out_indices: which stages to return; -1 is the last. 'avg_featmap' and 'raw' exist for the
            last only.
        channel_heads: heads of the channel attention in every stage; None for the stage's own
            number of heads.
        mlp_identity: identity path of the MLP inside the channel attention (spec 3.4).
        always_shift: shift windows also where a stage's smaller side is no larger than a window
            (at 224 pixels: in the last stage).
        norm_cfg: the batch norms; None means ``dict(type='BN')``.
        drop_path_rate: probability of skipping a branch, rising linearly from 0 at the first block
            to this at the last.
        with_cp: recompute block activations in the backward pass instead of keeping them.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, n the stages before the n-th too.
        norm_eval: keep batch norms in eval mode while training.
        init_cfg: mmengine's; without one, parameters keep the values of the FAN recipe.

    Raises:
        InputError: an argument that does not fit, in one line.

    Example:
        >>> backbone = FANSwin('tiny', out_indices=(0, 1, 2, 3))
        >>> [tuple(x.shape) for x in backbone(torch.rand(1, 3, 64, 96))]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    arch_zoo = {
        'tiny': dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
        'small': dict(embed_dims=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
        'base': dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
        'large': dict(embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
    }

    def __init__(
        self,
        arch: str | dict = 'tiny',
        out_type: str = 'featmap',
        out_indices: int | Sequence[int] = -1,
        channel_heads: int | None = None,
        mlp_identity: bool = False,
        always_shift: bool = False,
        norm_cfg: dict | None = None,
        drop_path_rate: float = 0.1,
        with_cp: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if out_type not in OUT_TYPES:
            hint = 'FAN-Swin has no class token; ' if out_type == 'cls_token' else ''
            raise InputError(
                f'{hint}out_type of FANSwin must be one of {", ".join(OUT_TYPES)}, not {out_type!r}'
            )
        self.arch = arch = self._resolve_arch(arch, channel_heads)
        self.out_type = out_type
        self.out_indices = self._resolve_out_indices(out_indices)
        self.channel_heads = channel_heads
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages
        norm_cfg = norm_cfg or dict(type='BN')

        depths, last_stage = arch['depths'], self.out_indices[-1]
        widths = [arch['embed_dims'] * 2**i for i in range(len(depths))]
        rates = torch.linspace(0, drop_path_rate, sum(depths), device='cpu').tolist()
        self.patch_embed = PatchEmbed(widths[0])
        self.layers = nn.ModuleList()
        for i, (width, heads) in enumerate(zip(widths, arch['num_heads'], strict=True)):
            if i > last_stage:
                break
            mixes_channels = i < len(depths) - 1
            blocks = [
                FANSwinBlock(
                    width,
                    heads,
                    shift=WINDOW // 2 if j % 2 else 0,
                    always_shift=always_shift,
                    channel_heads=(channel_heads or heads) if mixes_channels else None,
                    mlp_identity=mlp_identity,
                    norm_cfg=norm_cfg,
                    drop_path=rates[sum(depths[:i]) + j],
                )
                for j in range(depths[i])
            ]
            downsample = PatchMerging(width) if i < last_stage else None
            self.layers.append(Stage(blocks, downsample, with_cp))
        if out_type == 'featmap':
            for i in self.out_indices:
                self.add_module(f'norm{i}', nn.LayerNorm(widths[i], eps=1e-5))
        else:
            self.norm = nn.LayerNorm(widths[-1], eps=1e-5)
        self.embed_dims = widths[-1]
        self.out_channels = tuple(widths[i] for i in self.out_indices)

        if not -1 <= frozen_stages <= len(self.layers):
            raise InputError(
                f'frozen_stages must lie in -1..{len(self.layers)}, not {frozen_stages}'
            )
        for module in self._frozen_modules():
            module.requires_grad_(False)

    @property
    def anatomy(self) -> Anatomy:
        """What a checkpoint of this architecture looks like."""
        heads = self.channel_heads or self.arch['num_heads'][0]
        depths = tuple(self.arch['depths'])
        return Anatomy('FANSwin', self.arch['embed_dims'], depths, 'eca', heads)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs `out_indices` of images (B, 3, H, W), in ascending order.

        Raises:
            InputError: images smaller than one token (4 x 4 pixels).
        """
        height, width = images.shape[-2:]
        if min(height, width) < PATCH_SIZE:
            raise InputError(
                f'images of {height}x{width} pixels: a token is {PATCH_SIZE}x{PATCH_SIZE}'
            )
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
            return x.unflatten(1, grid).permute(0, 3, 1, 2)
        tokens = self.norm(tokens)
        return tokens.mean(1) if self.out_type == 'avg_featmap' else tokens

    def train(self, mode: bool = True) -> 'FANSwin':
        """Set training mode, except for frozen stages and, under ``norm_eval``, batch norms."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning-rate decay (mmpretrain's contract).

        Args:
            param_name: full name of the parameter.
            prefix: the backbone's own prefix in that name.

        Returns:
            The depth, 0 for the patch embedding, and the number of depths, the last one for
            whatever follows the backbone.
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
            if part == 'downsample':  # belongs to the last block before it
                return before + depths[int(stage)], num_layers
            return before + int(block[0]) + 1, num_layers
        return num_layers - 1, num_layers

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        norms = [getattr(self, f'norm{i}', None) for i in range(self.frozen_stages)]
        return [
            self.patch_embed,
            *self.layers[: self.frozen_stages],
            *(norm for norm in norms if norm is not None),
        ]

    def _resolve_arch(self, arch: str | dict, channel_heads: int | None) -> dict:
        keys = ('embed_dims', 'depths', 'num_heads')
        arch = resolve_arch('FANSwin', arch, self.arch_zoo, keys)
        if len(arch['depths']) != len(arch['num_heads']):
            raise InputError('arch of FANSwin: depths and num_heads differ in length')
        for i, heads in enumerate(arch['num_heads']):
            width = arch['embed_dims'] * 2**i
            for number in (heads, channel_heads or heads):
                if width % number:
                    raise InputError(
                        f'stage {i} of FANSwin: {width} channels are not a multiple of {number} heads'
                    )
        return arch

    def _resolve_out_indices(self, out_indices: int | Sequence[int]) -> tuple[int, ...]:
        last = len(self.arch['depths']) - 1
        indices = resolve_out_indices('FANSwin', out_indices, last)
        if self.out_type != 'featmap' and indices != (last,):
            raise InputError(
                f'out_type {self.out_type!r} exists for the last stage only: out_indices must be'
                f' {last} (or -1), not {out_indices}'
            )
        return indices
