import argparse
import functools
import http.server
import os
import threading

import numpy as np
import official
import pytest
import torch
from mmengine.model import BaseModule, PretrainedInit
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from torch import nn

from fan_mm.errors import InputError
from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin, FANViT
from fan_mm.models.backbones.staged import StagedBackbone
from fan_mm.models.checkpoints import (
    Anatomy,
    fit,
    load_pretrained,
    to_official,
    to_ours,
    translate,
    unwrap,
)

HYBRID = dict(embed_dims=32, depth=2, num_heads=4, stem_depths=(1, 2), stem_channels=(8, 16))


def small_hybrid(seed=0, **options):
    torch.manual_seed(seed)
    return FANHybrid(dict(HYBRID), **{'out_type': 'cls_token', **options})


@pytest.fixture
def trained():
    """A small classifier, its weights' official names, and a 5-class head beside them."""
    backbone = small_hybrid(seed=1)
    state = {to_official(key): value for key, value in backbone.state_dict().items()}
    return backbone, state | {'head.weight': torch.ones(5, 32), 'head.bias': torch.zeros(5)}


def same(a, b):
    """Whether all weights that both have are equal, and a has none that b lacks."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() <= b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def meta(config):
    with torch.device('meta'):
        return MODELS.build(config)


@pytest.mark.parametrize('name', official.BACKBONES)
def test_every_key_of_every_official_model_is_accounted_for(name):
    state = official.state_dict(name, device='meta')
    config = official.backbone_config(name)
    backbone = meta(config)
    own = backbone.state_dict()

    fitted = fit(state, backbone)
    assert {key: value.shape for key, value in fitted.items()} == {
        key: value.shape for key, value in own.items()
    }
    left_out = {key for key in state if to_ours(key) not in fitted}
    expected = {key for key in state if key.startswith(('head.', 'aux_head.'))}
    if config['type'] == 'FANSwin':
        expected |= {k for k in state if k.endswith(('attn_mask', 'relative_position_index'))}
    elif 'out_indices' in config:
        unfelt = ('attn', 'mlp', 'gamma2')  # by the patch tokens, spec 4.2
        expected |= {k for k in state if k.startswith('cls_attn') and k.split('.')[2] in unfelt}
        expected |= {'cls_token'}
    assert left_out == expected

    buffers = ('attn_mask', 'index', 'running_mean', 'running_var', 'num_batches_tracked')
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    parameters += sum(state[k].numel() for k in left_out if not k.endswith(buffers))
    assert parameters == official.VARIANTS[name]['parameters']

    backbone.load_state_dict(state, strict=True)
    model = nn.ModuleDict({'backbone': backbone})
    model.load_state_dict({f'backbone.{key}': value for key, value in state.items()}, strict=True)


@pytest.mark.parametrize('name', official.BACKBONES)
def test_names_translate_both_ways(name):
    keys = official.keys(name)
    ours = [to_ours(key) for key in keys]
    assert [to_official(key) for key in ours] == list(keys)
    assert [to_ours(key) for key in ours] == ours
    assert len(set(ours)) == len(ours)
    assert any(key.endswith('token_mixing.proj.weight') for key in ours)
    assert not any('.mlp_v.' in key for key in ours)


@pytest.mark.parametrize('cls', [FANViT, FANHybrid, FANSwin, FANConvNeXt])
def test_sizes_are_told_apart_by_their_names(cls):
    for arch in cls.arch_zoo:
        anatomy = meta(dict(type=cls.__name__, arch=arch, out_indices=0)).anatomy
        assert anatomy.arch == arch
        assert str(anatomy).startswith(f'{cls.__name__} {arch} (width ')


@pytest.mark.parametrize('cls', [FANViT, FANHybrid, FANSwin, FANConvNeXt])
def test_a_subclass_reads_checkpoints_of_its_family(cls):
    class Mine(cls):
        """With something of the user's."""

    staged = issubclass(cls, StagedBackbone)
    size = dict(depths=(1, 1), num_heads=(2, 2)) if staged else dict(depth=1, num_heads=2)
    if cls is FANHybrid:
        size |= dict(stem_depths=(1, 1))
    state = cls(dict(embed_dims=16, **size)).state_dict()
    mine = Mine(dict(embed_dims=16, **size))
    mine.load_state_dict(state)
    assert all(torch.equal(value, state[key]) for key, value in mine.state_dict().items())


