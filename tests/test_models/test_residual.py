"""Layer scale and drop path as one factor: the same as one after the other."""

import pytest
import torch
from mmcv.cnn.bricks import DropPath

from fan_mm.models.layers.residual import residual


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
    tokens, branch = torch.zeros(50_000, 1, 1, dtype=dtype), torch.ones(50_000, 1, 1, dtype=dtype)
    out = residual(tokens, branch, DropPath(0.002).train())
    assert out.dtype == dtype
    assert 60 < (out == 0).sum() < 140  # 100 expected, with a standard deviation of 10
