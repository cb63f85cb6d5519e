"""FAN written down literally from `docs/specification.md`: what the fast code is compared with.

Functions of tensors and of a dictionary of parameters under their official names; no module, no
fused attention, no memory-format care, nothing shared with `fan_mm`. The N x N attention matrix is
there to be seen. Slow on purpose: `benchmarks/backbone.py` also uses it as its baseline.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = dict[str, Tensor]


def below(p: Parameters, prefix: str) -> Parameters:
    """The parameters whose names start with ``prefix``, without it."""
    return {key[len(prefix) :]: value for key, value in p.items() if key.startswith(prefix)}


def linear(x: Tensor, p: Parameters) -> Tensor:
    return F.linear(x, p['weight'], p['bias'])


def conv(x: Tensor, p: Parameters, **options: int) -> Tensor:
    return F.conv2d(x, p['weight'], p.get('bias'), **options)


def layer_norm(x: Tensor, p: Parameters, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], p['weight'], p['bias'], eps)


def batch_norm(x: Tensor, p: Parameters, training: bool) -> Tensor:
    return F.batch_norm(
        x, p['running_mean'], p['running_var'], p['weight'], p['bias'], training, 0.1, 1e-5
    )


def channels_first_norm(x: Tensor, p: Parameters, unbiased: bool) -> Tensor:
    """Section 2.2: (x - mean) * rsqrt(var + 1e-6) * w + b over the channels of (B, C, H, W)."""
    mean = x.mean(1, keepdim=True)
    var = x.var(1, keepdim=True, unbiased=unbiased)
    x = (x - mean) * torch.rsqrt(var + 1e-6)
    return x * p['weight'][:, None, None] + p['bias'][:, None, None]


def to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    batch, _, channels = tokens.shape
    return tokens.transpose(1, 2).reshape(batch, channels, *grid)


def to_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2).contiguous()


def conv_patch_embed(images: Tensor, p: Parameters, training: bool) -> Tensor:
    """Section 2.1, any patch size."""
    steps = sorted({int(key.split('.')[1]) for key in p})
    x = images
    for i in steps:
        x = conv(x, below(p, f'proj.{i}.0.'), stride=2, padding=1)
        x = batch_norm(x, below(p, f'proj.{i}.1.'), training)
        if i != steps[-1]:
            x = F.gelu(x)
    return x


def convnext_block(x: Tensor, p: Parameters, unbiased: bool) -> Tensor:
    y = conv(x, below(p, 'conv_dw.'), padding=3, groups=x.shape[1])
    y = channels_first_norm(y, below(p, 'norm.'), unbiased)
    y = conv(F.gelu(conv(y, below(p, 'mlp.fc1.'))), below(p, 'mlp.fc2.'))
    return x + p['gamma'][:, None, None] * y


def convnext_stem(images: Tensor, p: Parameters, unbiased: bool) -> list[Tensor]:
    """Section 2.2: the two stages' maps."""
    x = conv(images, below(p, 'stem.0.'), stride=4)
    x = layer_norm(x.permute(0, 2, 3, 1), below(p, 'stem.1.'), 1e-6).permute(0, 3, 1, 2)
    maps = []
    for i in range(2):
        stage = below(p, f'stages.{i}.')
        if i:
            x = channels_first_norm(x, below(stage, 'downsample.0.'), unbiased)
            x = conv(x, below(stage, 'downsample.1.'), stride=2)
        for j in range(1 + max(int(k.split('.')[1]) for k in stage if k.startswith('blocks'))):
            x = convnext_block(x, below(stage, f'blocks.{j}.'), unbiased)
        maps.append(x)
    return maps


