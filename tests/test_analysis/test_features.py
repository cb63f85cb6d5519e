"""Tokens of every family of backbones are what their blocks computed."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from fan_mm.analysis.features import block_names, choose_blocks, record_tokens
from fan_mm.analysis.gates import change_in_words, draw_gates, record_gates
from fan_mm.errors import InputError
from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin, FANViT

FAN = dict(embed_dims=16, depth=3, num_heads=2)
STAGED = dict(embed_dims=16, depths=(2, 1, 1, 1), num_heads=(1, 2, 4, 8))
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def fan_backbones():
    return {
        'vit': FANViT(dict(FAN)),
        'hybrid': FANHybrid(dict(FAN, stem_depths=(1, 2), stem_channels=(8, 12))),
        'with_cp': FANHybrid(dict(FAN, stem_depths=(1, 1), stem_channels=(8, 12)), with_cp=True),
        'swin': FANSwin(dict(STAGED)),
        'fan_convnext': FANConvNeXt(dict(STAGED)),
    }


def foreign_backbone(name):
    pytest.importorskip('mmpretrain')
    from mmpretrain.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    vit = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)
    cfgs = {
        'vit': dict(type='VisionTransformer', arch=vit, img_size=(64, 96)),
        'distilled': dict(type='DistilledVisionTransformer', arch=vit, img_size=(64, 96)),
        'swin': dict(
            type='SwinTransformer',
            arch=dict(embed_dims=16, depths=[1, 2, 1, 1], num_heads=[1, 2, 4, 8]),
            pad_small_map=True,
            img_size=(64, 96),
        ),
        'convnext': dict(type='ConvNeXt', arch=dict(depths=[1, 2, 1, 1], channels=[8, 16, 24, 32])),
        'resnet': dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
        'xcit': dict(type='XCiT', patch_size=16, embed_dims=16, depth=2, num_heads=2),
        'van': dict(type='VAN', arch=dict(embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[1] * 4)),
        'poolformer': dict(
            type='PoolFormer',
            arch=dict(
                layers=[1] * 4,
                embed_dims=[8, 16, 24, 32],
                mlp_ratios=[1] * 4,
                layer_scale_init_value=0.1,
            ),
        ),
    }
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfgs[name])


def segmentation_backbone(name):
    pytest.importorskip('mmseg')
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    cfgs = {
        'mit': dict(type='MixVisionTransformer', embed_dims=8, num_layers=[1, 1, 2, 1]),
        'vit': dict(
            type='VisionTransformer', img_size=(64, 96), embed_dims=16, num_layers=2, num_heads=2
        ),
        'mscan': dict(type='MSCAN', embed_dims=[8] * 4, depths=[1] * 4, norm_cfg=dict(type='BN')),
    }
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(cfgs[name])


def calls(backbone, names):
    """Arguments and outputs of modules in one forward pass."""
    seen = {}
    handles = [
        module.register_forward_hook(
            lambda m, args, kwargs, out, name=name: seen.update({name: (args, kwargs, out)}),
            with_kwargs=True,
        )
        for name, module in backbone.named_modules()
        if name in names
    ]
    with torch.no_grad():
        backbone(IMAGES)
    for handle in handles:
        handle.remove()
    return seen


def recorded(backbone):
    torch.manual_seed(0)
    backbone.eval()
    names = block_names(backbone)
    with torch.no_grad(), record_tokens(backbone, names) as tokens:
        backbone(IMAGES)
    assert list(tokens) == names
    assert not any(module._forward_hooks for module in backbone.modules())
    return names, tokens


@pytest.mark.parametrize(
    ('name', 'strides'),
    [
        ('vit', [16] * 3),
        ('hybrid', [4, 8, 8, 16, 16, 16]),
        ('with_cp', [4, 8, 16, 16, 16]),
        ('swin', [4, 4, 8, 16, 32]),
        ('fan_convnext', [4, 4, 8, 16, 32]),
    ],
)
def test_fan(name, strides):
    backbone = fan_backbones()[name]
    names, tokens = recorded(backbone)
    assert [tokens[n].grid for n in names] == [(64 // s, 96 // s) for s in strides]
    seen = calls(backbone, names)
    for n in names:  # the block computes it again, from the recorded call
        args, kwargs, _ = seen[n]
        with torch.no_grad():
            out = backbone.get_submodule(n)(*args, **kwargs)
        torch.testing.assert_close(tokens[n].values, out.flatten(1, 2) if out.ndim == 4 else out)


@pytest.mark.parametrize(
    ('name', 'strides', 'extra'),
    [
        ('vit', [16] * 3, 1),
        ('distilled', [16] * 3, 2),
        ('swin', [4, 8, 8, 16, 32], 0),
        ('convnext', [4, 8, 8, 16, 32], 0),
        ('resnet', [4, 4, 8, 8, 16, 16, 32, 32], 0),
        ('xcit', [16] * 4, None),  # its class attention has a class token
        ('van', [4, 8, 16, 32], 0),
        ('poolformer', [4, 8, 16, 32], 0),
    ],
)
def test_networks_of_mmpretrain(name, strides, extra):
    backbone = foreign_backbone(name)
    names, tokens = recorded(backbone)
    assert [tokens[n].grid for n in names] == [(64 // s, 96 // s) for s in strides]
    for n, (_, _, out) in calls(backbone, names).items():
        if out.ndim == 4:
            out = out.flatten(2).transpose(1, 2)
        others = out.shape[1] - tokens[n].values.shape[1]
        assert extra in (None, others)
        torch.testing.assert_close(tokens[n].values, out[:, others:])
        assert tokens[n].values.shape[1] == tokens[n].grid[0] * tokens[n].grid[1]


@pytest.mark.parametrize(
    ('name', 'strides'), [('mit', [4, 8, 16, 16, 32]), ('vit', [16, 16]), ('mscan', [4, 8, 16, 32])]
)
def test_networks_of_mmseg(name, strides):
    backbone = segmentation_backbone(name)
    names, tokens = recorded(backbone)
    assert [tokens[n].grid for n in names] == [(64 // s, 96 // s) for s in strides]
    for n, (_, _, out) in calls(backbone, names).items():
        torch.testing.assert_close(tokens[n].values, out[:, -tokens[n].values.shape[1] :])


def test_recordings_are_of_the_last_pass_and_copies():
    backbone = fan_backbones()['vit'].eval()
    with torch.no_grad(), record_tokens(backbone, ['blocks.1']) as tokens:
        backbone(IMAGES)
        first = tokens['blocks.1'].values
        backbone(IMAGES[:1, :, :32])
        assert tokens['blocks.1'].values.shape == (1, 12, 16)
    assert first.shape == (2, 24, 16)
    assert first.is_contiguous()


def test_stages_and_other_modules_by_name():
    backbone = fan_backbones()['swin'].eval()
    with torch.no_grad(), record_tokens(backbone, ['layers.1', 'patch_embed']) as tokens:
        backbone(IMAGES)
    assert tokens['layers.1'].grid == (8, 12)
    assert tokens['patch_embed'].grid == (16, 24)  # a pair of tokens and grid


def test_choosing_blocks():
    backbone = fan_backbones()['hybrid']
    assert choose_blocks(backbone, [0, '-2', 'blocks.2']) == [
        'patch_embed.backbone.stages.0.blocks.0',
        'blocks.1',
        'blocks.2',
    ]
    for wrong in (6, '-7', 'blocks.3'):
        with pytest.raises(InputError):
            choose_blocks(backbone, [wrong])
    with pytest.raises(InputError, match='the blocks of a Sequential are not known'):
        block_names(nn.Sequential(nn.Linear(2, 2)))


class Last(nn.Module):
    """Maps with channels last, as of ViTSAM and timm's Swin, one block of which never runs."""

    def __init__(self, channels=5):
        super().__init__()
        self.project = nn.Conv2d(3, channels, 8, 8)
        self.layers = nn.ModuleList(nn.Linear(channels, channels) for _ in range(2))

    def forward(self, images):
        return self.layers[0](self.project(images).permute(0, 2, 3, 1))


