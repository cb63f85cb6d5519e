"""Where in a file the FANs lie: without a model, by the names that every FAN has."""

import re
from collections.abc import Sequence

from torch import Tensor

from fan_mm.models.checkpoints.anatomy import Anatomy
from fan_mm.models.checkpoints.key_names import translate
from fan_mm.models.weight_tree import WeightTree

# One key of each family that is in every whole FAN, official and ours.
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
        checkpoint: what the file holds.
        weights: 'ema' or 'model' to insist on one kind; None prefers EMA weights where they are
            (the official results are theirs).

    Returns:
        Key to tensor: of a backbone or classifier as the official files name them, or of a whole
        model with ``backbone.`` among them. Of a file without a FAN all of the wanted kind.

    Raises:
        InputError: there are no weights, or none of the wanted kind, or two models.
    """
    tree = WeightTree(checkpoint)
    return tree.below(model_around(tree, find_fan(tree, weights, ('ema', 'model'))))


def find_fan(tree: WeightTree, weights: str | None = None, prefer: Sequence[str] = ()) -> str:
    """Where in a file its FAN lies, or, without one, the most of its tensors.

    Args:
        tree: of the file.
        weights: see `WeightTree.choose`, as ``prefer``.
        prefer: see there.

    Raises:
        InputError: none of the wanted kind, or several and nothing says which.
    """
    tree.unwrap_parts()
    scores = dict.fromkeys(fan_places(tree), 0) or tree.largest()
    return tree.choose(scores, weights, prefer, ASK_CONVERTER)


def model_around(tree: WeightTree, place: str) -> str:
    """Where the model lies of which a FAN is the backbone; a classifier with its own head is one."""
    if f'{place}head.weight' in tree.tensors:
        return place
    return re.sub(r'(^|\.)backbone\.$', r'\1', place)
