"""A backbone traced or exported at one size is right at others: no decision on sizes is baked in."""

import warnings

import pytest
import torch
from mmengine.registry import MODELS

import fan_mm.models.backbones as backbones
from fan_mm.models import SimpleFeaturePyramid
from fan_mm.models.layers.window_attention import WindowAttention

# of one block where a second does the same again, for seconds of the exporter's
VIT = dict(embed_dims=32, depth=1, num_heads=2)
HYBRID = dict(VIT, stem_depths=(1, 1), stem_channels=(8, 16))
STAGED = dict(embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8))
SHORT = dict(embed_dims=16, depths=(2, 1), num_heads=(1, 2))
WIDENED = dict(HYBRID, depth=2, tap=0, widen=dict(after=0, embed_dims=48, num_heads=4))
MODELS_HERE = {
    'hybrid': dict(type='FANHybrid', arch=HYBRID, out_indices=(0, 1, 2, 3)),
    'hybrid, widened': dict(type='FANHybrid', arch=WIDENED, out_indices=(0, 1, 2, 3)),
    'hybrid, class token': dict(type='FANHybrid', arch=HYBRID, out_type='cls_token'),
    'hybrid for detection': dict(
        type='FANHybrid', arch=HYBRID, out_indices=(2, 3), last_stage_channels=24, out_norm=True
    ),
    'vit': dict(type='FANViT', arch=VIT, out_indices=(0, 1)),
    'vit, dense code': dict(type='FANViT', arch=VIT, paired_frequencies=False),
    'vit, squeeze-excite': dict(type='FANViT', arch=VIT, channel_attention='se'),
    'vit, full channel attention': dict(type='FANViT', arch=VIT, channel_attention='csa'),
    'vit, tokens': dict(type='FANViT', arch=VIT, out_type='raw'),
    'vit, mean': dict(type='FANViT', arch=VIT, out_type='avg_featmap'),
    'swin': dict(type='FANSwin', arch=STAGED, out_indices=(0, 1, 2, 3)),
    'swin, always shifted': dict(
        type='FANSwin', arch=SHORT, out_indices=(0, 1), always_shift=True, mlp_identity=True
    ),
    'swin, mean': dict(type='FANSwin', arch=SHORT, out_type='avg_featmap'),
    'convnext': dict(type='FANConvNeXt', arch=STAGED, out_indices=(0, 1, 2, 3)),
    'convnext, mean': dict(type='FANConvNeXt', arch=SHORT, out_type='avg_featmap'),
}
# The exports, which take seconds: of models that are traced above and have no operation on sizes that
# another has not, one runs each time. `tests/test_deploy` exports and runs a hybrid, and a ViT, a Swin and
# a ConvNeXt with the mean, at any batch and size.
EXPORTED = (
    'hybrid, widened',
    'hybrid, class token',
    'hybrid for detection',
    'vit, full channel attention',
    'vit, tokens',
    'swin, always shifted',
)
# with the window and its border in every stage of FAN-Swin: 8 tokens and 7, 1 and 2
SIZES = [(70, 130), (260, 256), (49, 57)]


def make(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    for parameter in model.parameters():  # layer scales of 1e-6 would hide an error
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 1.0, 0.2)
    return model


def compare(graph, model, batches, sizes=SIZES):
    for batch, size in zip(batches, sizes, strict=True):
        images = torch.randn(batch, 3, *size)
        for a, b in zip(graph(images), model(images), strict=True):
            assert a.shape == b.shape
            assert (a - b).abs().max() < 1e-4 * b.abs().max(), (batch, size)


def test_every_family_is_here():
    assert {cfg['type'] for cfg in MODELS_HERE.values()} == set(backbones.__all__)


@pytest.mark.parametrize(
    ('name', 'traced_at'),
    [*((name, (64, 96)) for name in MODELS_HERE), ('swin', (224, 224)), ('swin', (257, 256))],
)
@torch.no_grad()
def test_trace_at_other_sizes(name, traced_at):
    model = make(MODELS_HERE[name])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the tracer's, of the check that images are not too small
        traced = torch.jit.trace(model, torch.randn(1, 3, *traced_at), check_trace=False)
    compare(traced, model, batches=(1, 1, 1))


@pytest.mark.parametrize(
    'name',
    [
        name if name in EXPORTED else pytest.param(name, marks=pytest.mark.campaign)
        for name in MODELS_HERE
    ],
)
@torch.no_grad()
def test_export_at_other_sizes_and_batches(name):
    """Right, or refused by torch: FANSwin where no window is padded, if the example's were, and so on."""
    model = make(MODELS_HERE[name])
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(model, (torch.randn(2, 3, 256, 288),), dynamic_shapes=(free,))
    compare(exported.module(), model, (3, 2), [(231, 290), (300, 230)])


@torch.no_grad()
def test_pyramid():
    pyramid = SimpleFeaturePyramid(16, 8)
    traced = torch.jit.trace(pyramid, [[torch.randn(1, 16, 4, 6)]], check_trace=False)
    for size in ((7, 5), (12, 9)):
        maps = [torch.randn(1, 16, *size)]
        for a, b in zip(traced(maps), pyramid(maps), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('always_shift', [False, True])
@torch.no_grad()
def test_eager_windows_roll_plainly(always_shift):
    """The graph's detour over indices is for graphs alone."""
    layer = WindowAttention(8, 2, window=3, shift=1, always_shift=always_shift)
    with torch.profiler.profile() as profile:
        layer(torch.randn(1, 48, 8), (6, 8))
    names = [event.key for event in profile.key_averages()]
    assert 'aten::roll' in names
    assert 'aten::index_select' not in names