def test_a_custom_size_is_recognised_by_its_weights():
    backbone = small_hybrid()
    assert Anatomy.of(backbone.state_dict()) == backbone.anatomy
    assert 'unreleased' in str(backbone.anatomy)
    swin = FANSwin(
        dict(embed_dims=16, depths=(1, 2, 1), num_heads=(2, 2, 4)), out_type='avg_featmap'
    )
    assert Anatomy.of(swin.state_dict()) == swin.anatomy
    for kind in ('se', 'csa'):
        vit = FANViT(dict(embed_dims=16, depth=1, num_heads=2), channel_attention=kind)
        assert Anatomy.of(vit.state_dict()) == vit.anatomy


def said(function):
    """The lines that a function logs."""
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'fan_mm.models.checkpoints.backbone.print_log', lambda text, logger: lines.append(text)
        )
        function()
    return lines


def test_a_fan_file_initialises_a_model_with_token_pooling(trained, tmp_path):
    """Fine-tuning: the new layers begin anew, and the log says so."""
    backbone, state = trained
    torch.save(state, tmp_path / 'fan.pth')
    pooled = small_hybrid(token_pooling=4)
    fresh = {k: v.clone() for k, v in pooled.state_dict().items() if '.token_pooling.' in k}
    (line,) = said(lambda: load_pretrained(pooled, tmp_path / 'fan.pth'))
    assert line.endswith('; not needed: head; not in the file, newly initialised: token_pooling')
    own = pooled.state_dict()
    assert all(torch.equal(own[key], value) for key, value in fresh.items())
    assert same(backbone, pooled)
    bare = small_hybrid(token_pooling=4)
    missing = bare.load_state_dict(state, strict=False).missing_keys
    assert missing == [key for key in fresh if 'num_batches' not in key]


def test_files_with_token_pooling(tmp_path):
    pooled = small_hybrid(seed=1, token_pooling=4)
    assert Anatomy.of(pooled.state_dict()) == pooled.anatomy
    state = {to_official(key): value for key, value in pooled.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'tap.pth')
    again = small_hybrid(token_pooling=4)
    (line,) = said(lambda: load_pretrained(again, tmp_path / 'tap.pth'))
    assert 'anew' not in line and same(again, pooled)
    kind = r'the checkpoint is a FANHybrid .*4 channel heads, token pooling of 4 scales\), but the '
    for model, hint in (
        (small_hybrid(), r'heads\)'),
        (small_hybrid(token_pooling=2), r'2 scales\)'),
    ):
        expected = rf'^(\S+: )?{kind}model is a FANHybrid .*{hint}: set token_pooling=4$'
        with pytest.raises(InputError, match=expected):
            load_pretrained(model, tmp_path / 'tap.pth')
        with pytest.raises(InputError, match=expected):
            nn.ModuleDict(dict(backbone=model)).load_state_dict(
                {f'backbone.{key}': value for key, value in state.items()}, strict=False
            )
    del state['blocks.1.dilation_predictor.proj.2.weight']
    with pytest.raises(InputError, match=r'lacks blocks\.1\.token_pooling\.predictor\.2\.weight'):
        fit(state, again)


def wrappings(state):
    other = {key: value + 1 for key, value in state.items()}
    prefixed = {f'backbone.{key}': value for key, value in state.items() if 'head' not in key}
    return {
        'bare': state,
        'state_dict': dict(state_dict=state, epoch=3, arch='fan'),
        'ema': dict(state_dict=other, state_dict_ema=state, optimizer=dict(state={})),
        'model': dict(model=state, args=argparse.Namespace(lr=1.0), metric=np.float64(81.2)),
        'module': dict(state_dict={f'module.{key}': value for key, value in state.items()}),
        'backbone': dict(state_dict=prefixed, meta=dict(CLASSES=('road', 'car'))),
        'segmentor': prefixed | {'decode_head.linear_pred.weight': torch.ones(3)},
        'ddp segmentor': {f'module.{key}': value for key, value in prefixed.items()},
    }


@pytest.mark.parametrize('wrapping', wrappings({}))
def test_wrapped_checkpoints_load_directly_and_by_init_cfg(wrapping, trained, tmp_path):
    backbone, state = trained
    checkpoint = wrappings(state)[wrapping]
    direct = small_hybrid()
    direct.load_state_dict(checkpoint)
    assert same(direct, backbone)

    path = tmp_path / 'weights.pth'
    torch.save(checkpoint, path)
    built = MODELS.build(
        dict(
            type='FANHybrid',
            arch=dict(HYBRID),
            out_type='cls_token',
            init_cfg=dict(type='Pretrained', checkpoint=str(path)),
        )
    )
    assert not same(built, backbone)
    built.init_weights()
    assert same(built, backbone)


