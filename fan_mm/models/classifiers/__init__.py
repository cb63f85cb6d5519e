"""Classifiers of self-emerging token labeling; importing this needs mmpretrain."""

from fan_mm.models.classifiers.paired_preprocessor import PairedDataPreprocessor
from fan_mm.models.classifiers.stl_student import STLStudent

__all__ = ['PairedDataPreprocessor', 'STLStudent']
