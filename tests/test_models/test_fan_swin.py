import copy
import pickle

import numpy as np
import official
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fan_mm.errors import InputError
from fan_mm.models import FANSwin
from fan_mm.models.backbones.fan_swin import FANSwinBlock, PatchMerging
from fan_mm.models.checkpoints import DERIVED, below, to_ours
from fan_mm.models.layers import EfficientChannelAttention

ARCHS = ['tiny', 'small', 'base', 'large']
TINY = dict(embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8))


def tiny(**options):
    torch.manual_seed(0)
    options = {'out_indices': (0, 1, 2, 3), 'drop_path_rate': 0.0, **options}
    return FANSwin(dict(TINY), **options)


def randomise(module):
    """Weights away from their trivial initial values."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def test_classification_golden():
    name = 'fan_swin_tiny_patch4_window7_224'
    golden, state = official.golden(name), official.state_dict(name)
    backbone = MODELS.build(official.backbone_config(name)).eval()
    backbone.load_state_dict(state, strict=True)
    taps = {}
    backbone.norm.register_forward_hook(lambda _, __, out: taps.update(norm=out))
    for i, stage in enumerate(backbone.layers):
        stage.blocks[0].register_forward_hook(
            lambda _, __, out, i=i: taps.update({f'layer{i}.block0': out})
        )
    with torch.no_grad():
        (feature,) = backbone(official.images(2, 3, 224, 224))
        logits = feature @ state['head.weight'].T + state['head.bias']
    np.testing.assert_allclose(logits.numpy(), golden['logits'], atol=2e-5)
    assert len(taps) == 5
    for tap, value in taps.items():
        assert tuple(value.shape) == tuple(golden[f'tap/{tap}/shape'])
        sample = official.reduced(value, samples=64)
        np.testing.assert_allclose(sample, golden[f'tap/{tap}/sample'], atol=1e-4)


@pytest.mark.parametrize('size', ['224', '256x320'])
def test_segmentation_golden(size):
    name = 'seg_FANSwinTransformer'
    golden = official.golden(name)
    backbone = MODELS.build(official.backbone_config(name)).eval()
    backbone.load_state_dict(official.state_dict(name), strict=True)
    shape = (2, 3, 224, 224) if size == '224' else (1, 3, 256, 320)
    with torch.no_grad():
        maps = backbone(official.images(*shape))
    for i, x in enumerate(maps):
        assert tuple(x.shape) == tuple(golden[f'{size}/out{i}/shape'])
        sample = official.reduced(x)
        np.testing.assert_allclose(sample, golden[f'{size}/out{i}/sample'], atol=1e-4)
        assert x.double().std(correction=0).item() == pytest.approx(
            golden[f'{size}/out{i}/std'].item(), rel=1e-5
        )


def unit_module(name, module, prefix):
    """Load a unit's parameters and compare its output, to 1e-6 of its scale."""
    arrays = official.golden('unit_modules')
    state = {}
    for key in arrays:
        if key.startswith(f'{name}/param/'):
            official_name = key.removeprefix(f'{name}/param/')
            ours = to_ours(f'{prefix}{official_name}').removeprefix('layers.0.blocks.0.')
            if not ours.endswith(DERIVED):
                state[ours] = torch.from_numpy(np.asarray(arrays[key]))
    if isinstance(module, EfficientChannelAttention):
        state = below('channel_attention.', state)
    module.load_state_dict(state, strict=True)
    tokens = torch.from_numpy(arrays[f'{name}/input'])
    side = {15: (3, 5), 196: (14, 14)}[tokens.shape[1]]
    with torch.no_grad():
        out = module.eval()(tokens, side).numpy()
    expected = arrays[f'{name}/output']
    np.testing.assert_allclose(out, expected, atol=1e-6 * max(1, np.abs(expected).max()), rtol=0)


@pytest.mark.parametrize(
    ('name', 'heads', 'identity'),
    [('swin_channel_processing', 4, False), ('seg_swin_channel_processing', 8, True)],
)
def test_channel_attention_units(name, heads, identity):
    module = EfficientChannelAttention(32, heads, 64, dict(type='BN'), identity)
    unit_module(name, module, 'layers.0.blocks.0.mlp.')


