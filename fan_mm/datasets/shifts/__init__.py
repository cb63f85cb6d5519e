"""Data sets of real adverse conditions (docs/real_shifts.md): records, finding of files, label maps."""

from fan_mm.datasets.shifts import (  # each enters its sets
    acdc,
    bdd100k,
    cityscapes,
    coco_o,
    dark,
    foggy,
    idd,
    mapillary,
    muses,
    wilddash,
)
from fan_mm.datasets.shifts.dataset import ShiftDataset
from fan_mm.datasets.shifts.label_maps import LABEL_MAPS, LabelMap
from fan_mm.datasets.shifts.record import SHIFT_SETS, Condition, ShiftSet

__all__ = [
    'LABEL_MAPS',
    'SHIFT_SETS',
    'Condition',
    'LabelMap',
    'ShiftDataset',
    'ShiftSet',
    'acdc',
    'bdd100k',
    'cityscapes',
    'coco_o',
    'dark',
    'foggy',
    'idd',
    'mapillary',
    'muses',
    'wilddash',
]
