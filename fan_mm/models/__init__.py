"""Networks: `layers`, and the `backbones`, `necks`, `heads` and `classifiers` assembled from them.

Heads and classifiers extend mmpretrain's, so only configs that name them import them.
"""

from fan_mm.models.backbones import FANConvNeXt, FANHybrid, FANSwin, FANViT
from fan_mm.models.necks import SimpleFeaturePyramid

__all__ = ['FANConvNeXt', 'FANHybrid', 'FANSwin', 'FANViT', 'SimpleFeaturePyramid']
