"""Corrupted copies of datasets (Cityscapes-C, COCO-C, ImageNet-C) as files."""

from fan_mm.datasets.corrupted.layouts import LAYOUTS, corrupted_path

__all__ = ['LAYOUTS', 'corrupted_path']
