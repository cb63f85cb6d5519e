"""Datasets, their corrupted copies, and transforms."""

from fan_mm.datasets.transforms import CorruptImage, RandomCorruption

__all__ = ['CorruptImage', 'RandomCorruption']