@pytest.mark.parametrize(('name', 'shift'), [('swin_block_shifted', 3), ('eps_swin_block', 0)])
def test_block_units(name, shift):
    module = FANSwinBlock(32, 4, shift, False, 4, False, dict(type='BN'), 0.0)
    unit_module(name, module, 'layers.0.blocks.0.')


@pytest.mark.parametrize('arch', ARCHS)
def test_every_arch(arch):
    zoo = FANSwin.arch_zoo[arch]
    with torch.device('meta'):
        backbone = FANSwin(arch, out_indices=(0, 1, 2, 3))
        classifier = FANSwin(arch, out_type='avg_featmap')
        width = zoo['embed_dims']
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
    outputs = {}
    for out_type in ('avg_featmap', 'raw'):
        torch.manual_seed(0)
        (outputs[out_type],) = FANSwin(dict(TINY), out_type=out_type).eval()(images)
    assert outputs['raw'].shape == (2, 2 * 3, 128)
    torch.testing.assert_close(outputs['raw'].mean(1), outputs['avg_featmap'])
    maps = tiny().eval()(images)
    assert [tuple(x.shape[2:]) for x in maps] == [(13, 18), (7, 9), (4, 5), (2, 3)]
    last = tiny(out_indices=-1).eval()
    last.load_state_dict(tiny().state_dict())
    torch.testing.assert_close(last(images)[0], maps[3])
    second = tiny(out_indices=1)
    assert len(second.layers) == 2
    assert second.layers[1].downsample is None
    assert list(dict(second.named_children())) == ['patch_embed', 'layers', 'norm1']


def test_padding_of_the_image_and_of_merging():
    backbone = randomise(tiny()).eval()
    image = torch.rand(1, 3, 30, 45)
    padded = torch.zeros(1, 3, 32, 48)
    padded[:, :, :30, :45] = image
    with torch.no_grad():
        for a, b in zip(backbone(image), backbone(padded), strict=True):
            torch.testing.assert_close(a, b)
    merging = PatchMerging(2)
    merging.norm = nn.Identity()
    merging.reduction.weight = nn.Parameter(torch.eye(8))
    tokens = torch.arange(1.0, 13.0).reshape(1, 6, 2)  # 3 rows, 2 columns
    merged, grid = merging(tokens, (3, 2))
    assert grid == (2, 1)
    # (even row, even column), (odd, even), (even, odd), (odd, odd)
    assert merged[0].tolist() == [[1, 2, 5, 6, 3, 4, 7, 8], [9, 10, 0, 0, 11, 12, 0, 0]]


def test_the_last_stage_has_an_ordinary_mlp():
    backbone = tiny()
    kinds = [type(stage.blocks[0].mlp).__name__ for stage in backbone.layers]
    assert kinds == ['NoneType', 'NoneType', 'NoneType', 'Mlp']
    heads = [stage.blocks[0].channel_attention.num_heads for stage in backbone.layers[:3]]
    assert heads == [1, 2, 4]
    segmentation = tiny(channel_heads=8, mlp_identity=True)
    assert {s.blocks[1].channel_attention.num_heads for s in segmentation.layers[:3]} == {8}
    assert all(s.blocks[1].channel_attention.mlp.identity for s in segmentation.layers[:3])


def test_drop_path_rises_linearly():
    rates = [
        block.drop_path.drop_prob
        for stage in tiny(drop_path_rate=0.7).layers
        for block in stage.blocks
    ]
    np.testing.assert_allclose(rates, np.linspace(0, 0.7, 8), atol=1e-6)