@pytest.mark.parametrize(
    'kind',
    ['Pretrained', 'mmengine.Pretrained', 'mmengine.model.PretrainedInit', PretrainedInit],
)
def test_our_own_reader_is_asked_whatever_form_the_type_has(trained, tmp_path, kind):
    """As lazy configs and their dumps have it; mmengine's reader would load nothing of a wrapped file."""
    backbone, state = trained
    torch.save(dict(model={f'_orig_mod.{k}': v for k, v in state.items()}), tmp_path / 'w.pth')
    model = small_hybrid(init_cfg=dict(type=kind, checkpoint=str(tmp_path / 'w.pth')))
    model.init_weights()
    assert same(model, backbone)


def test_weights_can_be_chosen(trained, tmp_path):
    backbone, state = trained
    checkpoint = dict(state_dict={k: v + 1 for k, v in state.items()}, state_dict_ema=state)
    path = tmp_path / 'weights.pth'
    torch.save(checkpoint, path)
    for weights, ema in ((None, True), ('ema', True), ('model', False)):
        init_cfg = dict(type='Pretrained', checkpoint=str(path), weights=weights)
        chosen = small_hybrid(init_cfg=init_cfg)
        chosen.init_weights()
        assert same(chosen, backbone) == ema
        if not ema:
            assert torch.equal(chosen.norm.weight, backbone.norm.weight + 1)
    with pytest.raises(InputError, match='no EMA weights'):
        unwrap(dict(state_dict=state), 'ema')
    with pytest.raises(InputError, match="'ema' or 'model'"):
        unwrap(checkpoint, 'EMA')


def test_a_prefix_selects_a_part_of_the_file(trained, tmp_path):
    backbone, state = trained
    path = tmp_path / 'weights.pth'
    torch.save({f'student.net.{key}': value for key, value in state.items()}, path)
    model = small_hybrid()
    load_pretrained(model, path, prefix='student.net')
    assert same(model, backbone)
    with pytest.raises(InputError, match=r"nothing below 'teacher'"):
        load_pretrained(model, path, prefix='teacher')


def test_a_whole_model_loads_official_names_through_mmengine(trained, tmp_path):
    backbone, state = trained

    class Segmentor(BaseModule):
        def __init__(self, seed):
            super().__init__()
            self.backbone = small_hybrid(seed)
            self.decode_head = nn.Linear(2, 2)

    model, source = Segmentor(0), Segmentor(2)
    path = tmp_path / 'model.pth'
    weights = {f'backbone.{key}': value for key, value in state.items() if 'head' not in key}
    weights |= {f'decode_head.{key}': v for key, v in source.decode_head.state_dict().items()}
    torch.save(dict(state_dict=weights, meta=dict()), path)
    load_checkpoint(model, str(path), strict=True)
    assert same(model.backbone, backbone)
    assert same(model.decode_head, source.decode_head)


def test_early_official_files(trained):
    backbone, state = trained
    early = {}
    for key, value in state.items():
        if key.startswith('cls_attn_blocks.') and '.attn.k.' in key:
            q, v = (state[key.replace('.k.', f'.{name}.')] for name in 'qv')
            early[key.replace('.k.', '.qkv.')] = torch.cat((q, value, v))
        elif not (key.startswith('cls_attn_blocks.') and ('.attn.q.' in key or '.attn.v.' in key)):
            early[key.replace('pos_embed.', 'pos_embeder.')] = value
    assert 'pos_embeder.token_projection.weight' in early
    assert 'cls_attn_blocks.1.attn.qkv.bias' in early
    model = small_hybrid()
    model.load_state_dict(dict(model=early), strict=True)
    assert same(model, backbone)


def test_a_classification_checkpoint_initialises_a_detector(trained, tmp_path):
    _, state = trained
    path = tmp_path / 'weights.pth'
    torch.save(state, path)
    detector = small_hybrid(
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        last_stage_channels=48,
        out_norm=True,
        init_cfg=dict(type='Pretrained', checkpoint=str(path)),
    )
    fresh = detector.learnable_downsample.weight.clone()
    messages = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'fan_mm.models.checkpoints.backbone.print_log',
            lambda text, logger: messages.append(text),
        )
        detector.init_weights()
    assert torch.equal(detector.blocks[1].token_mixing.kv.weight, state['blocks.1.attn.kv.weight'])
    assert torch.equal(detector.learnable_downsample.weight, fresh)
    assert len(messages) == 1
    anew = 'newly initialised: learnable_downsample, out_norm0, out_norm1, out_norm2, out_norm3'
    assert messages[0].endswith(anew)
    assert 'not needed: cls_attn_blocks, cls_token, head, norm;' in messages[0]


