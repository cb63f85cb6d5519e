"""FAN-ViT and FAN-Hybrid as backbones: every variant, mmpretrain's contract, mistakes."""

import copy
import io
import pickle

import official
import pytest
import torch
from mmengine.registry import MODELS
from small_models import shallow
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fan_mm.errors import InputError
from fan_mm.models import FANHybrid, FANSwin, FANViT
from fan_mm.models.layers import OverlapDownsample, attention

VARIANTS = [(backbone, arch) for backbone in (FANViT, FANHybrid) for arch in backbone.arch_zoo]
IDS = [f'{backbone.__name__}-{arch}' for backbone, arch in VARIANTS]
VIT = dict(embed_dims=16, depth=3, num_heads=2)
HYBRID = dict(VIT, stem_depths=(1, 2), stem_channels=(8, 12), tap=1)
WIDENED = dict(HYBRID, widen=dict(after=1, embed_dims=24, num_heads=3))
SMALL = [(FANViT, VIT), (FANHybrid, HYBRID), (FANHybrid, WIDENED)]
SMALL_IDS = ['vit', 'hybrid', 'widened']


@pytest.fixture
def two_threads():
    """With one thread, CPUs would skip some of the ways that are tested."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def all_outputs(backbone, arch):
    return tuple(range(4)) if backbone is FANHybrid else tuple(range(arch['depth'] + 1))


def make(backbone, arch, seed=0, **options):
    """A small backbone with weights away from their trivial initial values."""
    torch.manual_seed(seed)
    module = backbone(copy.deepcopy(arch), **options)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not name.endswith('running_var'):
            nn.init.normal_(tensor, std=0.2)
    return module


@pytest.mark.parametrize(('backbone', 'arch'), VARIANTS, ids=IDS)
def test_every_variant_has_its_shapes(backbone, arch):
    zoo = backbone.arch_zoo[arch]
    last = zoo.get('widen', zoo)['embed_dims']
    widths = [128, 256, zoo['embed_dims'], last]
    strides = [4, 8, 16, 32 if 'widen' in zoo else 16]
    if backbone is FANViT:
        widths, strides = [last] * (zoo['depth'] + 1), [16] * (zoo['depth'] + 1)
    with torch.device('meta'):
        dense = backbone(arch, out_indices=tuple(range(len(widths))))
        kinds = ('cls_token', 'avg_featmap', 'raw')
        classes, averages, raw = (backbone(arch, out_type=kind) for kind in kinds)
        assert dense.out_channels == tuple(widths)
        for height, width in ((32, 64), (96, 64)):
            images = torch.empty(2, 3, height, width)
            for x, channels, stride in zip(dense(images), widths, strides, strict=True):
                assert x.shape == (2, channels, height // stride, width // stride)
            assert classes(images)[0].shape == averages(images)[0].shape == (2, last)
            assert raw(images)[0].shape == (2, 1 + height * width // strides[-1] ** 2, last)


@pytest.mark.parametrize(('backbone', 'arch'), VARIANTS, ids=IDS)
def test_every_variant_trains_and_runs_in_bfloat16(backbone, arch):
    """With all widths of the variant and few of its blocks."""
    torch.manual_seed(0)
    few = shallow(dict(type=backbone.__name__, arch=arch))['arch']
    module = backbone(few, out_type='cls_token', with_cp=arch in ('large', 'xlarge')).train()
    images = torch.randn(2, 3, 32, 64)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, foreach=False)
    (out,) = module(images)
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    before = module.blocks[0].gamma2.detach().clone()
    optimizer.step()
    assert not torch.equal(module.blocks[0].gamma2, before)
    module.zero_grad()
    module.eval()
    with torch.no_grad():
        (expected,) = module(images)
        with torch.autocast('cpu', torch.bfloat16):
            (out,) = module(images)
        if arch in ('tiny', 'small'):
            buffer = io.BytesIO()
            torch.save(module, buffer)
            buffer.seek(0)
            for other in (copy.deepcopy(module), torch.load(buffer, weights_only=False)):
                assert torch.equal(other(images)[0], expected)
    assert out.isfinite().all()
    assert nn.functional.cosine_similarity(out.float(), expected).min() > 0.98


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
@pytest.mark.parametrize('attention', ['eca', 'se', 'csa'])
def test_checkpointing_changes_nothing(backbone, arch, attention):
    options = dict(out_indices=all_outputs(backbone, arch), channel_attention=attention)
    plain, saving = (make(backbone, arch, with_cp=cp, **options).train() for cp in (False, True))
    images = torch.randn(2, 3, 48, 64)
    for module in (plain, saving):
        sum(x.square().mean() for x in module(images)).backward()
    for a, b in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        torch.testing.assert_close(a[1].grad, b[1].grad, msg=a[0])
    torch.testing.assert_close(dict(plain.named_buffers()), dict(saving.named_buffers()))


@pytest.mark.parametrize(
    'options',
    [
        dict(arch=None),
        dict(arch=3),
        dict(arch=dict(VIT, num_heads=0)),
        dict(arch=dict(VIT, depth='4')),
        dict(arch=dict(VIT, embed_dims=-128)),
        dict(out_indices=None),
        dict(out_indices='abc'),
        dict(out_indices=(0, 1.5)),
        dict(frozen_stages='all'),
        dict(last_stage_channels=-3),
        dict(last_stage_channels=True),
        dict(norm_cfg='BN'),
        dict(norm_cfg=dict(type='NoSuch')),
        dict(drop_path_rate=1.5),
        dict(drop_path_rate='x'),
    ],
    ids=str,
)
def test_options_of_wrong_kinds_are_said(options):
    (name,) = options
    with pytest.raises(InputError, match=name):
        FANViT(**options)


def test_stages_are_lists_of_numbers():
    with pytest.raises(InputError, match=r'arch.stem_depths of FANHybrid must be a list'):
        FANHybrid(dict(HYBRID, stem_depths=3))
    with pytest.raises(InputError, match=r'arch.depths of FANSwin must be a list'):
        FANSwin(dict(FANSwin.arch_zoo['tiny'], depths=(2, 2, 0, 2)))


def test_compiled_checkpointing_changes_nothing():
    """In one graph, and batch statistics are counted once."""
    backbone, arch = SMALL[0]
    plain, saving = (make(backbone, arch, with_cp=cp).train() for cp in (False, True))
    images = torch.randn(2, 3, 48, 64)
    plain(images)[0].square().mean().backward()
    torch.compile(saving, backend='aot_eager', fullgraph=True)(images)[0].square().mean().backward()
    for a, b in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        torch.testing.assert_close(a[1].grad, b[1].grad, msg=a[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(dict(plain.named_buffers()), dict(saving.named_buffers()))


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_checkpointing_saves_memory(backbone, arch):
    kept = []
    for with_cp in (False, True):
        module, stored = make(backbone, arch, with_cp=with_cp).train(), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, stored=stored: stored.append(x.nelement()) or x, lambda x: x
        ):
            module(torch.randn(2, 3, 64, 64))
        kept.append(sum(stored))
    assert kept[1] < kept[0] / 2


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
@pytest.mark.parametrize('out_type', ['featmap', 'avg_featmap', 'raw', 'cls_token'])
def test_every_parameter_gets_a_gradient(backbone, arch, out_type):
    """For every choice of outputs: DDP needs no find_unused_parameters."""
    count = len(all_outputs(backbone, arch))
    choices = [(i,) for i in range(count)] + [tuple(range(count)), (0, count - 1)]
    for out_indices in choices if 'featmap' in out_type else [(-1,)]:
        module = make(backbone, arch, out_type=out_type, out_indices=out_indices).train()
        sum(x.square().sum() for x in module(torch.randn(2, 3, 48, 48))).backward()
        assert not [name for name, p in module.named_parameters() if p.grad is None], out_indices


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_gradients_lie_in_memory_as_their_weights(backbone, arch):
    """Else DDP warns that it reduces them slowly."""
    module = make(backbone, arch).train()
    sum(x.square().sum() for x in module(torch.randn(2, 3, 64, 64))).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.stride() == parameter.stride(), name


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_traces(backbone, arch):
    module, images = make(backbone, arch).eval(), torch.randn(1, 3, 48, 64)
    traced = torch.jit.trace(module, images)
    with torch.no_grad():
        torch.testing.assert_close(traced(images), module(images), atol=1e-4, rtol=1e-4)


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


@pytest.mark.parametrize('out_norm', [False, True])
@pytest.mark.parametrize('backbone', [FANViT, FANHybrid])
def test_frozen_stages(backbone, out_norm):
    arch = VIT if backbone is FANViT else HYBRID
    images = torch.randn(2, 3, 32, 32)
    outputs = all_outputs(backbone, arch)
    options = dict(out_indices=outputs, out_norm=out_norm)
    for frozen in range(-1, len(outputs) + 1):
        module = make(backbone, arch, frozen_stages=frozen, **options).train()
        trainable = {name for name, p in module.named_parameters() if p.requires_grad}
        if frozen == -1:
            assert len(trainable) == len(list(module.parameters()))
            continue
        assert not {name for name in trainable if name.startswith('patch_embed.backbone.stem')}
        if backbone is FANViT:
            assert not {name for name in trainable if name.startswith(('patch_embed', 'pos_embed'))}
        before = {name: value.clone() for name, value in module.named_buffers()}
        maps = module(images)
        # What a frozen stage produces has no gradient, the next stage's has.
        assert [x.requires_grad for x in maps] == [i >= frozen for i in outputs]
        for name, value in module.named_buffers():
            weight = f'{name.rpartition(".")[0]}.weight'
            assert torch.equal(value, before[name]) == (weight not in trainable)
        assert not trainable if frozen == len(outputs) else trainable


def test_frozen_modules_stay_in_eval_mode():
    module = make(FANViT, VIT, frozen_stages=2, drop_path_rate=0.5).train()
    assert [block.drop_path.training for block in module.blocks] == [False, False, True]
    assert not module.patch_embed.proj[0][1].training
    assert not module.eval().training


def test_norm_eval_and_norm_cfg():
    module = make(FANHybrid, HYBRID, norm_eval=True).train()
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == 3
    assert not any(norm.training for norm in norms)
    assert module.blocks[0].training
    synchronised = make(FANViT, VIT, norm_cfg=dict(type='SyncBN', requires_grad=True))
    norms = [m for m in synchronised.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == 4 + 3
    assert all(isinstance(m, nn.SyncBatchNorm) for m in norms)


def test_drop_path_is_constant_and_spares_class_attention():
    module = FANHybrid(HYBRID, drop_path_rate=0.3)
    assert [block.drop_path.drop_prob for block in module.blocks] == [0.3] * 3
    assert sum(type(m).__name__ == 'DropPath' for m in module.modules()) == 3


@pytest.mark.parametrize(
    ('backbone', 'expected'),
    [
        (
            FANViT,
            {'patch_embed': 0, 'pos_embed': 0, 'blocks.0': 1, 'blocks.2': 3, 'cls_token': 4}
            | {'cls_attn_blocks.0': 4, 'cls_attn_blocks.1': 5, 'norm': 6},
        ),
        (
            FANHybrid,
            {'patch_embed.backbone.stem': 0, 'patch_embed.backbone.stages.0': 1}
            | {'patch_embed.backbone.stages.1': 2, 'patch_embed.proj': 3, 'pos_embed': 3}
            | {'blocks.0': 3, 'blocks.2': 5, 'cls_token': 6, 'cls_attn_blocks.1': 7, 'norm': 8},
        ),
    ],
)
def test_layer_depth(backbone, expected):
    module = backbone(VIT if backbone is FANViT else HYBRID, out_type='cls_token')
    total = max(expected.values()) + 1
    seen = set()
    for name, _ in module.named_parameters():
        depth, count = module.get_layer_depth(f'backbone.{name}', 'backbone.')
        assert count == total
        seen.add(depth)
        for prefix, value in expected.items():
            assert not name.startswith(prefix + '.') or depth == value, name
    assert seen == set(range(total))
    assert module.get_layer_depth('head.fc.weight', 'backbone.') == (total - 1, total)
    assert module.get_layer_depth('cls_token')[0] == expected['cls_token']


def test_initial_values():
    torch.manual_seed(0)
    module = FANHybrid('tiny', out_type='cls_token', last_stage_channels=None)
    block, embed = module.blocks[0], module.patch_embed
    for weight, std in (
        (block.token_mixing.kv.weight, 0.02),
        (block.channel_attention.mlp.fc1.weight, 0.02),
        (module.cls_attn_blocks[0].mlp.fc2.weight, 0.02),
        (module.cls_token, 0.02),
        (block.channel_attention.mlp.dwconv.conv1.weight, (2 / 9) ** 0.5),
        (embed.backbone.stages[0].blocks[0].mlp.fc1.weight, 0.02),
        (embed.backbone.stages[0].blocks[0].conv_dw.weight, 0.02),
        # PyTorch's own: uniform within 1 / sqrt(fan_in)
        (embed.proj.weight, (1 / (256 * 4) / 3) ** 0.5),
        (module.pos_embed.token_projection.weight, (1 / 64 / 3) ** 0.5),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.12)
    for bias in (block.token_mixing.q.bias, embed.backbone.stem[0].bias):
        assert not bias.any()
    assert (embed.backbone.stages[1].blocks[0].gamma == 1e-6).all()
    for ones in (
        block.gamma1,
        block.gamma2,
        block.channel_attention.temperature,
        module.norm.weight,
    ):
        assert (ones == 1).all()
    downsample = OverlapDownsample(64, 64).proj
    assert downsample.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    before = copy.deepcopy(module.state_dict())
    module.init_weights()
    torch.testing.assert_close(module.state_dict(), before)


def test_init_cfg_overrides():
    module = FANViT(VIT, init_cfg=dict(type='Constant', layer='Linear', val=0.5, bias=0.25))
    module.init_weights()
    assert (module.blocks[0].token_mixing.q.weight == 0.5).all()
    assert (module.blocks[0].channel_attention.q.bias == 0.25).all()


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_copies_and_pickles(backbone, arch):
    module = make(backbone, arch).eval()
    images = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        (expected,) = module(images)
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(other(images)[0], expected)


def test_small_float64_gradients_equal_the_literal_reference():
    """The whole training path, BN statistics and layer scales included, on odd sizes."""
    from reference import fan as literal

    from fan_mm.models.checkpoints import to_official

    module = make(FANHybrid, HYBRID, out_indices=(0, 1, 2, 3)).double().train()
    whole = make(FANHybrid, HYBRID, out_type='raw').double()
    state = {key: value.clone() for key, value in whole.state_dict().items()}
    module.load_state_dict(state)
    parameters = {
        to_official(key): value.requires_grad_('running' not in key and value.is_floating_point())
        for key, value in state.items()
    }
    images = torch.randn(2, 3, 52, 71, dtype=torch.double)
    maps, _ = literal.forward(parameters, images, (2, 2), (1,), training=True)
    sum(x.square().mean() for x in maps).backward()
    sum(x.square().mean() for x in module(images)).backward()
    for key, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, parameters[to_official(key)].grad, msg=key)
    for key, buffer in module.named_buffers():
        if 'running' in key:
            torch.testing.assert_close(buffer, parameters[to_official(key)])


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


@pytest.mark.parametrize(
    ('backbone', 'options', 'message'),
    [
        (
            FANViT,
            dict(arch='huge'),
            "FANViT has no arch 'huge'; choose from tiny, small, base, large",
        ),
        (FANHybrid, dict(arch=VIT), 'missing: stem_depths; unknown: none'),
        (FANViT, dict(arch=HYBRID), 'missing: none; unknown: stem_depths, stem_channels, tap'),
        (FANViT, dict(arch=dict(VIT, num_heads=3)), '16 is not a multiple of num_heads 3'),
        (FANHybrid, dict(arch=dict(HYBRID, stem_depths=(1,))), 'differ in length'),
        (FANHybrid, dict(arch=dict(HYBRID, tap=3)), 'within its 3 blocks'),
        (
            FANHybrid,
            dict(arch=dict(WIDENED, widen=dict(WIDENED['widen'], after=2))),
            'within its 3',
        ),
        (
            FANViT,
            dict(out_type='map'),
            "must be one of featmap, cls_token, raw, avg_featmap, not 'map'",
        ),
        (FANViT, dict(channel_attention='xca'), "must be one of eca, se, csa, not 'xca'"),
        (FANViT, dict(out_indices=4), r'0\.\.3, not 4'),
        (FANViT, dict(out_indices=-5), r'0\.\.3, not -5'),
        (FANViT, dict(out_indices=(2, 1)), 'be in ascending order without repeats'),
        (FANViT, dict(out_indices=(1, 1)), 'be in ascending order without repeats'),
        (FANViT, dict(out_indices=()), r'0\.\.3, not \(\)'),
        (
            FANViT,
            dict(out_indices=2, out_type='raw'),
            "'raw' is only available after class attention",
        ),
        (FANViT, dict(frozen_stages=5), r'-1\.\.4, not 5'),
        (
            FANHybrid,
            dict(out_indices=2, last_stage_channels=8),
            'last_stage_channels needs output 3',
        ),
        (FANHybrid, dict(out_type='raw', out_norm=True), "out_norm need out_type 'featmap'"),
    ],
)
def test_mistakes_are_explained_in_one_line(backbone, options, message):
    default = VIT if backbone is FANViT else HYBRID
    with pytest.raises(InputError, match=message) as error:
        backbone(**{'arch': default, **options})
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_images_smaller_than_a_token_are_refused(backbone, arch):
    with pytest.raises(InputError, match='images of 15x64 pixels: a token is 16x16'):
        make(backbone, arch)(torch.randn(1, 3, 15, 64))
    assert make(backbone, arch).eval()(torch.randn(1, 3, 16, 16))[0].shape[2:] == (1, 1)


def test_official_names_of_the_variants_are_complete():
    """Every official FAN-ViT and FAN-Hybrid has a name here."""
    named = {(c['type'], c['arch']) for c in map(official.backbone_config, official.BACKBONES)}
    ours = {(backbone.__name__, arch) for backbone, arch in VARIANTS}
    assert {pair for pair in named if pair[0] != 'FANSwin'} == ours
