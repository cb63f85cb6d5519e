"""Networks: building blocks (`layers`), `backbones` assembled from them, and `necks`."""

from fan_mm.models.backbones import FANConvNeXt, FANHybrid, FANSwin, FANViT
from fan_mm.models.necks import SimpleFeaturePyramid

__all__ = ['FANConvNeXt', 'FANHybrid', 'FANSwin', 'FANViT', 'SimpleFeaturePyramid']
