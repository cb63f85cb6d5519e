"""FAN-ConvNeXt: ConvNeXt around the channel attention, and the contract of the other backbones."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fan_mm.errors import InputError
from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin
from fan_mm.models.backbones.fan_convnext import FANConvNeXtBlock
from fan_mm.models.layers import EfficientChannelAttention, Mlp

ARCHS = list(FANConvNeXt.arch_zoo)
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


def randomise(module):
    """Weights away from their trivial initial values."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


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


@pytest.mark.parametrize('arch', ARCHS)
def test_every_arch(arch):
    with torch.device('meta'):
        backbone = FANConvNeXt(arch, out_indices=(0, 1, 2, 3))
        classifier = MODELS.build(dict(type='FANConvNeXt', arch=arch, out_type='avg_featmap'))
        width = FANConvNeXt.arch_zoo[arch]['embed_dims']
        for height, length in ((64, 96), (37, 50)):
            maps = backbone(torch.empty(2, 3, height, length))
            for i, x in enumerate(maps):
                stride = 4 * 2**i
                expected = (2, width * 2**i, -(-height // stride), -(-length // stride))
                assert tuple(x.shape) == expected
            assert backbone.out_channels == tuple(x.shape[1] for x in maps)
        assert classifier(torch.empty(2, 3, 64, 64))[0].shape == (2, 8 * width)


def test_out_types_and_indices():
    images = torch.rand(2, 3, 50, 70)
    raw, average = (tiny(out_type=kind, out_indices=-1).eval() for kind in ('raw', 'avg_featmap'))
    average.load_state_dict(randomise(raw).state_dict())
    assert raw(images)[0].shape == (2, 6, 128)
    last = raw.layers[-1]
    taps = []
    last.register_forward_hook(lambda *call: taps.append(call[-1]))
    raw(images)
    torch.testing.assert_close(raw(images)[0], raw.norm(taps[0]))
    torch.testing.assert_close(average(images)[0], raw.norm(taps[0].mean(1)))
    second = tiny(out_indices=1)
    assert len(second.layers) == 2
    assert list(dict(second.named_children())) == ['patch_embed', 'layers', 'norm1']


def test_padding_of_the_image_and_of_downsampling():
    backbone = randomise(tiny()).eval()
    image = torch.rand(1, 3, 30, 45)
    padded = torch.zeros(1, 3, 32, 48)
    padded[:, :, :30, :45] = image
    with torch.no_grad():
        for a, b in zip(backbone(image), backbone(padded), strict=True):
            torch.testing.assert_close(a, b)
    with pytest.raises(InputError, match='images of 3x40 pixels: a token is 4x4'):
        backbone(torch.rand(1, 3, 3, 40))
    assert backbone(torch.rand(2, 3, 4, 4))[3].shape == (2, 128, 1, 1)


def test_where_the_channel_attention_is():
    backbone = FANConvNeXt('tiny')
    blocks = [stage.blocks[0] for stage in backbone.layers]
    assert [type(b.mlp).__name__ for b in blocks] == ['NoneType', 'NoneType', 'NoneType', 'Mlp']
    assert [b.channel_attention.num_heads for b in blocks[:3]] == [3, 6, 12]  # 32 channels each
    assert tiny(channel_heads=8).layers[1].blocks[0].channel_attention.num_heads == 8


def test_initial_values():
    backbone = FANConvNeXt('tiny', drop_path_rate=0.6)
    block = backbone.layers[2].blocks[0]
    for weight in (
        block.conv_dw.weight,
        block.channel_attention.mlp.fc1.weight,
        backbone.layers[0].downsample.reduction.weight,
        backbone.patch_embed.proj.weight,
    ):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert block.gamma.tolist() == pytest.approx([1e-6] * 384)
    rates = [b.drop_path.drop_prob for stage in backbone.layers for b in stage.blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.6, 18), atol=1e-6)


def test_checkpointing_changes_nothing():
    models = [tiny(with_cp=with_cp).train() for with_cp in (False, True)]
    randomise(models[0])
    models[1].load_state_dict(models[0].state_dict())
    images = torch.rand(2, 3, 64, 64)
    for model in models:
        sum(x.square().mean() for x in model(images)).backward()
    buffers = dict(models[1].named_buffers())
    for name, parameter in models[0].named_parameters():
        other = dict(models[1].named_parameters())[name]
        torch.testing.assert_close(parameter.grad, other.grad, msg=name)
    for name, value in models[0].named_buffers():
        torch.testing.assert_close(value, buffers[name], msg=name)


@pytest.mark.parametrize(
    'options', [dict(), dict(out_indices=2), dict(out_type='avg_featmap', out_indices=3)]
)
def test_a_training_step_reaches_every_parameter(options):
    backbone = tiny(**options).train()
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1, foreach=False)
    sum(x.square().sum() for x in backbone(torch.rand(2, 3, 64, 64))).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    before = backbone.layers[0].blocks[0].gamma.detach().clone()
    optimizer.step()
    assert not torch.equal(backbone.layers[0].blocks[0].gamma, before)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 4])
