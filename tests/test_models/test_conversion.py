import subprocess
from pathlib import Path

import numpy as np
import official
import pytest
import torch
import warm_python
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint

from fan_mm.errors import InputError
from fan_mm.models import FANConvNeXt
from fan_mm.models.checkpoints import to_ours
from fan_mm.models.conversion import convert, convert_file
from fan_mm.models.shapes_alone import shapes_alone

ROOT = Path(__file__).parents[2]
HEADS = {
    'seg_tap_fan_base_16_p4_hybrid': 'seg_segformer_head_c448',
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
@pytest.mark.parametrize('name', [name for name in HEADS if 'tap' not in name])
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
    for number in range(4):
        made = conversion.names[f'decode_head.linear_c{number + 1}.proj.weight']
        assert made[0] == f'decode_head.convs.{number}.conv.weight'
        assert conversion.state_dict[made[0]].shape[2:] == (1, 1)
    made = [key for names in conversion.names.values() for key in names]
    assert len(made) == len(set(made))
    assert set(made) == set(conversion.state_dict)


CLASSIFIERS = [name for name in official.BACKBONES if not official.dense(name)]


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
    expected = set() if official.dense(name) else {'head.fc.weight', 'head.fc.bias'}
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


@pytest.mark.slow
def test_tapadl_files_as_they_were_released(tmp_path):
    """The timm training file into the classifier's config and a dense model; the mmseg 0.x file."""
    name = 'tap_fan_base_16_p4_hybrid'
    plain = official.state_dict(name)
    ema = {key: value + 1 for key, value in plain.items()}
    content = dict(epoch=300, arch='tap_fan', state_dict=plain, state_dict_ema=ema)
    torch.save(content, tmp_path / 'tapadl_fan_base.pth.tar')
    conversion = convert_file(tmp_path / 'tapadl_fan_base.pth.tar', tmp_path / 'classifier.pth')
    options = dict(type='FANHybrid', arch='base', token_pooling=4)
    assert conversion.backbone == options | dict(out_type='cls_token')
    cfg = Config.fromfile(ROOT / 'configs/tap_fan_hybrid_b_imagenet.py')
    model = build('mmpretrain', cfg.model)
    load_checkpoint(model, str(tmp_path / 'classifier.pth'), strict=True)
    assert torch.equal(model.head.fc.bias, ema['head.bias'])

    cfg = Config.fromfile(ROOT / 'configs/tap_fan_hybrid_b_cityscapes.py')
    cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / 'tapadl_fan_base.pth.tar')
    cfg.model.backbone.norm_cfg = cfg.model.decode_head.norm_cfg = dict(type='BN')
    model = build('mmseg', cfg.model)
    model.backbone.init_weights()
    key = 'blocks.15.dilation_predictor.proj.1.running_var'
    assert torch.equal(model.backbone.state_dict()[to_ours(key)], plain[key])

    state = segmentor('seg_tap_fan_base_16_p4_hybrid')
    meta = dict(CLASSES=('road', 'car'), mmseg_version='0.23.0')
    torch.save(dict(meta=meta, state_dict=state), tmp_path / 'tapadl_fan_base_segmentation.pth')
    conversion = convert_file(tmp_path / 'tapadl_fan_base_segmentation.pth', tmp_path / 'seg.pth')
    assert conversion.backbone == options | dict(out_indices=(0, 1, 2, 3), paired_frequencies=False)
    load_checkpoint(model, str(tmp_path / 'seg.pth'))
    assert not model.load_state_dict(conversion.state_dict, strict=False).missing_keys
    assert torch.equal(model.backbone.state_dict()[to_ours(key)], state[f'backbone.{key}'])


def test_converting_twice_changes_nothing():
    once = convert(segmentor('seg_fan_tiny_8_p4_hybrid'))
    twice = convert(dict(state_dict=once.state_dict, meta=dict()))
    assert twice.state_dict.keys() == once.state_dict.keys()
    assert all(torch.equal(v, once.state_dict[k]) for k, v in twice.state_dict.items())


