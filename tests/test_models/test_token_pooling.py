"""Token-aware average pooling against the official numbers and the literal formula."""

import copy

import numpy as np
import official
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from reference import tap as literal
from reference.memory import peak_memory
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fan_mm.analysis.features import block_names, record_tokens
from fan_mm.errors import InputError
from fan_mm.models import FANHybrid, FANViT
from fan_mm.models.checkpoints import to_official
from fan_mm.models.layers import TokenPooling, as_map, as_tokens

VIT = dict(embed_dims=16, depth=2, num_heads=2)
HYBRID = dict(VIT, stem_depths=(1, 1), stem_channels=(8, 12))
WIDENED = dict(HYBRID, widen=dict(after=0, embed_dims=24, num_heads=3))
SMALL = [(FANViT, VIT), (FANHybrid, HYBRID), (FANHybrid, WIDENED)]
SMALL_IDS = ['vit', 'hybrid', 'widened']
UNITS = [(grid, mode) for grid in ('grid3x5', 'grid6x4', 'grid1x1') for mode in ('eval', 'train')]


def randomised(module, std=0.3):
    """Weights away from their initial values."""
    torch.manual_seed(1)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            nn.init.normal_(tensor, std=std)
            if name.endswith('running_var'):
                tensor.abs_().add_(0.5)
    return module


def make(backbone, arch, **options):
    torch.manual_seed(0)
    return randomised(backbone(copy.deepcopy(arch), **dict(dict(token_pooling=3), **options)), 0.2)


@pytest.mark.parametrize(('grid', 'mode'), UNITS)
def test_official_units(grid, mode):
    """Output, gradients and batch statistics in float64, non-square grids among them."""
    golden = official.golden('tap_units')
    unit = {k.removeprefix(f'{grid}/{mode}/'): v for k, v in golden.items() if grid in k}
    sides = tuple(map(int, grid.removeprefix('grid').split('x')))
    pooling = TokenPooling(32, 4).double().train(mode == 'train')
    prefix = 'param/dilation_predictor.proj.'
    pooling.predictor.load_state_dict(
        {k.removeprefix(prefix): torch.tensor(v) for k, v in unit.items() if k.startswith(prefix)}
    )
    tokens = torch.tensor(unit['input'], requires_grad=True)
    weights = copy.deepcopy(pooling).weights(as_map(tokens, sides))
    output = pooling(tokens, sides)
    output.backward(torch.tensor(unit['cotangent']))
    np.testing.assert_allclose(weights.permute(0, 2, 3, 1).detach(), unit['pi'], atol=1e-12)
    np.testing.assert_allclose(output.detach(), unit['output'], atol=1e-12)
    np.testing.assert_allclose(tokens.grad, unit['grad_input'], atol=1e-11)
    for name, parameter in pooling.predictor.named_parameters():
        expected = unit[f'grad/dilation_predictor.proj.{name}']
        np.testing.assert_allclose(parameter.grad, expected, atol=1e-10, err_msg=name)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('scales', [1, 2, 4])
@pytest.mark.parametrize('grid', [(1, 1), (2, 7), (9, 4)])
def test_equals_the_literal_formula(grid, scales, training):
    pooling = randomised(TokenPooling(6, scales)).double().train(training)
    tokens = torch.randn(2, grid[0] * grid[1], 6, dtype=torch.float64)
    p = {name: value.clone() for name, value in pooling.predictor.state_dict().items()}
    expected = literal.token_pooling(as_map(tokens, grid), p, training)
    torch.testing.assert_close(pooling(tokens, grid), as_tokens(expected))
    for name in ('1.running_mean', '1.running_var'):  # the literal one updates its own
        torch.testing.assert_close(pooling.predictor.state_dict()[name], p[name])


def test_official_initial_values():
    """PyTorch's own for the convolutions, 1 and 0 for the batch norm."""
    torch.manual_seed(0)
    pooling = TokenPooling(64, 4)
    bound = (64 * 9) ** -0.5
    assert pooling.predictor[0].weight.abs().max() <= bound
    assert pooling.predictor[0].weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert (pooling.predictor[1].weight == 1).all()
    assert not pooling.predictor[1].bias.any()
    assert [p.shape for p in pooling.parameters()] == [(4, 64, 3, 3), (4,), (4,), (4, 4, 3, 3)]