def test_a_backbone_that_ends_early_takes_what_it_needs(trained):
    backbone, state = trained
    for out_indices in (0, (0, 1), 2):
        part = small_hybrid(out_type='featmap', out_indices=out_indices)
        part.load_state_dict(state, strict=True)
        assert same(part, backbone)


def test_no_checkpoint_means_random_weights():
    backbone = small_hybrid(init_cfg=dict(type='Pretrained', checkpoint=None))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_the_checkpoint_comes_after_other_initialisers(trained, tmp_path):
    backbone, state = trained
    path = tmp_path / 'weights.pth'
    torch.save(state, path)
    model = small_hybrid(
        init_cfg=[
            dict(type='Pretrained', checkpoint=str(path)),
            dict(type='Constant', layer='Linear', val=3.0),
        ]
    )

    class Parent(BaseModule):
        def __init__(self):
            super().__init__()
            self.backbone = model

    Parent().init_weights()
    assert same(model, backbone)
    assert model.is_init


def test_checkpoints_are_fetched_by_http(trained, tmp_path, monkeypatch):
    backbone, state = trained
    (tmp_path / 'www').mkdir()
    torch.save(dict(state_dict=state), tmp_path / 'www' / 'fan.pth')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / 'www')
    )
    monkeypatch.setattr(handler.func, 'log_message', lambda *_: None)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        model = small_hybrid()
        load_pretrained(model, f'{address}/fan.pth')
        with pytest.raises(InputError, match=r'cannot download .*missing\.pth: Not Found|File not'):
            load_pretrained(model, f'{address}/missing.pth')
        server.shutdown()
    assert same(model, backbone)


