"""FAN-ViT and FAN-Hybrid reproduce the official code's outputs, gradients and sizes."""

import json

import numpy as np
import official
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from reference import fan as literal
from reference import fan_swin as literal_swin
from small_models import shallow

from fan_mm.models import FANHybrid, FANSwin, FANViT
from fan_mm.models.checkpoints import to_official
from fan_mm.models.shapes_alone import shapes_alone

CLASSIFIERS = [
    'fan_tiny_12_p16_224',
    'fan_tiny_8_p4_hybrid',
    'fan_small_12_p4_hybrid',
    'fan_small_12_p16_224_se_attn',
]
DENSE = [
    'seg_fan_tiny_8_p4_hybrid',
    'seg_fan_large_16_p4_hybrid',
    'seg_fan_small_12_p16_224',
    'det_fan_tiny_8_p4_hybrid',
    'stl_det_fan_tiny_8_p4_hybrid',
]


def build(name, **options):
    backbone = MODELS.build({**official.backbone_config(name), **options})
    backbone.load_state_dict(official.state_dict(name))
    return backbone.eval()


def head(name, key='head'):
    state = {k: official.value(k, s) for k, s in official.keys(name).items() if k.startswith(key)}
    return state[f'{key}.weight'], state[f'{key}.bias']


def compare_taps(backbone, golden, images, prefix=''):
    """Every intermediate activation that the golden kept, in the order of the computation."""
    first, taps, remove = backbone.blocks[0], {}, []

    def keep(module, name, view=lambda x: x):
        hook = module.register_forward_hook(lambda _, __, x: taps.update({name: view(x)}))
        remove.append(hook.remove)

    keep(backbone.patch_embed, 'patch_embed', lambda x: x[1].flatten(1, 2))
    keep(backbone.pos_embed, 'pos_embed', lambda x: x.transpose(1, 2).expand(len(images), -1, -1))
    keep(first.token_mixing, 'block0.attn')
    keep(first.channel_attention, 'block0.mlp')
    keep(first.channel_attention.mlp, 'block0.mlp.mlp_v')
    for i, block in enumerate(backbone.blocks):
        keep(block, f'block{i}')
    for i, block in enumerate(backbone.cls_attn_blocks):
        keep(block, f'cls_attn_block{i}', lambda x: torch.cat(x, dim=1))
    if backbone.norm is not None:
        keep(backbone.norm, 'norm')
    outputs = backbone(images)
    for function in remove:
        function()
    compared = 0
    for name, value in taps.items():
        if f'{prefix}tap/{name}/sample' in golden:
            expected = golden[f'{prefix}tap/{name}/sample']
            sample = official.reduced(value.detach(), samples=64)
            if sample.shape == expected.shape:  # the class token's norm alone is shorter
                np.testing.assert_allclose(sample, expected, atol=1e-4, err_msg=name)
                compared += 1
    assert compared >= 7
    return outputs


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_logits(name):
    golden = official.golden(name + '__call_fixed' * ('_se_' in name))
    backbone, images = build(name), official.images(2, 3, 224, 224)
    weight, bias = head(name)
    with torch.no_grad():
        (feature,) = backbone(images)
    np.testing.assert_allclose(F.linear(feature, weight, bias), golden['logits'], atol=2e-5)


def test_activations_of_a_classifier():
    """With gradients enabled, where inference takes short cuts."""
    name = 'fan_tiny_8_p4_hybrid'
    backbone = build(name, out_type='raw')
    golden, images = official.golden(name), official.images(2, 3, 224, 224)
    (tokens,) = compare_taps(backbone, golden, images)
    logits = F.linear(tokens[:, 0], *head(name)).detach()
    np.testing.assert_allclose(logits, golden['logits'], atol=2e-5)