def test_options_are_those_of_the_first_conversion(tmp_path):
    files = [tmp_path / f'{i}.pth' for i in range(5)]
    torch.save(segmentor('seg_fan_tiny_8_p4_hybrid'), files[0])
    options = convert_file(files[0], files[1]).backbone
    convert_file(files[1], files[2])
    for file in files[1:3]:
        assert torch.load(file, weights_only=True)['meta']['backbone'] == options
    trained = torch.load(files[1], weights_only=True)['state_dict']  # as if, with any options
    torch.save(dict(state_dict=trained, meta=dict(epoch=1)), files[3])
    convert_file(files[3], files[4])
    assert torch.load(files[4], weights_only=True)['meta']['backbone'] is None


SIZES = dict(tiny='t', small='s', base='b', large='l')


def detector_config(name):
    """Our config of an official detector."""
    size = next(letter for size, letter in SIZES.items() if size in name)
    cfg = Config.fromfile(ROOT / f'configs/fan_hybrid_{size}_cascade_mask_rcnn_coco.py')
    cfg.model.backbone.update(
        paired_frequencies=False, out_norm='out_norm0.weight' in official.keys(name)
    )
    return cfg.model


def official_detector(name, heads, device='cpu'):
    """An official detector's state dict: a golden backbone, heads of spec 8.3 under mmdet 2's names."""
    state = {f'backbone.{k}': v for k, v in official.state_dict(name, device=device).items()}
    return state | heads


@pytest.mark.parametrize(
    'name', [name for name in official.BACKBONES if name.startswith(('det_', 'stl_det_'))]
)
def test_detectors_convert_key_by_key(name):
    """spec/keys of every official detector; no key of the config's model is missing or left over."""
    pytest.importorskip('mmcv._ext', reason='detectors need compiled mmcv ops')
    with shapes_alone():
        model = build('mmdet', detector_config(name))
    heads = {k: v for k, v in model.state_dict().items() if not k.startswith('backbone.')}
    # names as the official config makes them in mmdet 2
    for key in (
        'neck.lateral_convs.3.conv.weight',
        'neck.fpn_convs.0.conv.bias',
        'rpn_head.rpn_conv.weight',
        'rpn_head.rpn_cls.bias',
        'rpn_head.rpn_reg.weight',
        'roi_head.bbox_head.2.shared_convs.3.bn.running_var',
        'roi_head.bbox_head.0.shared_fcs.0.weight',
        'roi_head.bbox_head.1.fc_cls.weight',
        'roi_head.bbox_head.1.fc_reg.bias',
        'roi_head.mask_head.0.convs.3.conv.weight',
        'roi_head.mask_head.2.upsample.weight',
        'roi_head.mask_head.1.conv_logits.bias',
    ):
        assert key in heads
    assert heads['roi_head.bbox_head.0.fc_reg.bias'].shape == (4 * 80,)
    heads = dict(reversed(heads.items()))  # a file's order does not matter
    state = official_detector(name, heads, device='meta')
    conversion = convert(dict(state_dict=state))
    assert set(conversion.names) == set(state)
    assert all(conversion.names.values())
    own = model.state_dict().keys()
    # of the class attention the maps need one part only, and the backbone takes that
    assert own <= conversion.state_dict.keys()
    assert all(k.startswith('backbone.cls_') for k in conversion.state_dict.keys() - own)
    for key, value in model.state_dict().items():
        assert conversion.state_dict[key].shape == value.shape
    assert dict(out_norm=False) | conversion.backbone == official.backbone_config(name)
    assert 'Cascade R-CNN with 3 box heads, num_classes=80, masks' in conversion.remarks[1]