REFUSED = {
    'another size': (
        'fan_base_16_p4_hybrid',
        dict(type='FANHybrid', arch='small'),
        r'is a FANHybrid base \(width 448, 3\+3\+16 blocks, eca, 8 channel heads\), '
        r'but the model is a FANHybrid small ',
    ),
    'another family': (
        'fan_small_12_p16_224',
        dict(type='FANHybrid', arch='small'),
        'is a FANViT small .* but the model is a FANHybrid small',
    ),
    'another channel attention': (
        'fan_small_12_p16_224_se_attn',
        dict(type='FANViT', arch='small'),
        r'is a FANViT small \(width 384, 12 blocks, se\), but .* eca, 8 channel heads',
    ),
    'a depth of the same width': (
        'fan_swin_small_patch4_window7_224',
        dict(type='FANSwin', arch='tiny', out_indices=0),
        'is a FANSwin small .* but the model is a FANSwin tiny',
    ),
    'the segmentation form': (
        'seg_FANSwinTransformer',
        dict(type='FANSwin', arch='small'),
        'eca, 8 channel heads.*eca, 3 channel heads',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_other_fans_are_refused_by_name(case):
    name, config, message = REFUSED[case]
    state, backbone = official.state_dict(name, device='meta'), meta(config)
    for strict in (True, False):
        with pytest.raises(InputError, match=message):
            backbone.load_state_dict(state, strict=strict)
    segmentor = nn.ModuleDict({'backbone': backbone})
    with pytest.raises(InputError, match=message):
        segmentor.load_state_dict({f'backbone.{key}': value for key, value in state.items()})


FOREIGN = {
    'a ResNet': dict(type='mmpretrain.ResNet', depth=18),
    'a plain ViT': dict(type='mmpretrain.VisionTransformer', arch='deit-tiny'),
    'a Swin Transformer': dict(type='mmpretrain.SwinTransformer', arch='tiny'),
    'a ConvNeXt': dict(type='mmpretrain.ConvNeXt', arch='tiny'),
    'a MiT (SegFormer)': dict(type='mmseg.MixVisionTransformer'),
    'a PoolFormer': dict(type='mmpretrain.PoolFormer', arch='s12'),
    'an XCiT': dict(
        type='mmpretrain.XCiT', embed_dims=128, depth=1, num_heads=4, mlp_ratio=4, cls_attn_layers=1
    ),
}
TORCHVISION = {
    'a plain ViT': 'vit_b_16',
    'a Swin Transformer': 'swin_t',
    'a ConvNeXt': 'convnext_tiny',
}
TIMM = {
    'a plain ViT': 'blocks.0.attn.qkv.weight',
    'a Swin Transformer': 'layers.0.blocks.0.attn.relative_position_bias_table',
    'a ConvNeXt': 'stages.0.blocks.0.conv_dw.weight',
    'a MiT (SegFormer)': 'patch_embed1.proj.weight',
    'an XCiT': 'blocks.0.local_mp.conv1.weight',
}


@pytest.mark.parametrize('what', FOREIGN)
def test_networks_of_the_task_libraries_are_refused_by_name(what):
    library = FOREIGN[what]['type'].partition('.')[0]
    utils = pytest.importorskip(f'{library}.utils')
    utils.register_all_modules(init_default_scope=False)
    state = MODELS.build(FOREIGN[what]).state_dict()
    for backbone in (FANHybrid('tiny'), FANSwin('tiny'), FANViT('tiny')):
        with pytest.raises(InputError, match='does not match any FAN: it looks like') as error:
            backbone.load_state_dict(state)
        assert str(error.value).endswith(what)


@pytest.mark.parametrize('what', TORCHVISION)
def test_networks_of_torchvision_are_refused_by_name(what):
    models = pytest.importorskip('torchvision.models')
    with torch.device('meta'):
        state = getattr(models, TORCHVISION[what])().state_dict()
    with pytest.raises(InputError, match='does not match any FAN: it looks like') as error:
        fit(state, FANSwin('tiny'))
    assert str(error.value).endswith(what)


@pytest.mark.parametrize('what', TIMM)
def test_networks_of_timm_are_refused_by_name(what):
    with pytest.raises(InputError, match='does not match any FAN: it looks like') as error:
        fit({'cls_token': torch.zeros(1), TIMM[what]: torch.zeros(1)}, FANSwin('tiny'))
    assert str(error.value).endswith(what)


def test_an_unknown_network_is_refused_by_its_keys():
    with pytest.raises(
        InputError, match=r'does not match any FAN: it has 1 tensors named foo\.bar'
    ):
        fit({'foo.bar': torch.zeros(1)}, small_hybrid())
    named_alike = {'patch_embed.proj.weight': torch.zeros(1), 'foo.a': torch.zeros(1)}
    with pytest.raises(
        InputError, match=r'does not match any FAN: it has 3 tensors named patch_embed\.proj'
    ):
        fit({**named_alike, 'foo.b': torch.zeros(1)}, FANSwin('tiny'))


def test_incomplete_files_are_refused(trained, tmp_path):
    _, state = trained

    def refused(changed, message):
        path = tmp_path / 'weights.pth'
        torch.save(changed, path)
        model = small_hybrid(init_cfg=dict(type='Pretrained', checkpoint=str(path)))
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(InputError, match=message) as error:
            model.init_weights()
        assert '\n' not in str(error.value)
        assert str(path) in str(error.value)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    lost = {key: value for key, value in state.items() if not key.startswith('blocks.1.norm1')}
    refused(lost, r'lacks blocks\.1\.norm1\.weight, blocks\.1\.norm1\.bias$')
    refused({k: v for k, v in state.items() if not k.startswith('norm.')}, r'lacks norm\.weight')
    refused(
        state | {'blocks.0.attn.extra': torch.ones(1)}, r'unknown blocks\.0\.token_mixing\.extra'
    )
    refused(
        state | {'pos_embed.token_projection.weight': torch.ones(32, 60, 1, 1)},
        r'token_projection\.weight is \(32, 60, 1, 1\), not \(32, 64, 1, 1\)',
    )
    refused(dict(epoch=1, args='x'), 'contains no weights, only: epoch, args')
    refused([1, 2], 'not a list')

    path = tmp_path / 'weights.pth'
    path.write_bytes(b'no torch file')
    with pytest.raises(InputError, match=r'is not a torch checkpoint') as error:
        small_hybrid(init_cfg=dict(type='Pretrained', checkpoint=str(path))).init_weights()
    assert str(error.value).count('weights.pth') == 1


def test_a_checkpoint_that_wants_to_run_code_is_refused(trained, tmp_path):
    _, state = trained

    class Exploit:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict=state, args=Exploit()), path)
    model = small_hybrid(init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    with pytest.raises(InputError, match=r'evil\.pth was rejected: loading it would run'):
        model.init_weights()
    assert not (tmp_path / 'executed').exists()


def test_translate_leaves_the_convolutional_stem_alone():
    key = 'patch_embed.backbone.stages.0.blocks.0.mlp.fc1.weight'
    assert list(translate({key: torch.ones(1)})) == [key]
