"""Where in a file the FANs lie: without a model, by the names that every FAN has."""

import re
from collections.abc import Sequence

from torch import Tensor

from fan_mm.models.checkpoints.anatomy import Anatomy
from fan_mm.models.checkpoints.key_names import translate
from fan_mm.models.weight_tree import WeightTree

# For each family, a key found in every complete FAN, as official files and ours spell it.
_SIGNATURES = (
    'patch_embed.backbone.stem.0.weight',
    'patch_embed.proj.0.0.weight',
    'layers.0.blocks.0.mlp.q.weight',
    'layers.0.blocks.0.channel_attention.q.weight',
)
ASK_CONVERTER = 'extract one with tools/convert_checkpoint.py --prefix {place}'


def fan_places(tree: WeightTree) -> list[str]:
    """Where in a file whole FAN backbones lie."""
    places = {
        path.removesuffix(key): None
        for key in _SIGNATURES
        for path in tree.tensors
        if path == key or path.endswith(f'.{key}')
    }
    return [place for place in places if Anatomy.of(translate(tree.below(place)))]


def unwrap(checkpoint: object, weights: str | None = None) -> dict[str, Tensor]:
    """Find the model with a FAN backbone in a checkpoint, under whatever containers and prefixes.

    Args:
        checkpoint: the loaded content of the file.
        weights: 'ema' or 'model' to require one kind; None prefers EMA weights if there are any
            (the official results use them).

    Returns:
        The state dict of a backbone or classifier with the names of the official files, or of a
        whole model with keys below ``backbone.``; for a file without a FAN, all weights of the
        wanted kind.

    Raises:
        InputError: there are no weights, none of the wanted kind, or those of two models.
    """
    tree = WeightTree(checkpoint)
    return tree.below(model_around(tree, find_fan(tree, weights, ('ema', 'model'))))


def find_fan(tree: WeightTree, weights: str | None = None, prefer: Sequence[str] = ()) -> str:
    """Where in a file its FAN lies, or, without one, the most of its tensors.

    Args:
        tree: the checkpoint's tensors.
        weights: see `WeightTree.choose`.
        prefer: see `WeightTree.choose`.

    Raises:
        InputError: there are no weights of the wanted kind, or several candidates are equally good.
    """
    tree.unwrap_parts()
    scores = dict.fromkeys(fan_places(tree), 0) or tree.largest()
    return tree.choose(scores, weights, prefer, ASK_CONVERTER)


def model_around(tree: WeightTree, place: str) -> str:
    """Where the model lies of which a FAN is the backbone; a classifier with its own head is one."""
    if f'{place}head.weight' in tree.tensors:
        return place
    return re.sub(r'(^|\.)backbone\.$', r'\1', place)
