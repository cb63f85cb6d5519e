"""FAN-ConvNeXt: ConvNeXt around the channel attention, and what it takes of checkpoints."""

import re

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, DefaultScope
from small_models import randomise

from fan_mm.errors import InputError
from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin
from fan_mm.models.backbones.fan_convnext import FANConvNeXtBlock
from fan_mm.models.layers import EfficientChannelAttention, Mlp
from fan_mm.models.shapes_alone import shapes_alone

TINY = dict(embed_dims=16, depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8))
NAMES = (  # mmpretrain's ConvNeXt, ours
    (r'downsample_layers\.0\.0\.', 'patch_embed.proj.'),
    (r'downsample_layers\.0\.1\.', 'patch_embed.norm.'),
    (r'downsample_layers\.(\d)\.0\.', lambda m: f'layers.{int(m[1]) - 1}.downsample.norm.'),
    (r'downsample_layers\.(\d)\.1\.', lambda m: f'layers.{int(m[1]) - 1}.downsample.reduction.'),
    (r'stages\.(\d)\.(\d+)\.', r'layers.\1.blocks.\2.'),
    ('depthwise_conv', 'conv_dw'),
    ('pointwise_conv', 'mlp.fc'),
)


def tiny(**options):
    torch.manual_seed(0)
    return FANConvNeXt(
        dict(TINY), **{'out_indices': (0, 1, 2, 3), 'drop_path_rate': 0.0, **options}
    )


@pytest.mark.parametrize('classifier', [False, True])
def test_without_channel_attention_it_is_convnext(classifier):
    pytest.importorskip('mmpretrain')
    from mmpretrain.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    arch = dict(depths=list(TINY['depths']), channels=[16, 32, 64, 128])
    options = dict(out_indices=-1) if classifier else dict(out_indices=(0, 1, 2, 3))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        theirs = MODELS.build(
            dict(type='ConvNeXt', arch=arch, gap_before_final_norm=classifier, **options)
        )
    randomise(theirs).eval()
    ours = tiny(out_type='avg_featmap' if classifier else 'featmap', **options).eval()
    for stage in ours.layers:
        for block in stage.blocks:
            width = len(block.gamma)
            block.channel_attention, block.mlp = None, Mlp(width, 4 * width)
    state = {}
    for key, value in theirs.state_dict().items():
        for pattern, name in NAMES:
            key = re.sub(pattern, name, key)
        state['norm' + key[5:] if classifier and re.match(r'norm3\.', key) else key] = value
    ours.load_state_dict(state, strict=True)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        for a, b in zip(ours(images), theirs(images), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_block_is_its_formula():
    block = randomise(FANConvNeXtBlock(12, 3, dict(type='BN'), 0.0)).eval()
    tokens, (height, width) = torch.rand(2, 35, 12), (5, 7)
    with torch.no_grad():
        x = tokens.transpose(1, 2).reshape(2, 12, height, width)
        x = F.conv2d(x, block.conv_dw.weight, block.conv_dw.bias, padding=3, groups=12)
        u = F.layer_norm(
            x.flatten(2).transpose(1, 2), (12,), block.norm.weight, block.norm.bias, 1e-6
        )
        attention = block.channel_attention
        query = F.linear(u, attention.q.weight, attention.q.bias).softmax(1)
        prototype = u.softmax(1).reshape(2, 35, 3, 4).mean(-1)
        similarity = (query.reshape(2, 35, 3, 4) * prototype[..., None]).sum(1)
        gate = similarity.sigmoid() * attention.temperature.reshape(1, 3, 1)
        value = attention.norm_v(attention.mlp(u, (height, width)))
        expected = tokens + block.gamma * gate.reshape(2, 1, 12) * value
        torch.testing.assert_close(block(tokens, (height, width)), expected)


def test_channel_heads_have_32_channels_each():
    with shapes_alone():
        backbone = FANConvNeXt('tiny')
    heads = [stage.blocks[0].channel_attention.num_heads for stage in backbone.layers[:3]]
    assert heads == [3, 6, 12]


def test_initial_values():
    backbone = FANConvNeXt('tiny')
    block = backbone.layers[2].blocks[0]
    for weight in (
        block.conv_dw.weight,
        block.channel_attention.mlp.fc1.weight,
        backbone.layers[0].downsample.reduction.weight,
        backbone.patch_embed.proj.weight,
    ):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert block.gamma.tolist() == pytest.approx([1e-6] * 384)


def test_own_checkpoints_load_and_others_are_refused(tmp_path):
    source = randomise(tiny(out_type='avg_featmap', out_indices=-1))
    torch.save(
        dict(state_dict={f'backbone.{k}': v for k, v in source.state_dict().items()}),
        tmp_path / 'model.pth',
    )
    target = tiny(
        out_indices=(0, 1), init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'model.pth'))
    )
    target.init_weights()
    for name, value in target.state_dict().items():
        if not re.match(r'norm\d', name):
            assert torch.equal(value, source.state_dict()[name]), name
    with pytest.raises(InputError, match=r'is a FANConvNeXt .* the model is a FANSwin'):
        FANSwin(dict(TINY)).load_state_dict(source.state_dict())
    with pytest.raises(InputError, match=r'is a FANSwin .* the model is a FANConvNeXt'):
        tiny().load_state_dict(FANSwin(dict(TINY)).state_dict())
    deeper = FANConvNeXt(dict(TINY, depths=(1, 3, 1, 1)))
    with pytest.raises(InputError, match=r'1\+2\+1\+1 blocks.*1\+3\+1\+1 blocks'):
        deeper.load_state_dict(source.state_dict())


def test_the_attention_is_the_released_one():
    attention = tiny().layers[0].blocks[0].channel_attention
    assert isinstance(attention, EfficientChannelAttention)
    assert attention.mlp.identity


@pytest.mark.parametrize('backbone', [FANConvNeXt, FANSwin, FANHybrid])
def test_a_part_of_a_network_loads_its_own_checkpoint(backbone):
    arch, indices = dict(TINY), (0, 1)
    if backbone is FANHybrid:  # the tapped block is not the last, as in the large one
        arch = dict(embed_dims=16, depth=4, num_heads=2, stem_depths=(1, 1), tap=1)
        indices = (0, 1, 2)
    source, target = (backbone(dict(arch), out_indices=indices) for _ in range(2))
    target.load_state_dict(randomise(source).state_dict())
    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name