def test_checkpointing_changes_nothing():
    models = [tiny(with_cp=with_cp).train() for with_cp in (False, True)]
    randomise(models[0])
    models[1].load_state_dict(models[0].state_dict())
    images = torch.rand(2, 3, 64, 64)
    for model in models:
        sum(x.square().mean() for x in model(images)).backward()
    buffers = [dict(model.named_buffers()) for model in models]
    for name, parameter in models[0].named_parameters():
        other = dict(models[1].named_parameters())[name]
        torch.testing.assert_close(parameter.grad, other.grad, msg=name)
    for name, value in buffers[0].items():
        torch.testing.assert_close(value, buffers[1][name], msg=name)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(out_indices=2),
        dict(out_type='avg_featmap', out_indices=3),
        dict(channel_heads=8),
    ],
)
def test_every_parameter_gets_a_gradient(options):
    backbone = tiny(**options).train()
    sum(x.square().sum() for x in backbone(torch.rand(2, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 4])
def test_frozen_stages(frozen_stages):
    backbone = tiny(frozen_stages=frozen_stages).train()
    frozen = {k for k, parameter in backbone.named_parameters() if not parameter.requires_grad}
    prefixes = ['patch_embed.'] if frozen_stages >= 0 else []
    for i in range(max(0, frozen_stages)):
        prefixes += [f'layers.{i}.', f'norm{i}.']
    assert frozen == {k for k, _ in backbone.named_parameters() if k.startswith(tuple(prefixes))}
    for i, stage in enumerate(backbone.layers):
        assert stage.blocks[0].norm1.training == (i >= frozen_stages)
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    sum(x.sum() for x in backbone(torch.rand(1, 3, 32, 32)))
    changed = {k for k, b in backbone.named_buffers() if not torch.equal(b, before[k])}
    assert not {k for k in changed if k.startswith(tuple(prefixes) or 'none')}
    assert bool(changed) == (frozen_stages < 4)


def test_norm_eval():
    backbone = tiny(norm_eval=True).train()
    norms = [m for m in backbone.modules() if isinstance(m, _BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert backbone.layers[0].training


def test_layer_depth():
    backbone = FANSwin('tiny', out_indices=(0, 1, 2, 3))
    depths = {}
    for name, _ in backbone.named_parameters():
        depth, total = backbone.get_layer_depth(f'backbone.{name}', 'backbone.')
        assert total == 14
        depths['.'.join(name.split('.')[:4])] = depth
    assert depths['patch_embed.proj.weight'] == 0
    assert depths['layers.0.blocks.0'] == 1
    assert depths['layers.0.downsample.norm'] == 2
    assert depths['layers.1.blocks.0'] == 3
    assert depths['layers.3.blocks.1'] == 12
    assert depths['norm2.weight'] == 13
    assert backbone.get_layer_depth('decode_head.conv.weight', 'backbone.') == (13, 14)
    assert sorted(set(depths.values())) == list(range(14))


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


def test_initial_values():
    backbone = FANSwin('tiny', out_indices=(0, 1, 2, 3))
    block = backbone.layers[2].blocks[0]
    table = block.token_mixing.relative_position_bias_table
    conv = block.channel_attention.mlp.dwconv.conv1
    for weight, std in (
        (block.token_mixing.qkv.weight, 0.02),
        (table, 0.02),
        (backbone.layers[0].downsample.reduction.weight, 0.02),
        (conv.weight, (2 / 9) ** 0.5),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.1)
    assert not block.token_mixing.qkv.bias.any()
    assert not conv.bias.any()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='huge'), "no arch 'huge'; choose from tiny, small, base, large"),
        (dict(arch=dict(embed_dims=8)), 'missing: depths, num_heads; unknown: none'),
        (dict(arch=dict(TINY, depths=(1, 1))), 'differ in length'),
        (dict(arch=dict(TINY, embed_dims=10)), 'stage 2 .* 40 channels are not a multiple of 4'),
        (dict(channel_heads=7), 'not a multiple of 7 heads'),
        (dict(out_type='cls_token'), 'no class token'),
        (dict(out_type='map'), "must be one of featmap, avg_featmap, raw, not 'map'"),
        (dict(out_indices=4), r'0\.\.3, not 4'),
        (dict(out_indices=(1, 0)), 'ascend'),
        (dict(out_indices=()), r'0\.\.3'),
        (dict(out_type='raw', out_indices=(0, 3)), 'last stage only'),
        (dict(frozen_stages=5), r'-1\.\.4, not 5'),
    ],
)
def test_mistakes_are_explained_in_one_line(options, message):
    if isinstance(options.get('arch'), dict) and options['arch'].get('embed_dims') == 10:
        options['arch']['num_heads'] = (1, 2, 3, 8)
        message = 'stage 2 .* 40 channels are not a multiple of 3'
    with pytest.raises(InputError, match=message) as error:
        FANSwin(**{'arch': dict(TINY), **options})
    assert '\n' not in str(error.value)


def test_images_smaller_than_a_token_are_refused():
    with pytest.raises(InputError, match='images of 3x40 pixels: a token is 4x4'):
        tiny()(torch.rand(1, 3, 3, 40))
    assert tiny()(torch.rand(2, 3, 4, 4))[3].shape == (2, 128, 1, 1)
