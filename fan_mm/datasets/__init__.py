"""Datasets, their corrupted copies, and transforms."""

from fan_mm.datasets.transforms import (
    CorruptImage,
    JointRandAugment,
    PackPairedInputs,
    RandomCorruption,
)

__all__ = ['CorruptImage', 'JointRandAugment', 'PackPairedInputs', 'RandomCorruption']