@pytest.mark.parametrize('name', ['det_fan_tiny_8_p4_hybrid', 'stl_det_fan_tiny_8_p4_hybrid'])
def test_a_converted_detector_gives_the_official_maps(name, tmp_path):
    pytest.importorskip('mmcv._ext', reason='detectors need compiled mmcv ops')
    model = build('mmdet', detector_config(name)).eval()
    heads = {k: v for k, v in model.state_dict().items() if not k.startswith('backbone.')}
    torch.save(dict(state_dict=official_detector(name, heads)), tmp_path / 'official.pth')
    convert_file(tmp_path / 'official.pth', tmp_path / 'ours.pth')
    model = build('mmdet', detector_config(name)).eval()
    load_checkpoint(model, str(tmp_path / 'ours.pth'), strict=True)
    golden = official.golden(name)
    with torch.no_grad():
        maps = model.backbone(official.images(1, 3, 256, 320))
    for i, x in enumerate(maps):
        expected = golden[f'256x320/out{i}/sample']
        np.testing.assert_allclose(official.reduced(x), expected, atol=1e-4)
    assert torch.equal(model.rpn_head.rpn_conv.weight, heads['rpn_head.rpn_conv.weight'])


def test_parts_that_fit_no_detector_are_refused():
    name = 'det_fan_tiny_8_p4_hybrid'
    good = {'rpn_head.rpn_conv.bias': torch.ones(2)}
    for key, message in (
        ('roi_heads.x', 'unknown roi_heads.x'),
        ('bbox_head.0.fc_cls.weight', 'a name of mmdet 1'),
        ('neck.lateral_convs.0.conv.weight', r'expects \[3\] channels, but the backbone has'),
    ):
        heads = {key: torch.ones(2, 3, 1, 1), **good}
        with pytest.raises(InputError, match=message):
            convert(official_detector(name, heads, device='meta'))


def test_what_fits_no_released_fan_is_refused(tmp_path):
    state = official.state_dict('fan_tiny_8_p4_hybrid', device='meta')
    with pytest.raises(InputError, match='looks like a ResNet'):
        convert({'conv1.weight': torch.ones(1), 'layer1.0.conv1.weight': torch.ones(1)})
    short = {key: value for key, value in state.items() if not key.startswith('blocks.7.')}
    with pytest.raises(InputError, match=r'3\+3\+7 blocks.* only released sizes'):
        convert(short)
    with shapes_alone():
        convnext = FANConvNeXt('tiny', out_indices=(0, 1, 2, 3)).state_dict()
    with pytest.raises(InputError, match=r'a FANConvNeXt tiny .* only released sizes'):
        convert(convnext)
    with pytest.raises(InputError, match=r'lacks blocks\.3\.token_mixing\.q\.bias'):
        convert({key: value for key, value in state.items() if key != 'blocks.3.attn.q.bias'})
    head = segmentor('seg_fan_tiny_8_p4_hybrid', device='meta')
    with pytest.raises(InputError, match=r'unknown decode_head\.linear_c5'):
        convert(head | {'decode_head.linear_c5.proj.weight': torch.ones(1)})
    with pytest.raises(InputError, match=r'test_\S+ is a folder'):
        convert_file('unread.pth', tmp_path)
    torch.save(dict(epoch=1), tmp_path / 'empty.pth')
    (tmp_path / 'link.pth').symlink_to('empty.pth')
    for target in ('empty.pth', 'link.pth'):
        with pytest.raises(InputError, match=rf'{target} is the source file'):
            convert_file(tmp_path / 'empty.pth', tmp_path / target)
    with pytest.raises(InputError, match=r'empty\.pth: the checkpoint contains no weights'):
        convert_file(tmp_path / 'empty.pth', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def tool(*arguments):
    return subprocess.run(
        [warm_python.python(), str(ROOT / 'tools' / 'convert_checkpoint.py'), *map(str, arguments)],
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
    said = '355 keys read from below state_dict: 355 renamed, 0 kept, 0 left out; 355 written'
    assert said in result.stdout
    assert "backbone: type='FANHybrid', arch='tiny', out_type='cls_token'" in result.stdout
    written = torch.load(target, weights_only=True)
    assert torch.equal(written['state_dict']['backbone.norm.weight'], state['norm.weight'])
    assert written['meta']['dataset_meta'] == dict(classes=('cat', 'dog'))

    refused = tool(tmp_path / 'missing.pth', target)
    assert refused.returncode == 2
    assert refused.stderr == f'error: no such checkpoint: {tmp_path / "missing.pth"}\n'
