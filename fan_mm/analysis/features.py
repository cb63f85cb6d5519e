"""Tokens of chosen blocks of any backbone, read through forward hooks.

The backbone needs no changes, and the hooks are removed at the end of the ``with`` block.
"""

import contextlib
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fan_mm.errors import InputError
from fan_mm.models.layers.convnext_stem import ConvNeXtBlock

# What a block is called: in FAN-Hybrid's stem, in FAN, in FAN-Swin, in Swin and FAN-ConvNeXt, in
# MiT and PVT, in ConvNeXt, in ViT, in ResNet, in XCiT, in VAN and MSCAN, in PoolFormer. Of names that lie
# within one another the innermost counts: FAN-Swin's `layers.0` is a stage.
_BLOCK = re.compile(
    r'(patch_embed\.backbone\.stages\.\d+\.blocks|blocks|layers\.\d+\.blocks|stages\.\d+\.blocks'
    r'|layers\.\d+\.1|stages\.\d+|layers|layer\d+|xca_layers|ca_layers|blocks?\d+|network\.\d+)\.\d+'
)


@dataclass(frozen=True)
class Tokens:
    """The output of a block.

    Attributes:
        values: the patch tokens (B, N, C) in row-major order, without class tokens.
        grid: rows and columns (H, W); N = H * W.
    """

    values: Tensor
    grid: tuple[int, int]


def block_names(backbone: nn.Module) -> list[str]:
    """Names of a backbone's blocks from the input to the output.

    Supported are FAN-ViT, FAN-Hybrid (including the blocks of the convolutional stem), FAN-Swin, FAN-ConvNeXt, and
    of mmpretrain, mmseg and mmdet ViT, XCiT, Swin, MiT, PVT, MSCAN, VAN, PoolFormer, ConvNeXt and ResNet
    with their variants.

    Raises:
        InputError: no blocks are found.
    """
    names = []
    for name, module in backbone.named_modules():
        if _BLOCK.fullmatch(name):
            # a list does not run itself, what is in it does; MiT's has blocks and others
            alike = isinstance(module, nn.ModuleList) and len(set(map(type, module))) == 1
            names += [f'{name}.{i}' for i in range(len(module))] if alike else [name]
    outer = {name for name in names if any(other.startswith(f'{name}.') for other in names)}
    names = [name for name in names if name not in outer]
    if not names:
        raise InputError(
            f'the blocks of a {type(backbone).__name__} are not known: name modules that output '
            'maps or tokens'
        )
    return names


def choose_blocks(backbone: nn.Module, chosen: Sequence[str | int]) -> list[str]:
    """Module names of the blocks that a user selected.

    Args:
        backbone: the network.
        chosen: indices into `block_names`, negative ones from the end (-2: the second last block, the
            paper's choice), or names of any modules.

    Raises:
        InputError: no such block or module.
    """
    names = []
    modules = dict(backbone.named_modules())
    for choice in chosen:
        if re.fullmatch(r'-?\d+', str(choice)):
            blocks, place = block_names(backbone), int(choice)
            if not -len(blocks) <= place < len(blocks):
                raise InputError(
                    f'no block {place}: {type(backbone).__name__} has {len(blocks)}, '
                    f'{-len(blocks)} to {len(blocks) - 1}'
                )
            names.append(blocks[place])
        elif choice in modules:
            names.append(str(choice))
        else:
            raise InputError(f'{type(backbone).__name__} has no module {choice!r}')
    return names


@contextlib.contextmanager
def record_tokens(backbone: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tokens]]:
    """Record the outputs of modules in the forward passes within the ``with`` block.

    A module's output is a map (B, C, H, W), or (B, H, W, C) as recognised by the aspect ratio of the image,
    or tokens (B, N, C) whose grid is an argument of the module or what the network's ``patch_embed``
    returned; tokens before those of the grid (class and distillation tokens) are left out. Each pass replaces
    the recordings of the previous one.

    Args:
        backbone: the network.
        names: modules (`block_names`, `choose_blocks`).

    Yields:
        A dict that each pass fills in execution order: name -> `Tokens`, detached copies on
        the network's device.

    Raises:
        InputError: within the block, an output is neither, or a module does not run.

    Examples:
        >>> with record_tokens(backbone, block_names(backbone)[-2:]) as tokens:
        ...     backbone(images)
        >>> tokens['blocks.8'].values.shape, tokens['blocks.8'].grid
    """
    recorded: dict[str, Tokens] = {}
    patch_grid: list[tuple[int, int]] = []
    picture: list[int] = []  # height and width

    def record(name: str, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        grid = _grid_among((*args[1:], *kwargs.values())) or next(iter(patch_grid), None)
        if isinstance(output, tuple):  # tokens and their grid, as Swin's stages return
            grid = _grid_among(output[1:]) or grid
            output = output[0]
        recorded[name] = _as_tokens(name, module, output, grid, picture)

    def start(_: nn.Module, args: tuple) -> None:
        recorded.clear()
        patch_grid.clear()
        picture[:] = args[0].shape[-2:] if args and isinstance(args[0], Tensor) else []

    def end(*_: Any) -> None:
        if idle := [name for name in names if name not in recorded]:
            raise InputError(f'{idle[0]} does not run in the forward pass: choose another module')

    def keep_grid(module: nn.Module, args: tuple, output: Any) -> None:
        if isinstance(output, tuple) and (grid := _grid_among(output[1:])):
            patch_grid[:] = [grid]

    modules = dict(backbone.named_modules())
    handles = [backbone.register_forward_pre_hook(start)]
    if 'patch_embed' in modules:
        handles.append(modules['patch_embed'].register_forward_hook(keep_grid))
    handles.append(backbone.register_forward_hook(end))
    handles += [
        modules[name].register_forward_hook(partial(record, name), with_kwargs=True)
        for name in names
    ]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _grid_among(values: Sequence[Any]) -> tuple[int, int] | None:
    """The first pair of ints, or the first two ints in a row."""
    for value, following in itertools.pairwise([*values, None]):
        pair = value if isinstance(value, tuple | list | torch.Size) else (value, following)
        if len(pair) == 2 and all(type(side) is int for side in pair):
            return tuple(pair)
    return None


def _is_channels_last(shape: Sequence[int], picture: Sequence[int]) -> bool:
    """Whether the first two sides of a map (B, a, b, c) rather than the last have the picture's aspect ratio."""
    if len(picture) < 2:
        return False
    first, second, third = (math.log(side) for side in shape[1:])
    ratio = math.log(picture[0]) - math.log(picture[1])
    return abs(first - second - ratio) < abs(second - third - ratio)


def _as_tokens(
    name: str,
    module: nn.Module,
    output: Any,
    grid: tuple[int, int] | None,
    picture: Sequence[int],
) -> Tokens:
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(f'{name} outputs neither a map nor tokens, but {shape}')
    output = output.detach()
    if output.ndim == 4:
        # FAN-Hybrid's stem has channels last
        last = isinstance(module, ConvNeXtBlock) or _is_channels_last(output.shape, picture)
        if not last:
            output = output.permute(0, 2, 3, 1)
        return Tokens(output.flatten(1, 2).clone(), tuple(output.shape[1:3]))
    if grid is None:
        raise InputError(f'the token grid of {name} is not known')
    count = grid[0] * grid[1]
    if output.shape[1] < count:
        raise InputError(f'{name} computes {output.shape[1]} tokens, not {grid[0]} x {grid[1]}')
    return Tokens(output[:, output.shape[1] - count :].clone(), grid)
