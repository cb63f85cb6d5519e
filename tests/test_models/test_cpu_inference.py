"""When CPU inference takes its own ways, which save memory and time and give the same numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fan_mm.models.layers.cpu_inference import eager_on_cpu, gelu, writes_in_place


def test_only_eager_tensors_of_the_cpu():
    assert eager_on_cpu(torch.zeros(2))
    assert not eager_on_cpu(torch.zeros(2, device='meta'))
    seen = []
    torch.jit.trace(
        lambda x: seen.append(eager_on_cpu(x)) or x + 1, torch.zeros(2), check_trace=False
    )
    assert set(seen) == {False}


@pytest.mark.parametrize('in_place', [False, True])
def test_nothing_is_overwritten_that_the_backward_pass_needs(in_place):
    with torch.set_grad_enabled(not in_place):
        x = torch.randn(5)
        assert writes_in_place(x) == in_place
        expected = F.gelu(x.clone())
        found = gelu(x)
        torch.testing.assert_close(found, expected)
        assert (found.data_ptr() == x.data_ptr()) == in_place


def test_gradients_of_gelu():
    layer = nn.Linear(3, 4)
    x = torch.randn(2, 3)
    hidden = layer(x)
    kept = hidden.detach().clone()
    gelu(hidden).sum().backward()
    assert torch.equal(hidden, kept)
    assert layer.weight.grad.abs().sum() > 0
