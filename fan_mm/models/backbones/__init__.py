"""FAN backbones, registered in mmengine's root ``MODELS``."""

from fan_mm.models.backbones.fan_convnext import FANConvNeXt
from fan_mm.models.backbones.fan_hybrid import FANHybrid
from fan_mm.models.backbones.fan_swin import FANSwin
from fan_mm.models.backbones.fan_vit import FANViT

__all__ = ['FANConvNeXt', 'FANHybrid', 'FANSwin', 'FANViT']