def test_token_labels():
    """The STL models: class logits and one more head on every patch token."""
    name = 'fan_tiny_8_p4_hybrid_token'
    golden, backbone = official.golden(name), build(name, out_type='raw')
    with torch.no_grad():
        (tokens,) = backbone(official.images(2, 3, 224, 224))
    cls_logits = F.linear(tokens[:, 0], *head(name))
    token_logits = F.linear(tokens[:, 1:], *head(name, 'aux_head'))
    np.testing.assert_allclose(cls_logits, golden['cls_logits'], atol=2e-5)
    kept = token_logits[:, [0, 100, 195]]
    np.testing.assert_allclose(kept, golden['token_logits_tok0_100_195'], atol=2e-5)
    assert (token_logits.argmax(-1).numpy() == golden['token_argmax']).all()
    ensemble = cls_logits + 0.5 * token_logits.amax(1)
    np.testing.assert_allclose(ensemble, golden['eval_ensemble_logits'], atol=2e-5)


@pytest.mark.parametrize('size', ['224', '256x320'])
@pytest.mark.parametrize('name', DENSE)
def test_dense_maps(name, size):
    golden, backbone = official.golden(name), build(name)
    images = official.images(*((2, 3, 224, 224) if size == '224' else (1, 3, 256, 320)))
    with torch.no_grad():
        maps = backbone(images)
    assert len(maps) == 4
    for i, x in enumerate(maps):
        assert tuple(x.shape) == tuple(golden[f'{size}/out{i}/shape'])
        expected = golden[f'{size}/out{i}/sample']
        np.testing.assert_allclose(official.reduced(x), expected, atol=1e-4, err_msg=f'{i}')
        for statistic, value in (
            ('mean', x.double().mean()),
            ('std', x.double().std(correction=0)),
        ):
            assert value.item() == pytest.approx(golden[f'{size}/out{i}/{statistic}'], abs=1e-5)


def test_activations_of_a_dense_model():
    name = 'seg_fan_tiny_8_p4_hybrid'
    backbone, images = build(name), official.images(1, 3, 256, 320)
    for block in backbone.cls_attn_blocks:
        block.forward = lambda *_: pytest.fail('class attention was computed for nothing')
    with torch.no_grad():
        compare_taps(backbone, official.golden(name), images, '256x320/')


def test_stem_variance_matters():
    """The switch works, and the released weights need its default (spec 2.2)."""
    name = 'fan_tiny_8_p4_hybrid'
    with torch.no_grad():
        (feature,) = build(name, unbiased_stem_norm=False)(official.images(2, 3, 224, 224))
    error = F.linear(feature, *head(name)).numpy() - official.golden(name)['logits']
    assert 3e-3 < np.abs(error).max() < 3e-2


def test_training_gradients():
    """One training-mode step in float64: loss, every gradient's norm, batch-norm statistics."""
    name = 'fan_tiny_8_p4_hybrid'
    golden = json.loads((official.DATA / f'golden/train_float64_{name}.json').read_text())
    backbone = build(name).double().train()
    weight, bias = (t.double().requires_grad_() for t in head(name))
    (feature,) = backbone(official.images(2, 3, 224, 224).double())
    logits = F.linear(feature, weight, bias)
    loss = F.cross_entropy(logits, torch.tensor([3, 7]))
    loss.backward()
    assert loss.item() == pytest.approx(golden['loss'], abs=1e-9)
    assert logits.norm().item() == pytest.approx(golden['logits_norm'], rel=1e-9)
    np.testing.assert_allclose(logits[:, :8].detach(), golden['logits_first8'], atol=1e-8)
    gradients = {to_official(k): p.grad for k, p in backbone.named_parameters()}
    gradients.update({'head.weight': weight.grad, 'head.bias': bias.grad})
    assert gradients.keys() == golden['grad_l2'].keys()
    for key, expected in golden['grad_l2'].items():
        assert gradients[key].norm().item() == pytest.approx(expected, rel=1e-6, abs=1e-12), key
    buffers = {to_official(k): b for k, b in backbone.named_buffers()}
    for key, expected in golden['running_stats_after'].items():
        assert buffers[key].mean().item() == pytest.approx(expected['mean'], rel=1e-8), key
        assert buffers[key].norm().item() == pytest.approx(expected['norm'], rel=1e-8), key