def test_frozen_stages_and_norm_eval(frozen_stages):
    backbone = tiny(frozen_stages=frozen_stages).train()
    frozen = {k for k, parameter in backbone.named_parameters() if not parameter.requires_grad}
    prefixes = ['patch_embed.'] if frozen_stages >= 0 else []
    for i in range(max(0, frozen_stages)):
        prefixes += [f'layers.{i}.', f'norm{i}.']
    assert frozen == {k for k, _ in backbone.named_parameters() if k.startswith(tuple(prefixes))}
    for i, stage in enumerate(backbone.layers):
        assert stage.blocks[0].norm.training == (i >= frozen_stages)
    norms = [m for m in tiny(norm_eval=True).train().modules() if isinstance(m, _BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)


def test_layer_depth():
    backbone = FANConvNeXt('tiny', out_indices=(0, 1, 2, 3))
    depths = {}
    for name, _ in backbone.named_parameters():
        depth, total = backbone.get_layer_depth(f'backbone.{name}', 'backbone.')
        assert total == 20
        depths['.'.join(name.split('.')[:4])] = depth
    assert depths['patch_embed.proj.weight'] == 0
    assert depths['layers.0.blocks.0'] == 1
    assert depths['layers.0.downsample.norm'] == 3
    assert depths['layers.3.blocks.2'] == 18
    assert depths['norm2.weight'] == 19
    assert backbone.get_layer_depth('head.fc.weight', 'backbone.') == (19, 20)


def test_copies_pickles_and_bfloat16():
    backbone = randomise(tiny()).eval()
    images = torch.rand(1, 3, 40, 40)
    with torch.no_grad():
        expected = backbone(images)
        for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
            for a, b in zip(other(images), expected, strict=True):
                assert torch.equal(a, b)
    with torch.autocast('cpu', torch.bfloat16):
        loss = sum(x.float().square().mean() for x in backbone.train()(images))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad.isfinite().all() for p in backbone.parameters())


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


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='huge'), "no arch 'huge'; choose from tiny, small, base, large"),
        (dict(arch=dict(embed_dims=8)), 'arch of FANConvNeXt needs .* missing: depths, num_heads'),
        (dict(out_type='cls_token'), 'FANConvNeXt has no class token'),
        (dict(out_indices=4), r'0\.\.3, not 4'),
        (dict(channel_heads=7), 'not a multiple of 7 heads'),
        (dict(frozen_stages=5), r'-1\.\.4, not 5'),
    ],
)
def test_mistakes_are_explained_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as error:
        FANConvNeXt(**{'arch': dict(TINY), **options})
    assert '\n' not in str(error.value)


def test_the_attention_is_the_released_one():
    attention = FANConvNeXt('tiny').layers[0].blocks[0].channel_attention
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
