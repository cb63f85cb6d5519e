"""FAN-ViT and FAN-Hybrid as backbones: every variant, its outputs, inference, and mmpretrain's contract."""

import copy
import pickle

import official
import pytest
import torch
from mmengine.registry import MODELS
from small_backbones import HYBRID, IDS, SMALL, SMALL_IDS, VARIANTS, VIT, WIDENED, all_outputs, make

from fan_mm.models import FANHybrid, FANViT
from fan_mm.models.layers import OverlapDownsample, attention
from fan_mm.models.shapes_alone import shapes_alone


@pytest.fixture
def two_threads():
    """With one thread, CPUs would skip some of the ways that are tested."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(('backbone', 'arch'), VARIANTS, ids=IDS)
def test_every_variant_has_its_shapes(backbone, arch):
    zoo = backbone.arch_zoo[arch]
    last = zoo.get('widen', zoo)['embed_dims']
    widths = [128, 256, zoo['embed_dims'], last]
    strides = [4, 8, 16, 32 if 'widen' in zoo else 16]
    if backbone is FANViT:
        widths, strides = [last] * (zoo['depth'] + 1), [16] * (zoo['depth'] + 1)
    with shapes_alone():  # other types of output are parts of these: `test_out_types_agree`
        dense = backbone(arch, out_indices=tuple(range(len(widths))))
        raw = backbone(arch, out_type='raw')
    height, width = 96, 64
    images = torch.empty(2, 3, height, width, device='meta')
    assert dense.out_channels == tuple(widths)
    for x, channels, stride in zip(dense(images), widths, strides, strict=True):
        assert x.shape == (2, channels, height // stride, width // stride)
    assert raw(images)[0].shape == (2, 1 + height * width // strides[-1] ** 2, last)


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_out_types_agree(backbone, arch):
    images = torch.randn(2, 3, 53, 70)
    raw = make(backbone, arch, out_type='raw').eval()
    with torch.no_grad():
        (tokens,) = raw(images)
        outputs = {}
        for out_type in ('cls_token', 'avg_featmap', 'featmap'):
            other = backbone(arch, out_type=out_type).eval()
            other.load_state_dict(raw.state_dict())
            (outputs[out_type],) = other(images)
        torch.testing.assert_close(outputs['cls_token'], tokens[:, 0])
        torch.testing.assert_close(outputs['avg_featmap'], tokens[:, 1:].mean(1))
        normed = raw.norm(outputs['featmap'].permute(0, 2, 3, 1)).flatten(1, 2)
        torch.testing.assert_close(normed, tokens[:, 1:])
        averages = backbone(arch, out_type='avg_featmap', out_indices=(-2, -1)).eval()
        averages.load_state_dict(raw.state_dict())
        maps = backbone(arch, out_indices=(-2,)).eval()
        maps.load_state_dict(raw.state_dict())
        before, after = averages(images)
        torch.testing.assert_close(after, outputs['avg_featmap'])
        torch.testing.assert_close(before, maps(images)[0].mean((2, 3)))


@pytest.mark.usefixtures('two_threads')
@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_inference_equals_the_training_path(backbone, arch, monkeypatch):
    """Without gradients a CPU takes other ways; many sizes, odd ones and one token among them."""
    monkeypatch.setattr(attention, 'mkl_is_half_as_wide', lambda: True)
    monkeypatch.setattr(attention, 'MANY_TOKENS', 500)
    module = make(backbone, arch, out_indices=all_outputs(backbone, arch)).eval()
    for size in ((16, 16), (17, 40), (400, 416), (16, 333)):
        images = torch.randn(1, 3, *size)
        expected = module(images)
        with torch.inference_mode():
            for a, b in zip(module(images), expected, strict=True):
                torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    module.train()
    module(torch.randn(2, 3, 32, 32))[0].sum().backward()  # after inference_mode


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
@pytest.mark.parametrize('whole', [False, True], ids=['autocast', 'weights'])
def test_bfloat16_inference_equals_the_training_path(backbone, arch, whole):
    module = make(backbone, arch, out_indices=all_outputs(backbone, arch)).eval()
    images = torch.randn(1, 3, 48, 64)
    if whole:
        module, images = module.bfloat16(), images.bfloat16()
    with torch.autocast('cpu', torch.bfloat16, enabled=not whole):
        expected = module(images)
        with torch.no_grad():
            found = module(images)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert (a.float() - b.float()).norm() < 0.02 * b.float().norm()


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_traces(backbone, arch):
    module, images = make(backbone, arch).eval(), torch.randn(1, 3, 48, 64)
    traced = torch.jit.trace(module, images)
    with torch.no_grad():
        torch.testing.assert_close(traced(images), module(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_no_images(backbone, arch):
    model = make(backbone, arch)
    for training in (False, True):
        with torch.set_grad_enabled(training):
            outputs = model.train(training)(torch.empty(0, 3, 32, 64))
            assert [len(x) for x in outputs] == [0] * len(outputs) != []


def test_only_what_the_outputs_need_is_made():
    def parts(**options):
        return {
            '.'.join(key.split('.')[:2]) for key in make(FANHybrid, HYBRID, **options).state_dict()
        }

    assert parts(out_indices=1) == {'patch_embed.backbone'}
    assert 'blocks.1' in parts(out_indices=2)
    assert not {'blocks.2', 'cls_attn_blocks.0', 'norm.weight'} & parts(out_indices=2)
    assert not {'cls_token', 'norm.weight'} & parts(out_indices=(2, 3))
    assert {'cls_token', 'norm.weight', 'blocks.2'} <= parts(out_type='raw')
    stem = make(FANHybrid, HYBRID, out_indices=0)
    assert len(stem.patch_embed.backbone.stages) == 1
    assert not any(
        isinstance(m, OverlapDownsample) for m in make(FANHybrid, WIDENED, out_indices=2).modules()
    )


def test_the_tap_lies_before_the_widening():
    module = make(FANHybrid, WIDENED, out_indices=(2, 3)).eval()
    assert module.out_channels == (16, 24)
    assert [tuple(x.shape[1:]) for x in module(torch.randn(1, 3, 48, 80))] == [
        (16, 3, 5),
        (24, 2, 3),
    ]


def test_detection_outputs():
    options = dict(out_indices=(0, 1, 2, 3), last_stage_channels=20, out_norm=True)
    module = make(FANHybrid, HYBRID, **options)
    maps = module(torch.randn(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [(8, 16, 24), (12, 8, 12), (16, 4, 6), (20, 2, 3)]
    assert module.out_channels == (8, 12, 16, 20)
    norm = module.out_norm3
    normalised = (maps[3] - norm.bias[:, None, None]) / norm.weight[:, None, None]
    torch.testing.assert_close(normalised.mean(1), torch.zeros(1, 2, 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_copies_and_pickles(backbone, arch):
    module = make(backbone, arch).eval()
    images = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        (expected,) = module(images)
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(other(images)[0], expected)


def test_classifier_of_mmpretrain():
    pytest.importorskip('mmpretrain')
    from mmpretrain.models import ImageClassifier  # noqa: F401  (registers)
    from mmpretrain.structures import DataSample

    for backbone, neck in (
        (dict(type='FANHybrid', arch=HYBRID, out_type='cls_token'), None),
        (dict(type='FANViT', arch=VIT), dict(type='GlobalAveragePooling')),
    ):
        model = MODELS.build(
            dict(
                type='mmpretrain.ImageClassifier',
                backbone=backbone,
                neck=neck,
                head=dict(
                    type='LinearClsHead',
                    num_classes=5,
                    in_channels=16,
                    loss=dict(type='CrossEntropyLoss'),
                ),
            )
        )
        images, samples = torch.randn(2, 3, 64, 64), [DataSample().set_gt_label(i) for i in (1, 4)]
        losses = model(images, samples, mode='loss')
        losses['loss'].backward()
        assert all(p.grad is not None for p in model.parameters())
        assert model.eval()(images, samples, mode='predict')[0].pred_score.shape == (5,)
        assert model.get_layer_depth('backbone.blocks.0.gamma1')[0] > 0


def test_official_names_of_the_variants_are_complete():
    """Every official FAN-ViT and FAN-Hybrid has a name here."""
    named = {(c['type'], c['arch']) for c in map(official.backbone_config, official.BACKBONES)}
    ours = {(backbone.__name__, arch) for backbone, arch in VARIANTS}
    assert {pair for pair in named if pair[0] != 'FANSwin'} == ours
