"""Key names of official FAN checkpoints and ours, and the layouts that differ in more than names.

Covers what NVlabs/FAN, NVlabs/STL and NVIDIA TAO released (spec sections 3.6, 15, 17).
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from torch import Tensor

# (official name, our name); `#` stands for an index. A key is renamed by the first row that matches
# its start; all other names are identical.
NAMES = (
    ('blocks.#.attn.', 'blocks.#.token_mixing.'),
    ('blocks.#.dilation_predictor.proj.', 'blocks.#.token_pooling.predictor.'),  # TAPADL's
    ('blocks.#.mlp.mlp_v.', 'blocks.#.channel_attention.mlp.'),
    ('blocks.#.mlp.', 'blocks.#.channel_attention.'),
    ('layers.#.blocks.#.attn.', 'layers.#.blocks.#.token_mixing.'),
    ('layers.#.blocks.#.mlp.mlp_v.', 'layers.#.blocks.#.channel_attention.mlp.'),
    ('layers.#.blocks.#.mlp.norm_v.', 'layers.#.blocks.#.channel_attention.norm_v.'),
    ('layers.#.blocks.#.mlp.q.', 'layers.#.blocks.#.channel_attention.q.'),
    ('layers.#.blocks.#.mlp.temperature', 'layers.#.blocks.#.channel_attention.temperature'),
    ('pos_embeder.', 'pos_embed.'),  # early official files
)
# Buffers in official FAN-Swin files that we recompute from the window and input size.
DERIVED = ('attn_mask', 'relative_position_index')


def _rule(old: str, new: str) -> tuple[re.Pattern, str]:
    indices = iter(range(1, new.count('#') + 1))
    pattern = re.escape(old).replace(r'\#', r'(\d+)')
    return re.compile(pattern), re.sub('#', lambda _: rf'\g<{next(indices)}>', new)


_TO_OURS = tuple(_rule(official, ours) for official, ours in NAMES)
_TO_OFFICIAL = tuple(_rule(ours, official) for official, ours in NAMES[:-1])


def _rename(key: str, rules: Iterable[tuple[re.Pattern, str]]) -> str:
    for pattern, replacement in rules:
        if pattern.match(key):
            return pattern.sub(replacement, key, count=1)
    return key


def to_ours(key: str) -> str:
    """Our name of an official backbone key; our own names come back unchanged."""
    return _rename(key, _TO_OURS)


def to_official(key: str) -> str:
    """The official name of one of our backbone keys."""
    return _rename(key, _TO_OFFICIAL)


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a backbone's official keys to ours and split the early files' fused class attention.

    Args:
        state: of a backbone or classifier, without prefix; keys that already have our names are kept.
    """
    ours = {}
    for key, value in state.items():
        fused = re.fullmatch(r'(cls_attn_blocks\.\d+\.attn\.)qkv\.(weight|bias)', key)
        if fused:
            for name, part in zip('qkv', value.chunk(3), strict=True):
                ours[f'{fused[1]}{name}.{fused[2]}'] = part
        else:
            ours[to_ours(key)] = value
    return ours


_T = TypeVar('_T')


def with_final_norm(state: Mapping[str, _T]) -> dict[str, _T]:
    """A classifier's state dict with the last of TAO's ``norm0`` to ``norm3`` (FAN-Swin) as ``norm``."""
    norms = [key for key in state if re.fullmatch(r'norm\d\.weight', key)]
    if not norms or 'norm.weight' in state:
        return dict(state)
    last = max(norms).partition('.')[0]
    return {re.sub(rf'^{last}\.', 'norm.', key): value for key, value in state.items()}
