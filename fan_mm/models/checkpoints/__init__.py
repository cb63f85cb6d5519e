"""Official FAN checkpoints: their key names, their wrappings, and whether one fits a backbone.

Covers what NVlabs/FAN and NVlabs/STL released or can write: timm training files, bare state dicts,
and whole mmseg/mmdet models (spec sections 3.6, 15, 17).
"""

from fan_mm.models.checkpoints.anatomy import Anatomy, describe, size_of
from fan_mm.models.checkpoints.backbone import (
    CheckpointedBackbone,
    adapt,
    fans_inside,
    find_module,
    fit,
    load_pretrained,
)
from fan_mm.models.checkpoints.key_names import (
    DERIVED,
    NAMES,
    to_official,
    to_ours,
    translate,
    with_final_norm,
)
from fan_mm.models.checkpoints.places import fan_places, find_fan, model_around, unwrap
from fan_mm.models.checkpoints.values import check_values
from fan_mm.models.checkpoints.whole_models import in_our_names, load_strictly
from fan_mm.models.weight_tree import below

__all__ = [
    'DERIVED',
    'NAMES',
    'Anatomy',
    'CheckpointedBackbone',
    'adapt',
    'below',
    'check_values',
    'describe',
    'fan_places',
    'fans_inside',
    'find_fan',
    'find_module',
    'fit',
    'in_our_names',
    'load_pretrained',
    'load_strictly',
    'model_around',
    'size_of',
    'to_official',
    'to_ours',
    'translate',
    'unwrap',
    'with_final_norm',
]
