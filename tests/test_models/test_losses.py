"""Attention diversification against the official numbers and the N x N formula."""

import json

import numpy as np
import official
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from reference import tap as literal
from reference.memory import peak_memory
from torch import nn

from fan_mm.errors import InputError
from fan_mm.models import FANSwin, FANViT
from fan_mm.models.checkpoints import to_official
from fan_mm.models.losses import AttentionDiversity
from fan_mm.models.losses import attention_diversity as module
from fan_mm.models.losses.attention_diversity import attention_diversity

VIT = dict(embed_dims=16, depth=2, num_heads=2)


@pytest.fixture
def scores(monkeypatch):
    """How many attention scores are held at once."""
    return lambda number: monkeypatch.setattr(module, 'SCORES', dict(cpu=number))


def peaked(batch, heads, tokens, width, dtype=torch.float64):
    """Queries and keys with something in common, so that some attention exceeds 2 / N."""
    torch.manual_seed(0)
    common = 1.5 * torch.randn(heads, 1, width)
    return [
        (common + torch.randn(batch, heads, tokens, width)).to(dtype).requires_grad_()
        for _ in range(2)
    ]


@pytest.mark.parametrize('number', [2**20, 300, 1])
@pytest.mark.parametrize('unit', ['adl0', 'adl1', 'adl2'])
def test_official_units(unit, number, scores):
    scores(number)
    golden = official.golden('tap_units')
    q, k = (torch.tensor(golden[f'{unit}/{name}'], requires_grad=True) for name in 'qk')
    loss = attention_diversity(q, k) / (1 + 1e-6)
    loss.backward()
    assert loss.item() == pytest.approx(golden[f'{unit}/loss_official'].item(), abs=1e-12)
    np.testing.assert_allclose(q.grad, golden[f'{unit}/grad_q'], atol=1e-14)
    np.testing.assert_allclose(k.grad, golden[f'{unit}/grad_k'], atol=1e-14)


