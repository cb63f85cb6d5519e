"""Models small enough for tests: classifiers, segmenters, shallow forms of any FAN; weights that matter."""

import copy

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from fan_mm.engine.runtime import register_task_library
from fan_mm.models import FANHybrid

COLUMN = dict(embed_dims=16, depth=1, num_heads=2)
STEM = dict(stem_depths=(1, 1), stem_channels=(8, 8))
# two stages, and one block that shifts its windows: exporters reason longest on those of later stages
STAGES = dict(embed_dims=16, depths=(2, 1), num_heads=(2, 2))
NORM = dict(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4])
BACKBONES = {
    'hybrid': (dict(type='FANHybrid', arch=COLUMN | STEM, out_type='avg_featmap'), 16),
    'vit': (dict(type='FANViT', arch=COLUMN, out_type='cls_token'), 16),
    'swin': (dict(type='FANSwin', arch=STAGES, out_type='avg_featmap'), 32),
    'convnext': (dict(type='FANConvNeXt', arch=STAGES, out_type='avg_featmap'), 32),
}


def shallow(backbone):
    """A FAN backbone's config with its widths and options, and no more blocks than make it the same.

    Its depth is the backbone's own business, and costs most of the time of a step.
    """
    short = copy.deepcopy(dict(backbone))
    kind = MODELS.get(short['type'])
    arch = short.get('arch', 'tiny')
    arch = dict(kind.arch_zoo[arch] if isinstance(arch, str) else arch)
    if 'depths' in arch:
        short['arch'] = arch | dict(depths=(1, 1, 2, 1))
        return short
    few = 3
    if 'stem_depths' in arch:
        arch['stem_depths'] = (1, 1)
        if arch.get('tap') is not None:
            arch['tap'] = 1
        if arch.get('widen'):
            arch['widen'] = arch['widen'] | dict(after=1)
    elif not isinstance(
        short.get('out_indices', -1), int
    ):  # the blocks' and, last, class attention's
        few = len(short['out_indices']) - 1
        short['out_indices'] = tuple(range(few + 1))
    short['arch'] = arch | dict(depth=few)
    return short


def classifier(backbone='hybrid'):
    cfg, channels = BACKBONES[backbone]
    return Config(
        dict(
            default_scope='mmpretrain',
            data_preprocessor=dict(num_classes=5, to_rgb=True, **NORM),
            model=dict(
                type='ImageClassifier',
                backbone=cfg,
                head=dict(type='LinearClsHead', num_classes=5, in_channels=channels),
            ),
        )
    )


def segmenter(backbone=None, **head):
    hybrid = dict(type='FANHybrid', arch=COLUMN | STEM, out_indices=(0, 1, 2, 3))
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(
                type='EncoderDecoder',
                data_preprocessor=dict(type='SegDataPreProcessor', bgr_to_rgb=True, **NORM),
                backbone=backbone or dict(hybrid, norm_cfg=dict(type='SyncBN')),
                decode_head=dict(
                    dict(
                        type='SegformerHead',
                        in_channels=[8, 8, 16, 16],
                        in_index=[0, 1, 2, 3],
                        channels=16,
                        num_classes=4,
                        dropout_ratio=0.1,
                        norm_cfg=dict(type='SyncBN'),
                        align_corners=False,
                    ),
                    **head,
                ),
                test_cfg=dict(mode='whole'),
            ),
        )
    )


def weights(cfg, path, seed=0):
    """A checkpoint with weights that make every layer matter."""
    register_task_library(cfg)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        made = dict(cfg.model)
        model = MODELS.build(made)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            if 'running_var' in name:
                value.uniform_(0.5, 2)
            elif value.ndim < 2:
                value.normal_(float(name.endswith('weight') or 'gamma' in name), 0.3)
            else:
                value.normal_(0, value[0].numel() ** -0.5)
    if hasattr(model, 'decode_head'):  # no class wins everywhere
        with torch.no_grad():
            scores = model.eval()(torch.randn(1, 3, 64, 64), mode='tensor')
            model.decode_head.conv_seg.bias -= scores.mean((0, 2, 3))
    meta = dict(dataset_meta=dict(classes=tuple('abcd'), palette=[[i, i, i] for i in range(4)]))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return str(path)


def randomise(module):
    """Weights away from their trivial initial values, in place."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def segmenter_sample(height, width):
    from mmseg.structures import SegDataSample

    meta = dict(ori_shape=(height, width), img_shape=(height, width), pad_shape=(height, width))
    return SegDataSample(metainfo=meta)


SMALL_HYBRID = dict(embed_dims=32, depth=2, num_heads=4, stem_depths=(1, 2), stem_channels=(8, 16))


def small_hybrid(seed=0, **options):
    """A FAN-Hybrid of that size, for classification unless its options say otherwise."""
    torch.manual_seed(seed)
    return FANHybrid(dict(SMALL_HYBRID), **{'out_type': 'cls_token', **options})
