"""Necks, registered in mmengine's root `MODELS`."""

from fan_mm.models.necks.simple_feature_pyramid import SimpleFeaturePyramid

__all__ = ['SimpleFeaturePyramid']