# Whole images at once, blocks that do and do not divide the queries, single queries.
@pytest.mark.parametrize('number', [10**6, 2 * 3 * 21 * 21, 3 * 21 * 7, 3 * 21 * 8, 1])
@pytest.mark.parametrize('threshold', [0.0, 1.5, 2.0, 100.0])
def test_blocks_equal_the_whole_matrix(threshold, number, scores):
    scores(number)
    q, k = peaked(5, 3, 21, 4)
    ours, expected = (
        function(q, k, threshold) for function in (attention_diversity, literal.attention_diversity)
    )
    torch.testing.assert_close(ours, expected)
    assert (expected.item() > 0.1) == (threshold < 10)
    upstream = torch.tensor(3.0, dtype=torch.float64)
    gradients = [torch.autograd.grad(loss, (q, k), upstream) for loss in (ours, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    q, k = peaked(2, 3, 40, 8, dtype)
    with torch.autocast('cpu', torch.bfloat16):
        loss = attention_diversity(q, k)
    loss.backward()
    wide = [x.detach().double().requires_grad_() for x in (q, k)]
    expected = literal.attention_diversity(*wide)
    expected.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for x, y in zip((q, k), wide, strict=True):
        assert x.grad.dtype == dtype
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-2, atol=1e-5)


def test_gradients_stop_where_none_are_wanted():
    q, k = peaked(1, 2, 9, 4)
    (gradient,) = torch.autograd.grad(attention_diversity(q.detach(), k), k)
    expected = torch.autograd.grad(literal.attention_diversity(q, k), k)[0]
    torch.testing.assert_close(gradient, expected)
    assert not attention_diversity(q.detach(), k.detach()).requires_grad


def test_memory_grows_with_the_tokens(scores):
    scores(2**18)
    heads, width = 4, 4

    def work(tokens):
        attention_diversity(*peaked(1, heads, tokens, width, torch.float32)).backward()

    work(64)
    peak = peak_memory(lambda: work(3000), 'cpu')
    assert peak < 4 * heads * 3000**2 / 10  # bytes of the scores of all heads


def test_official_training_step():
    """Loss and every gradient of a classifier in float64, as the official code computes them."""
    name = 'tap_fan_tiny_8_p4_hybrid'
    golden = json.loads((official.DATA / f'golden/train_float64_{name}.json').read_text())
    backbone = MODELS.build(official.backbone_config(name))
    state = official.state_dict(name)
    for key in state:
        if key.endswith('attn.q.weight') and key.startswith('blocks.'):
            state[key] = state[key] * 40
    backbone.load_state_dict(state)
    backbone.double().train()
    weight, bias = (state[f'head.{k}'].double().requires_grad_() for k in ('weight', 'bias'))
    diversity = AttentionDiversity(backbone)
    diversity.start()
    (feature,) = backbone(official.images(*golden['input']).double())
    entropy = F.cross_entropy(F.linear(feature, weight, bias), torch.tensor(golden['targets']))
    loss = diversity.loss()
    (entropy + loss).backward()
    assert entropy.item() == pytest.approx(golden['cross_entropy'], abs=1e-9)
    assert loss.item() == pytest.approx(golden['adl'], abs=1e-9)
    gradients = {to_official(k): p.grad for k, p in backbone.named_parameters()}
    gradients |= {'head.weight': weight.grad, 'head.bias': bias.grad}
    assert gradients.keys() == golden['grad_norms'].keys()
    for key, expected in golden['grad_norms'].items():
        assert gradients[key].norm().item() == pytest.approx(expected, rel=1e-6, abs=1e-12), key


def backbone(**options):
    torch.manual_seed(0)
    model = FANViT(dict(VIT), token_pooling=2, **options)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not name.endswith('running_var'):
            nn.init.normal_(tensor, std=0.5)
    return model.train()


def test_recording_is_exact_and_leaves_no_trace():
    model, images = backbone(), torch.randn(2, 3, 64, 96)
    seen = []
    for block in model.blocks:
        block.token_mixing.attention.register_forward_hook(lambda _, x, __: seen.append(x[:2]))
    (plain,) = model(images)
    expected = sum(literal.attention_diversity(q, k) for q, k in seen) / (2 + 1e-6)
    diversity = AttentionDiversity(model)
    diversity.start()
    (output,) = model(images)
    torch.testing.assert_close(diversity.loss(), expected)
    assert torch.equal(output, plain)
    assert diversity.loss() is None
    model(images)  # not recorded
    assert diversity.loss() is None
    diversity.remove()
    diversity.start()
    model(images)
    assert diversity.loss() is None


def test_passes_without_gradients_do_not_count_and_of_several_the_mean_is_taken():
    model, images = backbone(norm_eval=True), torch.randn(2, 3, 64, 96)
    diversity = AttentionDiversity(model)
    values = []
    for batches in ([images], [images.flip(3)], [images, images.flip(3)]):
        diversity.start()
        with torch.no_grad():
            model(images)
        for batch in batches:
            model(batch)
        values.append(diversity.loss().item())
    assert values[2] == pytest.approx((values[0] + values[1]) / 2, rel=1e-5)
    assert values[0] != values[1]


def test_checkpointed_blocks_count_once():
    results = []
    for with_cp in (False, True):
        model = backbone(with_cp=with_cp)
        diversity = AttentionDiversity(model)
        diversity.start()
        (output,) = model(torch.ones(2, 3, 64, 96).cumsum(3))
        loss = diversity.loss()
        (loss + output.square().mean()).backward()
        assert diversity.loss() is None
        gradients = {name: p.grad for name, p in model.named_parameters()}
        results.append((loss, gradients, dict(model.named_buffers())))
    torch.testing.assert_close(*results)


def test_models_without_such_attention_are_refused():
    swin = FANSwin(dict(embed_dims=16, depths=(1,), num_heads=(2,)))
    with pytest.raises(
        InputError, match='needs a FANViT or FANHybrid, but there is none in the FAN'
    ):
        AttentionDiversity(swin)