def test_memory_grows_with_the_tokens():
    """The nine copies would be 9 / 2.5 as much."""
    pooling = TokenPooling(64, 4).eval()

    def work(side):
        tokens = torch.randn(1, side * side, 64)
        with torch.inference_mode():
            return pooling(tokens, (side, side))

    work(16)
    peak = peak_memory(lambda: work(256), 'cpu')
    assert peak < 7 * 4 * 64 * 256**2


@pytest.mark.parametrize('name', ['tap_fan_tiny_8_p4_hybrid', 'tap_fan_tiny_12_p16_224'])
def test_official_classifiers(name):
    """Logits, and pi, pooled tokens and attention output of the first and the last block."""
    golden, images = official.golden(name), official.images(2, 3, 224, 224)
    backbone = MODELS.build(official.backbone_config(name))
    backbone.load_state_dict(official.state_dict(name))
    taps = {}

    def keep(key, view=lambda x: x):
        return lambda _, __, x: taps.update({key: official.reduced(view(x), 64)})

    for i in (0, len(backbone.blocks) - 1):
        block = backbone.blocks[i]
        block.token_pooling.predictor.register_forward_hook(
            keep(f'block{i}.pi', lambda x: x.softmax(1).permute(0, 2, 3, 1))
        )
        block.token_pooling.register_forward_hook(keep(f'block{i}.pooled'))
        block.token_mixing.register_forward_hook(keep(f'block{i}.attn'))
    with torch.no_grad():
        (feature,) = backbone.eval()(images)
    head = [
        official.value(f'head.{k}', official.keys(name)[f'head.{k}']) for k in ('weight', 'bias')
    ]
    np.testing.assert_allclose(F.linear(feature, *head), golden['logits'], atol=2e-5)
    assert len(taps) == 6
    for key, value in taps.items():
        np.testing.assert_allclose(value, golden[f'tap/{key}/sample'], atol=5e-5, err_msg=key)


@pytest.mark.parametrize(('size', 'batch'), [(224, 2), (256, 1)])
def test_official_dense_maps(size, batch):
    name = 'seg_tap_fan_tiny_8_p4_hybrid'
    golden, backbone = official.golden(name), MODELS.build(official.backbone_config(name))
    backbone.load_state_dict(official.state_dict(name))
    with torch.no_grad():
        maps = backbone.eval()(official.images(batch, 3, size, size))
    for i, x in enumerate(maps):
        assert tuple(x.shape) == tuple(golden[f'{size}/out{i}/shape'])
        expected = golden[f'{size}/out{i}/sample']
        np.testing.assert_allclose(official.reduced(x), expected, atol=1e-4, err_msg=f'{i}')


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_the_token_alone_is_fan(backbone, arch, training, monkeypatch):
    """With all weight on the scale 0; and no key or number of a FAN without pooling is new."""
    pooled = make(backbone, arch, out_indices=(0, 1, 2)).train(training)
    plain = backbone(copy.deepcopy(arch), out_indices=(0, 1, 2)).train(training)
    state = pooled.state_dict()
    assert {k for k in state if '.token_pooling.' not in k} == plain.state_dict().keys()
    plain.load_state_dict({k: v.clone() for k, v in state.items() if '.token_pooling.' not in k})
    first = torch.tensor([1.0, 0, 0])[:, None, None]
    monkeypatch.setattr(
        TokenPooling, 'weights', lambda self, x: first.expand(len(x), 3, *x.shape[2:])
    )
    images = torch.randn(2, 3, 48, 80)
    for x, y in zip(pooled(images), plain(images), strict=True):
        assert torch.equal(x, y)
        assert x.std() > 0


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
@pytest.mark.parametrize('out_type', ['featmap', 'cls_token', 'avg_featmap', 'raw'])
def test_every_output_of_any_size_and_every_gradient(backbone, arch, out_type, with_cp):
    model = make(backbone, arch, out_type=out_type, with_cp=with_cp, drop_path_rate=0.0)
    plain = make(backbone, arch, out_type=out_type)
    images = torch.randn(2, 3, 37, 90)
    output, expected = (m(images)[-1] for m in (model, plain))
    torch.testing.assert_close(output, expected)
    for result in (output, expected):
        result.square().mean().backward()
    for (name, a), b in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert a.grad is not None, name
        torch.testing.assert_close(a.grad, b.grad)
    for (name, a), b in zip(model.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)  # counted once


