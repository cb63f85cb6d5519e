"""Transforms for mm pipelines, in mmengine's root registry."""

from fan_mm.datasets.transforms.corrupt_image import CorruptImage
from fan_mm.datasets.transforms.joint_rand_augment import JointRandAugment
from fan_mm.datasets.transforms.pack_pair import PackPairedInputs
from fan_mm.datasets.transforms.random_corruption import RandomCorruption

__all__ = ['CorruptImage', 'JointRandAugment', 'PackPairedInputs', 'RandomCorruption']
