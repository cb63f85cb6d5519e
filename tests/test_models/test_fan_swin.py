"""FAN-Swin reproduces the official code's outputs; what is its own among the staged backbones."""

import numpy as np
import official
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from fan_mm.models import FANSwin
from fan_mm.models.backbones.fan_swin import FANSwinBlock, PatchMerging
from fan_mm.models.checkpoints import DERIVED, to_ours
from fan_mm.models.layers import EfficientChannelAttention
from fan_mm.models.weight_tree import below

TINY = dict(embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8))


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


def test_merging_pads_and_orders_as_swin_does():
    merging = PatchMerging(2)
    merging.norm = nn.Identity()
    merging.reduction.weight = nn.Parameter(torch.eye(8))
    tokens = torch.arange(1.0, 13.0).reshape(1, 6, 2)  # 3 rows, 2 columns
    merged, grid = merging(tokens, (3, 2))
    assert grid == (2, 1)
    # (even row, even column), (odd, even), (even, odd), (odd, odd)
    assert merged[0].tolist() == [[1, 2, 5, 6, 3, 4, 7, 8], [9, 10, 0, 0, 11, 12, 0, 0]]


@pytest.mark.parametrize('identity', [False, True])
def test_the_identity_path_of_segmentation_models(identity):
    backbone = FANSwin(dict(TINY), mlp_identity=identity)
    blocks = [block for stage in backbone.layers[:3] for block in stage.blocks]
    assert {block.channel_attention.mlp.identity for block in blocks} == {identity}


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
