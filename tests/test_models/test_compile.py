"""`torch.compile` takes every backbone whole: in train and test mode, and with sizes left open."""

import copy

import pytest
import torch
from torch import nn

from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin, FANViT

COLUMN = dict(embed_dims=16, depth=1, num_heads=2)  # what one block does, a second does again
STEM = dict(stem_depths=(1, 1), stem_channels=(8, 8))
STAGES = dict(embed_dims=16, depths=(2, 1), num_heads=(2, 2))  # what two do, four do again
FAMILIES = {
    'vit': (FANViT, dict(arch=COLUMN, out_type='cls_token')),
    'vit-pooled': (FANViT, dict(arch=COLUMN, token_pooling=4, out_indices=-1)),
    'hybrid': (FANHybrid, dict(arch=COLUMN | STEM, out_indices=(0, 1, 2, 3))),
    'widened': (
        FANHybrid,
        dict(
            arch=COLUMN
            | STEM
            | dict(depth=2, tap=0, widen=dict(after=0, embed_dims=24, num_heads=3)),
            out_indices=(0, 1, 2, 3),
        ),
    ),
    'swin': (FANSwin, dict(arch=STAGES, out_indices=(0, 1))),
    'convnext': (FANConvNeXt, dict(arch=STAGES, out_indices=(0, 1))),
}


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def make(name, depth=None, **options):
    torch.manual_seed(0)
    backbone, own = FAMILIES[name]
    if depth and 'depth' in own['arch']:
        own = own | dict(arch=own['arch'] | dict(depth=depth))
    module = backbone(**(own | options))
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


@pytest.mark.slow
def test_swin_at_sizes_that_are_opened_when_they_change():
    """Left open from the start they are right, too, but for each PyTorch reasons twice as long."""
    module = make('swin').eval()
    compiled = torch.compile(module, backend='eager', fullgraph=True)
    with torch.no_grad():
        for size in ((64, 96), (160, 224)):
            images = torch.randn(2, 3, *size)
            for a, b in zip(compiled(images), module(images), strict=True):
                torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(  # what the hybrid's graph has, the widened one's has, too
    'name',
    [
        pytest.param(name, marks=pytest.mark.campaign) if name == 'hybrid' else name
        for name in FAMILIES
        if name != 'swin'
    ],
)
def test_in_test_mode_at_any_size(name):
    """One graph for sizes left open, and no other for another size."""
    module = make(name).eval()
    graphs = []

    def backend(graph, example):
        graphs.append(graph)
        return graph

    compiled = torch.compile(module, backend=backend, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for batch, *size in ((2, 160, 224), (3, 256, 192), (2, 224, 288)):
            images = torch.randn(batch, 3, *size)
            for a, b in zip(compiled(images), module(images), strict=True):
                torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert len(graphs) == 1


@pytest.mark.campaign  # half a minute of C++ for each
@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('name', FAMILIES)
def test_kernels_of_inductor(name, train):
    """What PyTorch generates by default computes the same, and so do its gradients."""
    module = make(name).train(train)
    compiled = torch.compile(copy.deepcopy(module), fullgraph=True)
    images = torch.randn(2, 3, 64, 96)
    with torch.set_grad_enabled(train):
        found, expected = compiled(images), module(images)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    if train:
        for maps in (found, expected):
            sum(x.square().mean() for x in maps).backward()
        pairs = zip(compiled.parameters(), module.parameters(), strict=True)
        grads = [(ours.grad, theirs.grad) for ours, theirs in pairs if theirs.grad is not None]
        largest = max(theirs.abs().max().item() for _, theirs in grads)
        for ours, theirs in grads:  # those in front of a batch norm are rounding alone
            torch.testing.assert_close(ours, theirs, atol=1e-5 * largest, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['vit', 'hybrid', 'swin', 'convnext'])
def test_in_train_mode(name):
    """Forward and backward, with drop path, in one graph."""
    module = make(name, depth=2, drop_path_rate=0.2).train()  # the first block drops no path
    compiled = torch.compile(module, backend='eager', fullgraph=True)
    sum(x.square().mean() for x in compiled(torch.randn(2, 3, 64, 96))).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
