import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import official
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint

from fan_mm.errors import InputError
from fan_mm.models.conversion import convert, convert_file

ROOT = Path(__file__).parents[2]
HEADS = {
    'seg_fan_tiny_8_p4_hybrid': 'seg_segformer_head_c192',
    'seg_fan_large_16_p4_hybrid': 'seg_segformer_head_c480',
}


def segmentor(name, device='cpu'):
    """An official segmentor's state dict with the goldens' weights."""
    state = {f'backbone.{k}': v for k, v in official.state_dict(name, device=device).items()}
    return state | official.state_dict(HEADS[name], prefix='decode_head.', device=device)


def build(library, config):
    """Build a model with a task library, its registries searched first."""
    utils = pytest.importorskip(f'{library}.utils')
    utils.register_all_modules(init_default_scope=False)
    with MODELS.switch_scope_and_registry(library) as registry:
        return registry.build(config)


@pytest.mark.slow
@pytest.mark.parametrize('name', HEADS)
def test_segmentors_give_the_official_logits(name, tmp_path):
    torch.save(dict(state_dict=segmentor(name), meta=dict()), tmp_path / 'official.pth')
    conversion = convert_file(tmp_path / 'official.pth', tmp_path / 'ours.pth')
    width = 192 if 'tiny' in name else 480
    assert conversion.remarks == [
        f"decode_head: type='SegformerHead', in_channels=[128, 256, {width}, {width}], "
        'channels=768, num_classes=19, act_cfg=None, with BN or SyncBN; '
        'the same logits in evaluation'
    ]
    model = build(
        'mmseg',
        dict(
            type='EncoderDecoder',
            backbone=conversion.backbone,
            decode_head=dict(
                type='SegformerHead',
                in_channels=[128, 256, width, width],
                in_index=[0, 1, 2, 3],
                channels=768,
                num_classes=19,
                act_cfg=None,
                norm_cfg=dict(type='BN'),
                align_corners=False,
            ),
            test_cfg=dict(mode='whole'),
        ),
    ).eval()
    load_checkpoint(model, str(tmp_path / 'ours.pth'), strict=True)

    golden = official.golden(name)
    for size, shape in (('224', (2, 3, 224, 224)), ('256x320', (1, 3, 256, 320))):
        images = official.images(*shape)
        with torch.no_grad():
            logits = model(images)
            metas = [dict(img_shape=shape[2:])] * len(images)
            full = model.decode_head.predict_by_feat(logits, metas)
        for key, value in (('head_logits', logits), ('full_res_logits', full)):
            assert tuple(value.shape) == tuple(golden[f'{size}/{key}/shape'])
            expected = golden[f'{size}/{key}/sample']
            np.testing.assert_allclose(official.reduced(value), expected, atol=1e-4, rtol=0)
        labels = full.argmax(1).flatten()[::97].numpy()
        assert np.mean(labels == golden[f'{size}/argmax_sample']) > 0.999


@pytest.mark.parametrize('name', HEADS)
def test_every_key_of_a_segmentor_is_accounted_for(name):
    state = segmentor(name, device='meta')
    conversion = convert(state)
    assert set(conversion.names) == set(state)
    left_out = {key for key, made in conversion.names.items() if not made}
    assert left_out == {'decode_head.conv_seg.weight', 'decode_head.conv_seg.bias'}
    made = [key for names in conversion.names.values() for key in names]
    assert len(made) == len(set(made))
    assert set(made) == set(conversion.state_dict)


CLASSIFIERS = [name for name in official.BACKBONES if name.startswith('fan_')]


@pytest.mark.parametrize('name', official.BACKBONES)
def test_every_released_backbone_converts(name):
    state = official.state_dict(name, device='meta')
    conversion = convert(dict(state_dict=state))
    assert conversion.backbone == official.backbone_config(name) or 'out_norm' in (
        official.backbone_config(name)
    )
    assert set(conversion.names) == set(state)
    left_out = {key for key, made in conversion.names.items() if not made}
    assert left_out == {k for k in state if k.endswith(('attn_mask', 'relative_position_index'))}
    for key, value in state.items():
        for made in conversion.names[key]:
            assert conversion.state_dict[made].shape == value.shape
    heads = {key for key in conversion.state_dict if not key.startswith('backbone.')}
    expected = {'head.fc.weight', 'head.fc.bias'} if name.startswith('fan_') else set()
    if name.endswith('_token'):
        expected |= {'head.token_fc.weight', 'head.token_fc.bias'}
    assert heads == expected
    assert len(conversion.summary()) >= 2


