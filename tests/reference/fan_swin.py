"""FAN-Swin written down literally from spec sections 6 and 7.5 (see `reference.fan`)."""

import functools

import torch
import torch.nn.functional as F
from reference.fan import Parameters, below, conv, eca, layer_norm, linear
from torch import Tensor

WINDOW = 7


def windows(x: Tensor) -> Tensor:
    """(B, H, W, C), H and W multiples of 7, to (B * windows, 49, C)."""
    b, h, w, c = x.shape
    x = x.view(b, h // WINDOW, WINDOW, w // WINDOW, WINDOW, c)
    return x.transpose(2, 3).reshape(-1, WINDOW**2, c)


@functools.cache
def relative_positions() -> list[list[int]]:
    """Row of the table of relative positions for each pair of tokens in a window."""
    tokens = [(y, x) for y in range(WINDOW) for x in range(WINDOW)]
    return [
        [(y - v + WINDOW - 1) * (2 * WINDOW - 1) + x - u + WINDOW - 1 for v, u in tokens]
        for y, x in tokens
    ]


def position_bias(table: Tensor) -> Tensor:
    """(heads, 49, 49) from the table of (2 * 7 - 1)² relative positions."""
    index = torch.tensor(relative_positions(), device=table.device)
    return table[index].permute(2, 0, 1)


def shift_mask(h: int, w: int, shift: int) -> Tensor:
    """(windows, 49, 49): -100 between tokens that the cyclic shift brought together."""
    part = torch.zeros(1, h, w, 1)
    for i, rows in enumerate((slice(-WINDOW), slice(-WINDOW, -shift), slice(-shift, None))):
        for j, columns in enumerate((slice(-WINDOW), slice(-WINDOW, -shift), slice(-shift, None))):
            part[:, rows, columns] = 3 * i + j
    part = windows(part).squeeze(-1)
    return torch.where(part[:, None] == part[:, :, None], 0.0, -100.0)


def window_attention(x: Tensor, p: Parameters, grid: tuple[int, int], shift: int) -> Tensor:
    b, _, c = x.shape
    x = x.view(b, *grid, c)
    x = F.pad(x, (0, 0, 0, -grid[1] % WINDOW, 0, -grid[0] % WINDOW))
    h, w = x.shape[1:3]
    table = p['relative_position_bias_table']
    heads = table.shape[1]
    x = windows(x.roll((-shift, -shift), (1, 2)))
    qkv = linear(x, below(p, 'qkv.')).view(len(x), WINDOW**2, 3, heads, c // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    attention = q * (c // heads) ** -0.5 @ k.transpose(-2, -1) + position_bias(table)
    if shift:
        mask = shift_mask(h, w, shift).to(x)
        attention = attention.view(b, -1, heads, WINDOW**2, WINDOW**2) + mask[:, None]
        attention = attention.view(-1, heads, WINDOW**2, WINDOW**2)
    x = linear((attention.softmax(-1) @ v).transpose(1, 2).flatten(2), below(p, 'proj.'))
    x = x.view(b, h // WINDOW, w // WINDOW, WINDOW, WINDOW, c).transpose(2, 3).reshape(b, h, w, c)
    return x.roll((shift, shift), (1, 2))[:, : grid[0], : grid[1]].reshape(b, -1, c)


def swin_block(
    x: Tensor, p: Parameters, grid: tuple[int, int], shift: int, identity: bool, training: bool
) -> Tensor:
    x = x + window_attention(
        layer_norm(x, below(p, 'norm1.'), 1e-5), below(p, 'attn.'), grid, shift
    )
    u, mlp = layer_norm(x, below(p, 'norm2.'), 1e-5), below(p, 'mlp.')
    if 'temperature' in mlp:
        return x + eca(u, mlp, grid, training, identity)
    return x + linear(F.gelu(linear(u, below(mlp, 'fc1.'))), below(mlp, 'fc2.'))


def patch_merging(
    x: Tensor, p: Parameters, grid: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    b, _, c = x.shape
    x = F.pad(x.view(b, *grid, c), (0, 0, 0, grid[1] % 2, 0, grid[0] % 2))
    x = torch.cat([x[:, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))], dim=-1)
    grid = tuple(x.shape[1:3])
    return F.linear(layer_norm(x, below(p, 'norm.'), 1e-5), p['reduction.weight']).flatten(
        1, 2
    ), grid


def forward(
    p: Parameters, images: Tensor, *, identity: bool = False, training: bool = False
) -> list[Tensor]:
    """The four stages' maps, each through its own norm.

    Args:
        p: parameters under their official names.
        images: (B, 3, H, W).
        identity: the identity path of the inner MLP (the segmentation copy has it).
        training: batch norms use and update batch statistics.
    """
    height, width = images.shape[-2:]
    x = conv(
        F.pad(images, (0, -width % 4, 0, -height % 4)), below(p, 'patch_embed.proj.'), stride=4
    )
    grid = tuple(x.shape[2:])
    x = layer_norm(x.flatten(2).transpose(1, 2), below(p, 'patch_embed.norm.'), 1e-5)
    maps = []
    for i in range(4):
        stage = below(p, f'layers.{i}.')
        for j in range(
            1 + max(int(key.split('.')[1]) for key in stage if key.startswith('blocks'))
        ):
            shift = WINDOW // 2 if j % 2 and min(grid) > WINDOW else 0
            block = below(stage, f'blocks.{j}.')
            x = swin_block(x, block, grid, shift, identity, training)
        out = layer_norm(x, below(p, f'norm{i}.'), 1e-5)
        maps.append(out.view(len(out), *grid, -1).permute(0, 3, 1, 2))
        if i < 3:
            x, grid = patch_merging(x, below(stage, 'downsample.'), grid)
    return maps
