import pytest
import torch
from mmengine.model import BaseModule
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import fan_mm  # noqa: F401  (registers)
from fan_mm.errors import InputError

HYBRID = dict(
    type='FANHybrid',
    arch=dict(embed_dims=16, depth=3, num_heads=2, stem_depths=(1, 1), stem_channels=(8, 16)),
)
SWIN = dict(type='FANSwin', arch=dict(embed_dims=8, depths=(1, 2), num_heads=(1, 2)))


def optimizer(model, scope=None, **paramwise):
    config = dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05),
        constructor='LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(dict(layer_decay_rate=0.5), **paramwise),
    )
    with DefaultScope.overwrite_default_scope(scope):
        return build_optim_wrapper(model, config).optimizer


def groups(model, built):
    """The optimizer's group of every parameter, by the parameter's name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in built.param_groups:
        for parameter in group['params']:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = group
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    return found


def build(library, config):
    utils = pytest.importorskip(f'{library}.utils')
    if library == 'mmdet':
        pytest.importorskip('mmcv.ops')
    utils.register_all_modules(init_default_scope=False)
    with MODELS.switch_scope_and_registry(library) as registry:
        return registry.build(config)


def classifier(backbone):
    head = dict(type='LinearClsHead', num_classes=3, in_channels=16)
    return build('mmpretrain', dict(type='ImageClassifier', backbone=backbone, head=head))


def segmentor(backbone):
    backbone = dict(backbone, out_indices=(0, 1))
    head = dict(
        type='SegformerHead',
        in_channels=[8, 16],
        in_index=[0, 1],
        channels=8,
        num_classes=3,
        norm_cfg=dict(type='BN'),
    )
    if backbone['type'] == 'FANHybrid':
        backbone['out_indices'] = (0, 1, 2, 3)
        head |= dict(in_channels=[8, 16, 16, 16], in_index=[0, 1, 2, 3])
    return build('mmseg', dict(type='EncoderDecoder', backbone=backbone, decode_head=head))


def detector(backbone):
    return build(
        'mmdet',
        dict(
            type='RetinaNet',
            backbone=backbone,
            neck=dict(type='FPN', in_channels=[16], out_channels=8, num_outs=1),
            bbox_head=dict(
                type='RetinaHead',
                num_classes=3,
                in_channels=8,
                feat_channels=8,
                stacked_convs=1,
                anchor_generator=dict(
                    type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[16]
                ),
            ),
        ),
    )


@pytest.mark.parametrize('make', [classifier, segmentor, detector])
@pytest.mark.parametrize('backbone', [HYBRID, SWIN], ids=['hybrid', 'swin'])
def test_learning_rates_fall_towards_the_image(make, backbone):
    if make is classifier:
        out_type = 'cls_token' if backbone is HYBRID else 'avg_featmap'
        backbone = dict(backbone, out_type=out_type)
    model = make(backbone)
    library = type(model).__module__.partition('.')[0]
    found = groups(model, optimizer(model, scope=library))
    depths = {
        name: model.backbone.get_layer_depth(name, 'backbone.')
        for name, _ in model.named_parameters()
    }
    for name, group in found.items():
        depth, total = depths[name]
        assert group['lr'] == pytest.approx(0.1 * 0.5 ** (total - 1 - depth)), name
        assert group['weight_decay'] == 0.05
    stem = [g['lr'] for n, g in found.items() if n.startswith('backbone.patch_embed.')]
    heads = [g['lr'] for n, g in found.items() if not n.startswith('backbone.')]
    assert min(stem) == min(group['lr'] for group in found.values()) < 0.01
    assert set(heads) == {0.1}
    assert len({group['lr'] for group in found.values()}) >= 5


def test_exact_rates_of_a_bare_backbone():
    model = MODELS.build(dict(HYBRID, out_indices=(0, 1, 2, 3)))
    found = groups(model, optimizer(model))
    expected = {
        'patch_embed.backbone.stem.0.weight': 0,
        'patch_embed.backbone.stages.0.blocks.0.gamma': 1,
        'patch_embed.backbone.stages.1.downsample.1.bias': 2,
        'pos_embed.token_projection.weight': 3,
        'blocks.0.gamma1': 3,
        'blocks.2.channel_attention.temperature': 5,
        'cls_attn_blocks.0.norm1.weight': 6,
        'cls_attn_blocks.1.norm1.weight': 7,
    }
    total = model.get_layer_depth('blocks.0.gamma1')[1]
    for name, depth in expected.items():
        assert found[name]['lr'] == pytest.approx(0.1 * 0.5 ** (total - 1 - depth)), name


class Model(BaseModule):
    def __init__(self):
        super().__init__()
        self.backbone = MODELS.build(dict(HYBRID, frozen_stages=0))
        self.head = nn.Linear(16, 3)
        self.scale = nn.Parameter(torch.ones(()))


def test_mmengines_other_rules_keep_their_meaning():
    model = Model()
    plain = groups(model, optimizer(model))
    custom = {
        'head': dict(lr_mult=10.0, decay_mult=2.0),
        'blocks.1.token_mixing': dict(decay_mult=0.0),
    }
    found = groups(
        model,
        optimizer(
            model, norm_decay_mult=0.0, bias_decay_mult=0.5, bias_lr_mult=2.0, custom_keys=custom
        ),
    )
    assert not any(name.startswith('backbone.patch_embed.backbone.stem') for name in found)
    assert found['scale']['lr'] == plain['scale']['lr'] == 0.1
    for name, group in found.items():
        if name.startswith('head'):
            lr, decay = 10.0, 2.0
        elif any(k in name for k in ('blocks.1.token_mixing', '.norm', '.bn.', 'downsample.0')):
            lr, decay = 1.0, 0.0
        elif name.endswith('.bias'):
            lr, decay = 2.0, 0.5
        else:
            lr, decay = 1.0, 1.0
        assert group['lr'] == pytest.approx(lr * plain[name]['lr']), name
        assert group['weight_decay'] == pytest.approx(0.05 * decay), name


def test_a_wrapped_model_and_a_step():
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = Model()
    built = optimizer(Wrapper(model))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    built.step()
    moved = {n: (p - before[n]).abs().mean().item() for n, p in model.named_parameters()}
    assert moved['head.bias'] > 4 * moved['backbone.blocks.1.norm1.bias'] > 0
    assert moved['backbone.patch_embed.backbone.stem.0.weight'] == 0


@pytest.mark.parametrize(
    ('paramwise', 'message'),
    [
        (dict(layer_decay_rate=None), 'layer_decay_rate must be'),
        (dict(layer_decay_rate=1.5), 'at most 1, not 1.5'),
        (dict(layer_decay_rate=0), 'above 0'),
    ],
)
def test_wrong_rates(paramwise, message):
    with pytest.raises(InputError, match=message):
        optimizer(Model(), **paramwise)


def test_backbones_without_depths():
    with pytest.raises(InputError, match='get_layer_depth; Linear has none'):
        optimizer(nn.Linear(2, 2))
