"""Modules without values have the names, shapes and types of whole ones; everything else is as usual."""

import pytest
import torch

import fan_mm.models as models
from fan_mm.models.shapes_alone import shapes_alone


@pytest.mark.parametrize('backbone', ['FANConvNeXt', 'FANHybrid', 'FANSwin', 'FANViT'])
def test_names_and_shapes_are_those_of_the_whole_module(backbone):
    build = getattr(models, backbone)
    whole = build('tiny').state_dict()
    with shapes_alone():
        bare = build('tiny').state_dict()
    assert {k: (v.shape, v.dtype) for k, v in bare.items()} == {
        k: (v.shape, v.dtype) for k, v in whole.items()
    }
    assert all(value.is_meta for value in bare.values())


def test_nothing_is_worked_out_for_them():
    """Where PyTorch's own device of that name calls, in Python, every step of a truncated normal."""
    with shapes_alone(), torch.profiler.profile() as profile:
        torch.nn.init.trunc_normal_(torch.empty(3, 4), std=0.02)
    assert not {'aten::uniform_', 'aten::erfinv_'} & {e.key for e in profile.key_averages()}


def test_tensors_that_are_elsewhere_are_filled():
    with shapes_alone():
        there = torch.zeros(3, device='cpu').fill_(2).mul_(3)
    assert there.tolist() == [6, 6, 6]
    with torch.no_grad():
        assert torch.empty(2).fill_(1).tolist() == [1, 1]