@pytest.mark.parametrize('name', [n for n in official.BACKBONES if 'swin' not in n.lower()])
def test_parameter_counts(name):
    """Those of spec section 1: what a classifier has, down to the last parameter."""
    classifier = not official.dense(name)
    with shapes_alone():
        config = official.backbone_config(name)
        backbone = MODELS.build(config)
        count = sum(p.numel() for p in backbone.parameters())
        if classifier:
            heads = 1 + name.endswith('_token')
            count += heads * (backbone.embed_dims + 1) * 1000
        else:  # what class attention has for the class token only is not made
            whole = MODELS.build(dict(type=config['type'], arch=config['arch'], out_type='raw'))
            count += sum(
                p.numel()
                for key, p in whole.named_parameters()
                if key.startswith('cls_') and key not in backbone.state_dict()
            )
    assert count == official.VARIANTS[name]['parameters']


@pytest.mark.parametrize(
    ('backbone', 'arch', 'options'),
    [
        (FANHybrid, 'xlarge', {}),
        (FANHybrid, 'base', dict(channel_attention='csa')),
        (FANViT, 'base', {}),
        (FANHybrid, 'tiny', dict(paired_frequencies=False, unbiased_stem_norm=False)),
    ],
)
def test_models_without_a_golden_equal_the_literal_reference(backbone, arch, options):
    """With all widths of the variant and few of its blocks."""
    torch.manual_seed(0)
    arch = zoo = shallow(dict(type=backbone.__name__, arch=arch))['arch']
    raw = backbone(arch, out_type='raw', **options).eval()
    state = raw.state_dict()
    for key, value in state.items():  # layer scales of 1e-6 and equal heads would hide mistakes
        if value.is_floating_point():
            state[key] = official.value(key, list(value.shape))
    raw.load_state_dict(state)
    taps = (zoo.get('tap', zoo['depth'] - 1),) if backbone is FANHybrid else (0, zoo['depth'] - 1)
    stages = len(zoo.get('stem_depths', ()))
    indices = (*range(stages), *(stages if backbone is FANHybrid else t for t in taps), -1)
    dense = backbone(arch, out_indices=indices, **options).eval()
    dense.load_state_dict(state)
    heads = zoo['num_heads'], zoo.get('widen', zoo)['num_heads']
    switches = {'paired': options.get('paired_frequencies', True)}
    switches['unbiased'] = options.get('unbiased_stem_norm', True)
    official_state = {to_official(key): value for key, value in state.items()}
    images = official.images(2, 3, 48, 80)
    with torch.no_grad():
        maps, tokens = literal.forward(official_state, images, heads, taps, **switches)
        expected = literal.layer_norm(tokens, literal.below(official_state, 'norm.'), 1e-6)
        torch.testing.assert_close(raw(images)[0], expected, atol=2e-5, rtol=1e-5)
        for x, y in zip(dense(images), maps, strict=True):
            torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('size', [(64, 96), (37, 250)])
def test_fan_swin_equals_its_literal_reference(size, training):
    arch = dict(embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8))
    backbone = FANSwin(arch, out_indices=(0, 1, 2, 3), drop_path_rate=0.0).train(training)
    state = {k: official.value(k, list(v.shape)) for k, v in backbone.state_dict().items()}
    backbone.load_state_dict(state)
    parameters = {to_official(key): value for key, value in state.items()}
    images = official.images(2, 3, *size)
    with torch.no_grad():
        expected = literal_swin.forward(parameters, images, training=training)
        for x, y in zip(backbone(images), expected, strict=True):
            torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)
