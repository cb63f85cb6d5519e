"""FAN, MiT-B2 and ResNet-50 as backbones of the same SegFormer head."""

from pathlib import Path

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import fan_mm.models  # noqa: F401  (registration)
from gpu.timing import device

CONFIG = Path(__file__).parents[2] / 'configs/_base_/models/fan_segformer.py'
MIT_B2 = dict(
    type='MixVisionTransformer',
    embed_dims=64,
    num_layers=[3, 4, 6, 3],
    num_heads=[1, 2, 5, 8],
    patch_sizes=[7, 3, 3, 3],
    sr_ratios=[8, 4, 2, 1],
    drop_path_rate=0.1,
)
RESNET_50 = dict(type='ResNetV1c', depth=50, norm_cfg=dict(type='BN'))
SEGMENTORS = {  # backbone, and the channels of its maps
    'FAN-Hybrid-T': (dict(type='FANHybrid', arch='tiny'), [128, 256, 192, 192]),
    'FAN-Hybrid-S': (dict(type='FANHybrid', arch='small'), [128, 256, 384, 384]),
    'MiT-B2': (MIT_B2, [64, 128, 320, 512]),
    'ResNet-50': (RESNET_50, [256, 512, 1024, 2048]),
}


def segmentor(name: str) -> nn.Module:
    """One of `SEGMENTORS` with random weights, on the device."""
    import mmseg.models  # noqa: F401  (registration)

    backbone, channels = SEGMENTORS[name]
    model = Config.fromfile(CONFIG).model
    model.backbone = dict(out_indices=(0, 1, 2, 3), **backbone)
    model.decode_head.in_channels = channels
    with DefaultScope.overwrite_default_scope('mmseg'):
        return revert_sync_batchnorm(MODELS.build(model)).to(device())
