"""FAN-Swin and FAN-ConvNeXt as backbones: every size, mmpretrain's contract, mistakes."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from small_models import randomise
from torch.nn.modules.batchnorm import _BatchNorm

from fan_mm.errors import InputError
from fan_mm.models import FANConvNeXt, FANSwin
from fan_mm.models.shapes_alone import shapes_alone

TINY = dict(embed_dims=16, depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8))
FAMILIES = [FANSwin, FANConvNeXt]
both = pytest.mark.parametrize('backbone', FAMILIES)


def tiny(backbone, **options):
    torch.manual_seed(0)
    options = {'out_indices': (0, 1, 2, 3), 'drop_path_rate': 0.0, **options}
    return backbone(dict(TINY), **options)


@pytest.mark.parametrize(
    ('backbone', 'arch'), [(backbone, arch) for backbone in FAMILIES for arch in backbone.arch_zoo]
)
def test_every_arch(backbone, arch):
    width = backbone.arch_zoo[arch]['embed_dims']
    with shapes_alone():
        maps_of = backbone(arch, out_indices=(0, 1, 2, 3))
        name = backbone.__name__
        classifier = MODELS.build(dict(type=name, arch=arch, out_type='avg_featmap'))
    height, length = 37, 50
    images = torch.empty(2, 3, height, length, device='meta')
    maps = maps_of(images)
    for i, x in enumerate(maps):
        stride = 4 * 2**i
        assert x.shape == (2, width * 2**i, -(-height // stride), -(-length // stride))
    assert maps_of.out_channels == tuple(x.shape[1] for x in maps)
    assert classifier(images)[0].shape == (2, 8 * width)


@both
def test_out_types_and_indices(backbone):
    images = torch.rand(2, 3, 50, 70)
    raw, average = (
        tiny(backbone, out_type=kind, out_indices=-1).eval() for kind in ('raw', 'avg_featmap')
    )
    average.load_state_dict(randomise(raw).state_dict())
    taps = []
    raw.layers[-1].register_forward_hook(lambda *call: taps.append(call[-1]))
    (tokens,) = raw(images)
    assert tokens.shape == (2, 2 * 3, 128)
    torch.testing.assert_close(tokens, raw.norm(taps[0]))
    if backbone is FANSwin:
        expected = tokens.mean(1)
    else:  # ConvNeXt averages before its norm
        expected = raw.norm(taps[0].mean(1))
    torch.testing.assert_close(average(images)[0], expected)
    maps = tiny(backbone).eval()(images)
    assert [tuple(x.shape[2:]) for x in maps] == [(13, 18), (7, 9), (4, 5), (2, 3)]
    last = tiny(backbone, out_indices=-1).eval()
    last.load_state_dict(tiny(backbone).state_dict())
    torch.testing.assert_close(last(images)[0], maps[3])
    second = tiny(backbone, out_indices=1)
    assert len(second.layers) == 2
    assert second.layers[1].downsample is None
    assert list(dict(second.named_children())) == ['patch_embed', 'layers', 'norm1']


@both
def test_images_are_padded_to_whole_tokens(backbone):
    module = randomise(tiny(backbone)).eval()
    image = torch.rand(1, 3, 30, 45)
    padded = torch.zeros(1, 3, 32, 48)
    padded[:, :, :30, :45] = image
    with torch.no_grad():
        for a, b in zip(module(image), module(padded), strict=True):
            torch.testing.assert_close(a, b)


@both
def test_images_smaller_than_a_token_are_refused(backbone):
    with pytest.raises(InputError, match='images of 3x40 pixels: a token is 4x4'):
        tiny(backbone)(torch.rand(1, 3, 3, 40))
    assert tiny(backbone)(torch.rand(2, 3, 4, 4))[3].shape == (2, 128, 1, 1)


@both
def test_the_last_stage_has_an_ordinary_mlp(backbone):
    blocks = [stage.blocks[0] for stage in tiny(backbone).layers]
    assert [type(b.mlp).__name__ for b in blocks] == ['NoneType', 'NoneType', 'NoneType', 'Mlp']
    assert [block.channel_attention.num_heads for block in blocks[:3]] == [1, 2, 4]
    other = tiny(backbone, channel_heads=8)
    assert {stage.blocks[0].channel_attention.num_heads for stage in other.layers[:3]} == {8}


@both
def test_drop_path_rises_linearly(backbone):
    module = tiny(backbone, drop_path_rate=0.6)
    rates = [block.drop_path.drop_prob for stage in module.layers for block in stage.blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.6, 5), atol=1e-6)


@both
def test_checkpointing_changes_nothing(backbone):
    models = [tiny(backbone, with_cp=with_cp).train() for with_cp in (False, True)]
    randomise(models[0])
    models[1].load_state_dict(models[0].state_dict())
    images = torch.rand(2, 3, 64, 64)
    for model in models:
        sum(x.square().mean() for x in model(images)).backward()
    others, buffers = dict(models[1].named_parameters()), dict(models[1].named_buffers())
    for name, parameter in models[0].named_parameters():
        torch.testing.assert_close(parameter.grad, others[name].grad, msg=name)
    for name, value in models[0].named_buffers():
        torch.testing.assert_close(value, buffers[name], msg=name)


@both
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(out_indices=2),
        dict(out_type='avg_featmap', out_indices=3),
        dict(channel_heads=8),
    ],
    ids=str,
)
def test_a_training_step_reaches_every_parameter(backbone, options):
    module = tiny(backbone, **options).train()
    sum(x.square().sum() for x in module(torch.rand(2, 3, 64, 64))).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    before = module.patch_embed.proj.weight.detach().clone()
    torch.optim.SGD(module.parameters(), lr=0.1, foreach=False).step()
    assert not torch.equal(module.patch_embed.proj.weight, before)


@both
@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 4])
def test_frozen_stages(backbone, frozen_stages):
    module = tiny(backbone, frozen_stages=frozen_stages).train()
    frozen = {k for k, parameter in module.named_parameters() if not parameter.requires_grad}
    prefixes = ['patch_embed.'] if frozen_stages >= 0 else []
    for i in range(max(0, frozen_stages)):
        prefixes += [f'layers.{i}.', f'norm{i}.']
    assert frozen == {k for k, _ in module.named_parameters() if k.startswith(tuple(prefixes))}
    assert module.patch_embed.training == (frozen_stages < 0)
    assert module.layers.training
    for i, stage in enumerate(module.layers):
        parts = [stage, *stage.modules(), getattr(module, f'norm{i}')]
        assert {part.training for part in parts} == {i >= frozen_stages}
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    sum(x.sum() for x in module(torch.rand(1, 3, 32, 32)))
    changed = {k for k, b in module.named_buffers() if not torch.equal(b, before[k])}
    assert not {k for k in changed if k.startswith(tuple(prefixes) or 'none')}
    assert bool(changed) == (frozen_stages < 4)
    assert not any(part.training for part in module.eval().modules())


@both
def test_norm_eval(backbone):
    module = tiny(backbone, norm_eval=True).train()
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert module.layers[0].training


@pytest.mark.parametrize(
    ('backbone', 'total', 'expected'),
    [
        (FANSwin, 14, {'layers.0.downsample.norm': 2, 'layers.1.blocks.0': 3}
            | {'layers.3.blocks.1': 12, 'norm2.weight': 13}),
        (FANConvNeXt, 20, {'layers.0.downsample.norm': 3, 'layers.1.blocks.0': 4}
            | {'layers.3.blocks.2': 18, 'norm2.weight': 19}),
    ],
)  # fmt: skip
def test_layer_depth(backbone, total, expected):
    with shapes_alone():
        module = backbone('tiny', out_indices=(0, 1, 2, 3))
    depths = {}
    for name, _ in module.named_parameters():
        depth, count = module.get_layer_depth(f'backbone.{name}', 'backbone.')
        assert count == total
        depths['.'.join(name.split('.')[:4])] = depth
    expected = {'patch_embed.proj.weight': 0, 'layers.0.blocks.0': 1, **expected}
    assert {name: depths[name] for name in expected} == expected
    assert module.get_layer_depth('head.weight', 'backbone.') == (total - 1, total)
    assert sorted(set(depths.values())) == list(range(total))


@both
def test_copies_pickles_and_bfloat16(backbone):
    module = randomise(tiny(backbone)).eval()
    images = torch.rand(1, 3, 40, 40)
    with torch.no_grad():
        expected = module(images)
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            for a, b in zip(other(images), expected, strict=True):
                assert torch.equal(a, b)
    with torch.autocast('cpu', torch.bfloat16):
        loss = sum(x.float().square().mean() for x in module.train()(images))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad.isfinite().all() for p in module.parameters())


@both
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='huge'), "no arch 'huge'; choose from tiny, small, base, large"),
        (dict(arch=dict(embed_dims=8)), 'needs .* missing: depths, num_heads; unknown: none'),
        (dict(arch=dict(TINY, depths=(1, 1))), 'differ in length'),
        (
            dict(arch=dict(TINY, embed_dims=10, num_heads=(1, 2, 3, 8))),
            'stage 2 .* 40 channels are not a multiple of 3',
        ),
        (dict(channel_heads=7), 'not a multiple of 7 heads'),
        (dict(channel_heads=0), 'channel_heads must be a positive number or None, not 0'),
        (dict(out_type='cls_token'), 'has no class token'),
        (dict(out_type='map'), "must be one of featmap, avg_featmap, raw, not 'map'"),
        (dict(out_indices=4), r'0\.\.3, not 4'),
        (dict(out_indices=(1, 0)), 'ascending'),
        (dict(out_indices=()), r'0\.\.3'),
        (dict(out_type='raw', out_indices=(0, 3)), 'only available for the last stage'),
        (dict(frozen_stages=5), r'-1\.\.4, not 5'),
    ],
)
def test_mistakes_are_explained_in_one_line(backbone, options, message):
    with pytest.raises(InputError, match=message) as error:
        backbone(**{'arch': dict(TINY), **options})
    assert '\n' not in str(error.value)
