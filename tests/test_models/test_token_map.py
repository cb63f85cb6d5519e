"""Tokens as maps and back, and by how much a map is padded."""

import io

import pytest
import torch
from mmengine.registry import MODELS
from small_models import BACKBONES

from fan_mm.models.layers import as_map, as_tokens, contiguous_map
from fan_mm.models.layers.token_map import padding


@pytest.mark.parametrize(
    ('size', 'multiple', 'lacking'),
    [
        ((14, 21), 7, (0, 0)),
        ((1, 8), 7, (6, 6)),
        ((13, 15), 7, (1, 6)),
        ((2, 3), 2, (0, 1)),
        ((3, 2), 2, (1, 0)),
        ((5, 9), 1, (0, 0)),
    ],
)
def test_padding_is_the_least_to_a_multiple(size, multiple, lacking):
    assert tuple(padding(size, multiple)) == lacking


def test_tokens_lie_row_by_row():
    tokens = torch.arange(2 * 15 * 4).reshape(2, 15, 4)
    image = as_map(tokens, (3, 5))
    assert image.shape == (2, 4, 3, 5)
    assert torch.equal(image[1, :, 2, 3], tokens[1, 13])
    assert torch.equal(as_tokens(image), tokens)


@pytest.mark.parametrize('name', list(BACKBONES))
@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients_of_all_tokens_lie_as_tokens_do(name, with_cp):
    """One transposed gradient would make all sums of the residual stream read with large strides."""
    backbone = dict(BACKBONES[name][0], out_type='featmap', with_cp=with_cp)
    outputs = 4 if name == 'hybrid' else 2
    module = MODELS.build(backbone | dict(out_indices=tuple(range(outputs)))).train()
    layouts = []

    def watch(block, args, tokens):
        if tokens.requires_grad:
            tokens.register_hook(lambda gradient: layouts.append(gradient.is_contiguous()))

    for part in module.modules():
        if type(part).__name__.endswith('Block'):
            part.register_forward_hook(watch)
    maps = module(torch.randn(2, 3, 64, 96))
    assert len(maps) == outputs and all(x.is_contiguous() for x in maps)
    torch.autograd.backward(maps, [torch.randn(x.shape) for x in maps])
    assert layouts and all(layouts)


@pytest.mark.parametrize('grad', [False, True])
def test_contiguous_map_can_be_saved_as_torchscript(grad):
    x = torch.randn(2, 3, 4, 5, requires_grad=grad)
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(contiguous_map, x), file)
    file.seek(0)
    assert torch.equal(torch.jit.load(file)(x), contiguous_map(x))


def test_contiguous_map_has_gradients_of_every_order():
    x = torch.randn(2, 3, 4, 5, dtype=torch.double, requires_grad=True)
    assert torch.equal(contiguous_map(x), x.permute(0, 3, 1, 2))
    assert torch.autograd.gradcheck(contiguous_map, x)
    assert torch.autograd.gradgradcheck(contiguous_map, x)