def test_a_classifier_gives_the_official_logits(tmp_path):
    name = 'fan_swin_tiny_patch4_window7_224'
    torch.save(dict(state_dict_ema=official.state_dict(name)), tmp_path / 'official.pth')
    conversion = convert_file(tmp_path / 'official.pth', tmp_path / 'ours.pth', weights='ema')
    head = dict(type='LinearClsHead', num_classes=1000, in_channels=768)
    model = build(
        'mmpretrain', dict(type='ImageClassifier', backbone=conversion.backbone, head=head)
    ).eval()
    load_checkpoint(model, str(tmp_path / 'ours.pth'), strict=True)
    with torch.no_grad():
        logits = model.head(model.extract_feat(official.images(2, 3, 224, 224)))
    np.testing.assert_allclose(logits.numpy(), official.golden(name)['logits'], atol=2e-5)


def test_converting_twice_changes_nothing():
    once = convert(segmentor('seg_fan_tiny_8_p4_hybrid'))
    twice = convert(dict(state_dict=once.state_dict, meta=dict()))
    assert twice.state_dict.keys() == once.state_dict.keys()
    assert all(torch.equal(v, once.state_dict[k]) for k, v in twice.state_dict.items())


def test_detectors_keep_their_other_parts(tmp_path):
    name = 'stl_det_fan_tiny_8_p4_hybrid'
    state = {f'backbone.{k}': v for k, v in official.state_dict(name, device='meta').items()}
    state |= {'neck.fpn.conv.weight': torch.ones(1), 'rpn_head.rpn_conv.bias': torch.ones(2)}
    conversion = convert(state)
    assert conversion.names['rpn_head.rpn_conv.bias'] == ('rpn_head.rpn_conv.bias',)
    assert conversion.remarks == ['kept as they are: neck, rpn_head']
    assert conversion.backbone['last_stage_channels'] == 768
    assert conversion.backbone['out_norm']


def test_what_fits_no_released_fan_is_refused(tmp_path):
    state = official.state_dict('fan_tiny_8_p4_hybrid', device='meta')
    with pytest.raises(InputError, match='looks like a ResNet'):
        convert({'conv1.weight': torch.ones(1), 'layer1.0.conv1.weight': torch.ones(1)})
    short = {key: value for key, value in state.items() if not key.startswith('blocks.7.')}
    with pytest.raises(InputError, match=r'3\+3\+7 blocks.* only released sizes'):
        convert(short)
    with pytest.raises(InputError, match=r'lacks blocks\.3\.token_mixing\.q\.bias'):
        convert({key: value for key, value in state.items() if key != 'blocks.3.attn.q.bias'})
    head = segmentor('seg_fan_tiny_8_p4_hybrid', device='meta')
    with pytest.raises(InputError, match=r'unknown decode_head\.linear_c5'):
        convert(head | {'decode_head.linear_c5.proj.weight': torch.ones(1)})
    torch.save(dict(epoch=1), tmp_path / 'empty.pth')
    with pytest.raises(InputError, match=r'empty\.pth: the checkpoint holds no weights'):
        convert_file(tmp_path / 'empty.pth', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def tool(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'convert_checkpoint.py'), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={'PYTHONPATH': str(ROOT), 'PATH': ''},
    )


def test_the_tool_reports_what_it_did(tmp_path):
    state = official.state_dict('fan_tiny_8_p4_hybrid')
    source, target = tmp_path / 'fan.pth.tar', tmp_path / 'out' / 'fan.pth'
    ema = {key: value.float() + 1 for key, value in state.items()}
    meta = dict(CLASSES=('cat', 'dog'))
    torch.save(dict(state_dict=state, state_dict_ema=ema, meta=meta), source)
    result = tool(source, target, '--weights', 'model', '--verbose')
    assert result.returncode == 0, result.stderr
    assert 'blocks.0.attn.q.weight -> backbone.blocks.0.token_mixing.q.weight' in result.stdout
    assert 'head.weight -> head.fc.weight' in result.stdout
    assert re.search(r'355 keys read: 355 renamed, 0 kept, 0 left out; 355 written', result.stdout)
    assert "backbone: type='FANHybrid', arch='tiny', out_type='cls_token'" in result.stdout
    written = torch.load(target, weights_only=True)
    assert torch.equal(written['state_dict']['backbone.norm.weight'], state['norm.weight'])
    assert written['meta']['dataset_meta'] == dict(classes=('cat', 'dog'))

    refused = tool(tmp_path / 'missing.pth', target)
    assert refused.returncode == 2
    assert refused.stderr == f'error: no such checkpoint: {tmp_path / "missing.pth"}\n'
