"""When CPU inference takes its own ways, which save memory and time and give the same numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fan_mm.models.layers import ConvMlp
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


class Adapter(nn.Module):
    """As LoRA's: beside a linear layer, whose weights it passes on as its own."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.beside = nn.Linear(base.in_features, base.out_features)

    weight = property(lambda self: self.base.weight)
    bias = property(lambda self: self.base.bias)

    def forward(self, x):
        return self.base(x) + self.beside(x)


@pytest.mark.parametrize('name', ['fc1', 'fc2'])
def test_adapters_of_linear_layers_count_in_inference(name):
    mlp = ConvMlp(8, 32, dict(type='BN')).eval()
    setattr(mlp, name, Adapter(getattr(mlp, name)))
    tokens = torch.randn(2, 12, 8)
    with torch.no_grad():
        found = mlp(tokens, (3, 4))
    torch.testing.assert_close(found, mlp(tokens, (3, 4)), check_stride=False)


@pytest.mark.parametrize('name', ['fc1', 'dwconv', 'dwconv.bn', 'fc2'])
def test_hooks_on_parts_run_in_inference(name):
    mlp = ConvMlp(8, 32, dict(type='BN')).eval()
    seen = []
    mlp.get_submodule(name).register_forward_hook(lambda *given: seen.append(given[2].shape[0]))
    with torch.no_grad():
        mlp(torch.randn(2, 12, 8), (3, 4))
    assert seen == [2]
