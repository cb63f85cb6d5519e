"""What a model shows while it predicts."""

import pytest
import torch
from torch import nn

from fan_mm.evaluation.audit.model_watch import ModelWatch, unset_layers


class Net(nn.Module):
    """A backbone with a norm, a head, and a part that takes no part."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 48, 3)
        self.norm = nn.BatchNorm2d(48)
        self.cls_head = nn.Linear(48, 10)
        self.unused = nn.Linear(64, 64)

    def forward(self, x):
        return self.cls_head(self.norm(self.stem(x)).mean((2, 3)))


def trained():
    """With weights that no initialisation gives."""
    net = Net()
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.add_(0.3 * torch.rand_like(value))
    return net.eval()


def seen(net, clean=True):
    watch = ModelWatch(net, clean)
    net(torch.rand(2, 3, 8, 8))
    return watch.end()


def test_a_trained_model_shows_nothing():
    assert unset_layers(trained()) == {}
    assert seen(trained()) == {}


def test_a_new_model():
    assert seen(Net().eval()) == {'unset': ['stem', 'norm']}  # the head is too small to tell
    assert seen(Net().eval(), clean=False) == {}


@pytest.mark.parametrize('name', ['stem', 'norm', 'cls_head'])
def test_a_part_that_nobody_has_set(name):
    net = trained()
    part = net.get_submodule(name)
    part.reset_parameters()
    if name == 'cls_head':  # as mmseg's and mmpretrain's heads begin
        nn.init.normal_(part.weight, std=0.01)
        nn.init.zeros_(part.bias)
    assert seen(net) == {'unset': [name]}


def test_a_part_that_takes_no_part():
    net = trained()
    net.unused.reset_parameters()
    assert list(unset_layers(net)) == ['unused']
    assert seen(net) == {}


@pytest.mark.parametrize(
    ('change', 'is_new'),
    [
        (lambda weight: weight, True),
        (lambda weight: 1.02 * weight, False),  # beyond what is drawn
        (lambda weight: 0.9 * weight, False),  # nowhere near it
        (lambda weight: weight * weight.abs() / weight.abs().max(), False),  # less spread
        (lambda weight: weight.sign() * weight.abs().max(), False),  # more
        (lambda weight: 0 * weight, False),  # a branch that begins with nothing
    ],
)
def test_weights_are_new_by_their_largest_and_their_spread(change, is_new):
    layer = nn.Linear(64, 64)
    layer.weight.data = change(layer.weight.data)
    assert bool(unset_layers(nn.Sequential(layer))) == is_new


@pytest.mark.parametrize(
    ('rows', 'is_new'), [(16, True), (15, False)], ids=['1024 weights', '960 weights']
)
def test_few_weights_do_not_tell(rows, is_new):
    torch.manual_seed(0)
    assert bool(unset_layers(nn.Sequential(nn.Linear(64, rows)))) == is_new


@pytest.mark.parametrize('part', ['weight', 'bias', 'running_mean', 'running_var'])
def test_a_norm_is_new_in_all_its_parts(part):
    norm = nn.BatchNorm2d(4)
    assert unset_layers(nn.Sequential(norm))
    getattr(norm, part).data[1] += 0.1
    assert not unset_layers(nn.Sequential(norm))


@pytest.mark.parametrize('lacking', ['weight', 'bias'])
def test_a_norm_of_one_parameter_may_be_as_it_began(lacking):
    norm = nn.LayerNorm(4)
    norm.register_parameter(lacking, None)  # as RMSNorm
    assert unset_layers(nn.Sequential(norm)) == {}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_weights_of_half_precision(dtype):
    assert list(unset_layers(Net().to(dtype))) == ['stem', 'norm', 'unused']
    assert unset_layers(trained().to(dtype)) == {}


@pytest.mark.parametrize('how', ['training', 'without statistics', 'while it predicts'])
def test_batch_norms_that_learn(how):
    net = trained()
    if how == 'training':
        net.norm.train()
    elif how == 'without statistics':
        net.norm.running_mean = net.norm.running_var = None
    else:

        def learning(x, forward=net.norm.forward):
            net.norm.train()
            y = forward(x)
            net.norm.eval()
            return y

        net.norm.forward = learning
    assert seen(net) == {'batch_norms': ['norm']}


def test_hooks_are_removed():
    net = Net().eval()
    seen(net)
    assert not any(layer._forward_hooks for layer in net.modules())