def position_code(grid: tuple[int, int], paired: bool) -> Tensor:
    """Section 2.3: (1, 64, H, W), float32."""
    axes = []
    for axis, size in enumerate(grid):
        position = torch.arange(1, size + 1, dtype=torch.float32) / (size + 1e-6) * 2 * math.pi
        channels = []
        for i in range(32):
            angle = position / 10000 ** (2 * (i // 2 if paired else i / 2) / 32)
            channels.append(angle.cos() if i % 2 else angle.sin())
        code = torch.stack(channels)
        axes.append((code[:, :, None] if axis == 0 else code[:, None, :]).expand(32, *grid))
    return torch.cat(axes).unsqueeze(0)


def heads_first(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) to (B, h, N, d)."""
    batch, tokens, channels = x.shape
    return x.reshape(batch, tokens, heads, channels // heads).transpose(1, 2)


def token_mixing(x: Tensor, p: Parameters, heads: int) -> Tensor:
    """Section 3.2."""
    channels = x.shape[-1]
    q = heads_first(linear(x, below(p, 'q.')), heads)
    k, v = (heads_first(t, heads) for t in linear(x, below(p, 'kv.')).split(channels, dim=-1))
    attention = (q * (channels // heads) ** -0.5) @ k.transpose(-2, -1)
    mixed = attention.softmax(-1) @ v
    return linear(mixed.transpose(1, 2).reshape(x.shape), below(p, 'proj.'))


def dwconv(x: Tensor, p: Parameters, grid: tuple[int, int], training: bool) -> Tensor:
    """Section 3.5."""
    x = to_map(x, grid)
    x = F.gelu(conv(x, below(p, 'conv1.'), padding=1, groups=x.shape[1]))
    x = batch_norm(x, below(p, 'bn.'), training)
    return to_tokens(conv(x, below(p, 'conv2.'), padding=1, groups=x.shape[1]))


def fan_mlp(
    x: Tensor, p: Parameters, grid: tuple[int, int], training: bool, identity: bool = True
) -> Tensor:
    """Section 3.4."""
    a = linear(x, below(p, 'fc1.'))
    b = p['gamma'] * dwconv(a, below(p, 'dwconv.'), grid, training)
    return linear(a + b if identity else b, below(p, 'fc2.'))


def eca_gate(u: Tensor, p: Parameters) -> Tensor:
    """Section 3.3, steps 1 to 3: (B, h, d, 1)."""
    heads = p['temperature'].shape[0]
    query = heads_first(linear(u, below(p, 'q.')), heads).softmax(2).transpose(-2, -1)
    key = heads_first(u, heads).softmax(2).mean(-1, keepdim=True)
    return (query @ key).sigmoid() * p['temperature']


def eca(
    u: Tensor, p: Parameters, grid: tuple[int, int], training: bool, identity: bool = True
) -> Tensor:
    """Section 3.3."""
    gate = eca_gate(u, p)
    value = fan_mlp(u, below(p, 'mlp_v.'), grid, training, identity)
    value = heads_first(layer_norm(value, below(p, 'norm_v.'), 1e-5), gate.shape[1])
    scaled = gate.transpose(-2, -1) * value
    return scaled.transpose(1, 2).reshape(u.shape)


def se_mlp(u: Tensor, p: Parameters, grid: tuple[int, int], training: bool) -> Tensor:
    """Section 3.9."""
    x = to_map(fan_mlp(u, p, grid, training), grid)
    gate = conv(x.mean((2, 3), keepdim=True), below(p, 'se.conv_reduce.')).relu()
    return to_tokens(x * conv(gate, below(p, 'se.conv_expand.')).sigmoid())


def csa(u: Tensor, p: Parameters, heads: int, grid: tuple[int, int], training: bool) -> Tensor:
    """The paper's Eq. 6 for each head: Softmax(Q^T K / sqrt(n)) MLP(u)^T."""
    q, k = (heads_first(linear(u, below(p, f'{name}.')), heads) for name in 'qk')
    attention = (q.transpose(-2, -1) @ k / math.sqrt(u.shape[1])).softmax(-1)
    value = heads_first(fan_mlp(u, below(p, 'mlp_v.'), grid, training), heads)
    return (attention @ value.transpose(-2, -1)).permute(0, 3, 1, 2).reshape(u.shape)


def fan_block(
    x: Tensor, p: Parameters, heads: int, grid: tuple[int, int], training: bool = False
) -> Tensor:
    """Section 3.1, for whichever channel attention the parameters belong to."""
    mixed = token_mixing(layer_norm(x, below(p, 'norm1.'), 1e-6), below(p, 'attn.'), heads)
    x = x + p['gamma1'] * mixed
    u, mlp = layer_norm(x, below(p, 'norm2.'), 1e-6), below(p, 'mlp.')
    if 'temperature' in mlp:
        mixed = eca(u, mlp, grid, training)
    elif 'k.weight' in mlp:
        mixed = csa(u, mlp, heads, grid, training)
    else:
        mixed = se_mlp(u, mlp, grid, training)
    return x + p['gamma2'] * mixed


def overlap_downsample(
    x: Tensor, p: Parameters, grid: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """Section 3.7."""
    x = conv(to_map(x, grid), below(p, 'proj.'), stride=2, padding=1)
    return layer_norm(to_tokens(x), below(p, 'norm.'), 1e-5), tuple(x.shape[2:])


def class_attention_block(t: Tensor, p: Parameters, heads: int, tokens_norm: bool = True) -> Tensor:
    """Section 4.2, on tokens with the class token first."""
    n = layer_norm(t, below(p, 'norm1.'), 1e-6)
    q, k, v = (
        heads_first(linear(x, below(p, f'attn.{name}.')), heads)
        for name, x in (('q', n[:, :1]), ('k', n), ('v', n))
    )
    attention = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
    c = linear((attention @ v).transpose(1, 2).flatten(2), below(p, 'attn.proj.'))
    t = t + p['gamma1'] * torch.cat((c, n[:, 1:]), dim=1)
    if tokens_norm:
        t = layer_norm(t, below(p, 'norm2.'), 1e-6)
    else:
        t = torch.cat((layer_norm(t[:, :1], below(p, 'norm2.'), 1e-6), t[:, 1:]), dim=1)
    hidden = F.gelu(linear(t[:, :1], below(p, 'mlp.fc1.')))
    m = p['gamma2'] * linear(hidden, below(p, 'mlp.fc2.'))
    return t + torch.cat((m, t[:, 1:]), dim=1)


def forward(
    p: Parameters,
    images: Tensor,
    heads: tuple[int, int],
    taps: tuple[int, ...],
    *,
    training: bool = False,
    paired: bool = True,
    unbiased: bool = True,
) -> tuple[list[Tensor], Tensor]:
    """A whole FAN-ViT or FAN-Hybrid.

    Args:
        p: parameters under their official names (they say which of the two, and how deep).
        images: (B, 3, H, W).
        heads: heads of the first and of the last block (they differ in FAN-XLarge).
        taps: blocks whose tokens are returned as maps.
        training: batch norms use and update batch statistics.
        paired: the position code's floor.
        unbiased: divisor C-1 in the stem.

    Returns:
        The dense maps (the stem's stages, the tapped blocks, the patch tokens after class
        attention) and all tokens after class attention, before the final norm.
    """
    embed = below(p, 'patch_embed.')
    maps = []
    if 'backbone.stem.0.weight' in embed:
        maps += convnext_stem(images, below(embed, 'backbone.'), unbiased)
        x = conv(maps[-1], below(embed, 'proj.'), stride=2)
    else:
        x = conv_patch_embed(images, embed, training)
    grid = tuple(x.shape[2:])
    code = position_code(grid, paired).to(x)
    x = to_tokens(x) + to_tokens(conv(code, below(p, 'pos_embed.token_projection.')))
    first, last = heads
    widened = False
    for i in range(1 + max(int(key.split('.')[1]) for key in p if key.startswith('blocks.'))):
        block = below(p, f'blocks.{i}.')
        x = fan_block(x, block, last if widened else first, grid, training)
        if i in taps:
            maps.append(to_map(x, grid))
        if 'downsample.proj.weight' in block:
            x, grid = overlap_downsample(x, below(block, 'downsample.'), grid)
            widened = True
    t = torch.cat((p['cls_token'].expand(len(x), -1, -1), x), dim=1)
    for i in range(2):
        t = class_attention_block(t, below(p, f'cls_attn_blocks.{i}.'), last)
    maps.append(to_map(t[:, 1:], grid))
    return maps, t
