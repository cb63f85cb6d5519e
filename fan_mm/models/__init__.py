
from fan_mm.models.backbones import FANConvNeXt, FANHybrid, FANSwin, FANViT

__all__ = ['FANConvNeXt', 'FANHybrid', 'FANSwin', 'FANViT']
