"""A backbone takes its weights from a checkpoint, wrapped, partial or fetched as it may be."""

import argparse
import functools
import http.server
import threading

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule, PretrainedInit
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from small_models import SMALL_HYBRID, small_hybrid
from torch import nn

from fan_mm.errors import InputError
from fan_mm.models.checkpoints import Anatomy, fit, load_pretrained, to_official, unwrap


def same(a, b):
    """Whether all weights that both have are equal, and a has none that b lacks."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() <= b.keys() and all(torch.equal(a[key], b[key]) for key in a)


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
            arch=dict(SMALL_HYBRID),
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
