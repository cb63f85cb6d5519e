"""Layer scale and drop path as one factor: the same as one after the other."""

import pytest
import torch
from mmcv.cnn.bricks import DropPath

from fan_mm.models.layers import CHANNEL_ATTENTIONS, FANBlock
from fan_mm.models.layers.residual import branch_scale, residual

BN = dict(type='BN')


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('probability', [0.0, 0.5])
@pytest.mark.parametrize('scaled', [True, False])
def test_residual_is_the_formula(training, probability, scaled):
    torch.manual_seed(0)
    tokens, branch = torch.randn(2, 8, 6, 4).double()
    gamma = torch.randn(4).double() if scaled else None
    drop_path = DropPath(probability).train(training)
    torch.manual_seed(1)
    found = residual(tokens, branch, drop_path, gamma)
    torch.manual_seed(1)
    kept = torch.ones(8, 1, 1).double()
    if training and probability:
        kept = (torch.rand(8, 1, 1) >= probability).double() / (1 - probability)
        assert 0 < (kept == 0).sum() < 8
    expected = tokens + kept * (branch if gamma is None else gamma * branch)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_rare_drops_have_their_probability_in_every_precision(dtype):
    """Eight random bits know nothing between 0 and 1/256."""
    torch.manual_seed(0)
    scale = branch_scale(torch.zeros(50_000, 1, 1, dtype=dtype), DropPath(0.002).train())
    assert scale.dtype == dtype
    assert 60 < (scale == 0).sum() < 140  # 100 expected, with a standard deviation of 10


@pytest.mark.parametrize('kind', list(CHANNEL_ATTENTIONS))
def test_scale_of_a_channel_attention_multiplies_its_output(kind):
    torch.manual_seed(0)
    block = FANBlock(16, 2, 32, BN, channel_attention=kind).double().eval()
    torch.nn.init.normal_(block.gamma2)
    tokens, scale = torch.randn(2, 15, 16).double(), torch.randn(2, 1, 16).double()
    attention = block.channel_attention
    expected = attention(tokens, (3, 5)) * scale
    torch.testing.assert_close(attention(tokens, (3, 5), scale), expected)
    mixed = tokens + block.gamma1 * block.token_mixing(block.norm1(tokens))
    expected = mixed + block.gamma2 * attention(block.norm2(mixed), (3, 5))
    torch.testing.assert_close(block(tokens, (3, 5)), expected)