@pytest.mark.parametrize(('height', 'width'), [(64, 96), (64, 64), (90, 70)])
def test_channels_may_be_last(height, width):
    backbone = Last()
    images = torch.randn(1, 3, height, width)
    with torch.no_grad(), record_tokens(backbone, ['layers.0', 'project']) as tokens:
        expected = backbone(images)
    assert tokens['layers.0'].grid == tokens['project'].grid == (height // 8, width // 8)
    torch.testing.assert_close(tokens['layers.0'].values, expected.flatten(1, 2))


def test_a_map_that_may_be_either_has_channels_first():
    backbone = Last(channels=8)  # as many as rows and columns
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad(), record_tokens(backbone, ['project']) as tokens:
        backbone(images)
        expected = backbone.project(images)
    torch.testing.assert_close(tokens['project'].values, expected.flatten(2).transpose(1, 2))


def test_a_block_that_does_not_run_is_refused():
    backbone = Last()
    with (
        torch.no_grad(),
        pytest.raises(InputError, match=r'layers\.1 does not run in the forward pass'),
        record_tokens(backbone, ['layers.0', 'layers.1']),
    ):
        backbone(IMAGES)


def test_what_is_no_map_is_refused():
    backbone = fan_backbones()['vit'].eval()
    with (
        torch.no_grad(),
        pytest.raises(InputError, match='neither a map nor tokens'),
        record_tokens(backbone, ['blocks.0.token_mixing.q', 'patch_embed']),
    ):
        backbone(IMAGES)
    assert not any(module._forward_hooks for module in backbone.modules())


@pytest.mark.parametrize('name', ['vit', 'hybrid', 'swin', 'fan_convnext'])
def test_gates_are_the_factors_of_the_channels(name):
    backbone = fan_backbones()[name].eval()
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    names = [n for n, _ in backbone.named_modules() if n.endswith('channel_attention')]
    if name in ('swin', 'fan_convnext'):
        assert len(names) == 4  # the last stage has none
    values = [f'{n}.norm_v' for n in names]
    seen = calls(backbone, [*names, *values])
    with torch.no_grad(), record_gates(backbone) as gates:
        backbone(IMAGES)
    assert list(gates) == names
    for n, gate in gates.items():
        out, value = seen[n][2], seen[f'{n}.norm_v'][2]
        torch.testing.assert_close(gate[:, None] * value, out)


def test_gates_of_a_network_without():
    with (
        pytest.raises(InputError, match='no efficient channel attention'),
        record_gates(FANViT(dict(FAN), channel_attention='se')),
    ):
        pass


def test_the_figure_of_gates_has_a_violin_for_each_block():
    gates = {
        label: [torch.rand(50).numpy() + shift for _ in range(4)]
        for label, shift in (('clean', 0), ('snow 3', 0.5))
    }
    (axes,) = draw_gates(gates, 'a model').axes
    assert len(axes.collections) == 8
    for medians, shift, values in zip(axes.lines, (-0.2125, 0.2125), gates.values(), strict=True):
        np.testing.assert_allclose(medians.get_xdata(), np.arange(4) + shift)
        np.testing.assert_allclose(medians.get_ydata(), np.median(values, axis=1))
    assert axes.get_xlim() == (-0.7, 3.7)
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == list(gates)


def test_the_change_of_gates_in_words():
    clean = [[torch.zeros(2).numpy()] * 3, [torch.ones(4).numpy()]]
    corrupted = [[torch.zeros(2).numpy()] * 3, [torch.tensor([1, 1, 0.9, 1]).numpy()]]
    assert change_in_words(clean, corrupted) == 'changed by 1.0e-02 on average, 1.0e-01 at most'