def test_a_traced_model_runs_at_other_sizes():
    model = make(FANHybrid, HYBRID, token_pooling=4, out_indices=(0, 1, 2, 3)).eval()
    traced = torch.jit.trace(model, torch.randn(1, 3, 64, 64), check_trace=False)
    images = torch.randn(2, 3, 32, 112)  # fewer rows than the largest neighbourhood has
    for x, y in zip(traced(images), model(images), strict=True):
        torch.testing.assert_close(x, y, atol=2e-5, rtol=1e-4)


def test_exports_with_dynamic_sizes():
    pooling = TokenPooling(8, 4).eval()

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.pooling = pooling

        def forward(self, x):
            return self.pooling(x.permute(0, 2, 3, 1).flatten(1, 2), tuple(x.shape[2:]))

    sides = {
        2: torch.export.Dim('height', min=2, max=99),
        3: torch.export.Dim('width', min=2, max=99),
    }
    program = torch.export.export(Pooled(), (torch.randn(1, 8, 5, 6),), dynamic_shapes=(sides,))
    x = torch.randn(1, 8, 11, 3)
    torch.testing.assert_close(program.module()(x), Pooled()(x))


def test_bfloat16_stays_near():
    model = make(FANViT, VIT).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        (expected,) = model(images)
        with torch.autocast('cpu', torch.bfloat16):
            (mixed,) = model(images)
    error = (mixed.float() - expected).norm() / expected.norm()
    assert error < 0.03


def test_frozen_stages_layer_depth_and_norm_eval():
    model = make(FANHybrid, HYBRID, out_indices=(0, 1, 2, 3), frozen_stages=0, norm_eval=True)
    for name in (n for n, _ in model.named_parameters() if '.token_pooling.' in n):
        block = name.partition('.token_pooling')[0]
        assert model.get_layer_depth(name) == model.get_layer_depth(f'{block}.gamma1')
    assert not any(m.training for m in model.train().modules() if isinstance(m, _BatchNorm))
    frozen = make(FANHybrid, HYBRID, out_indices=(0, 1, 2, 3), frozen_stages=3).train()
    pooling = frozen.blocks[0].token_pooling
    assert not any(p.requires_grad for p in pooling.parameters())
    assert not pooling.predictor[1].training
    free = make(FANHybrid, HYBRID, out_indices=(0, 1, 2, 3), frozen_stages=2).train()
    assert all(p.requires_grad for p in free.blocks[0].token_pooling.parameters())


def test_the_batch_norm_is_plain():
    """Also where the others are SyncBN, as in the official dense models."""
    model = make(FANViT, VIT, norm_cfg=dict(type='SyncBN'))
    norms = {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    for name, norm in norms.items():
        assert isinstance(norm, nn.SyncBatchNorm) != ('.token_pooling.' in name), name


@pytest.mark.parametrize('wrong', [0, -1, 2.0, '4', True, (1, 2)])
def test_mistakes_are_explained_in_one_line(wrong):
    with pytest.raises(InputError, match='token_pooling must be a positive number or None, not'):
        FANViT(dict(VIT), token_pooling=wrong)


def test_blocks_are_found_and_read_as_those_of_any_fan():
    """What noise decay and cluster pictures stand on."""
    model = make(FANHybrid, HYBRID)
    names = block_names(model)
    assert names == block_names(FANHybrid(copy.deepcopy(HYBRID)))
    with record_tokens(model.eval(), names[-2:]) as tokens, torch.no_grad():
        model(torch.randn(1, 3, 48, 80))
    assert [(t.values.shape, t.grid) for t in tokens.values()] == 2 * [((1, 15, 16), (3, 5))]


def test_names_are_official():
    model = make(FANViT, VIT)
    names = {to_official(name) for name in model.state_dict() if '.token_pooling.' in name}
    assert 'blocks.1.dilation_predictor.proj.1.running_var' in names
    assert len(names) == 2 * 7
