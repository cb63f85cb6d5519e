"""Networks: building blocks (`layers`) and what is assembled from them (`backbones`)."""

from fan_mm.models.backbones import FANHybrid, FANSwin, FANViT

__all__ = ['FANHybrid', 'FANSwin', 'FANViT']
