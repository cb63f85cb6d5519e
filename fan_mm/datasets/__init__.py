"""Datasets, their corrupted copies, and transforms."""

from fan_mm.datasets.camvid import CamVidDataset
from fan_mm.datasets.shifts import ShiftDataset
from fan_mm.datasets.transforms import (
    CorruptImage,
    JointRandAugment,
    PackPairedInputs,
    RandomCorruption,
)

__all__ = [
    'CamVidDataset',
    'CorruptImage',
    'JointRandAugment',
    'PackPairedInputs',
    'RandomCorruption',
    'ShiftDataset',
]
