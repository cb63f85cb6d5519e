from pathlib import Path

import cv2
import pytest
from complaints import complaint
from mmengine.config import Config
from mmengine.registry import DefaultScope

from fan_mm.engine import prepare_runtime
from fan_mm.engine.config_checks import (
    check_checkpoints,
    check_dataset,
    check_model,
    check_settings,
)
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

pytest.importorskip('mmseg')
CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def cfg(tiny_config):
    return Config.fromfile(tiny_config)


def test_good_config_passes(cfg):
    notes = prepare_runtime(cfg, training=True)
    assert any('random weights' in note for note in notes)
    assert not any('random weights' in note for note in prepare_runtime(cfg))


def test_missing_dataset_folder(cfg):
    cfg.train_dataloader.dataset.data_root = 'nowhere'
    message = complaint(cfg)
    assert 'train_dataloader.dataset: no such file or folder: nowhere' in message
    assert 'train_dataloader.dataset.data_root=' in message
    prepare_runtime(cfg, training=False)  # testing does not need the training data


def test_missing_split(cfg, tiny_cityscapes):
    cfg.val_dataloader.dataset.data_prefix.img_path = 'leftImg8bit/nothing'
    assert str(tiny_cityscapes / 'leftImg8bit/nothing') in complaint(cfg)


def test_folder_inside_wrappers(cfg):
    inner = dict(cfg.train_dataloader.dataset, data_root='nowhere')
    repeated = dict(type='RepeatDataset', times=2, dataset=inner)
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[repeated])
    assert 'train_dataloader.dataset.datasets.0.dataset: no such' in complaint(cfg)


def test_addresses_are_not_looked_up(cfg):
    cfg.train_dataloader.dataset.data_root = 's3://bucket/cityscapes'
    cfg.train_dataloader.dataset.backend_args = dict(backend='petrel')
    cfg.load_from = 'https://example.org/weights.pth'
    prepare_runtime(cfg, training=True)


def test_empty_dataset(cfg, tiny_cityscapes):
    for path in (tiny_cityscapes / 'leftImg8bit' / 'val' / 'town').iterdir():
        path.unlink()
    assert 'no *_leftImg8bit.png below' in complaint(cfg)


def test_missing_label_file(cfg, tiny_cityscapes):
    next((tiny_cityscapes / 'gtFine' / 'train' / 'town').iterdir()).unlink()
    assert 'csCreateTrainIdLabelImgs' in complaint(cfg)


def test_labels_that_are_not_train_ids(cfg, tiny_cityscapes):
    path = sorted((tiny_cityscapes / 'gtFine' / 'train' / 'town').iterdir())[0]
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[10, 10] = 26  # the labelId of a car
    cv2.imwrite(str(path), label)
    message = complaint(cfg)
    assert str(path) in message
    assert 'the label 26' in message
    assert '0..18 or 255' in message


def test_missing_checkpoints(cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    assert 'model.backbone.init_cfg.checkpoint: no such checkpoint: nowhere.pth' in complaint(cfg)
    prepare_runtime(cfg, training=False)  # testing loads other weights
    cfg.load_from = 'neither.pth'
    assert 'load_from: no such checkpoint: neither.pth' in complaint(cfg, training=False)


def test_the_options_that_are_advised_are_enough(cfg):
    """With an init_cfg of the config's own, and without one."""
    first = 'model.backbone.init_cfg.type=Pretrained '
    for init, typed in ((None, first), (dict(type='Pretrained', checkpoint=None), '')):
        cfg.model.backbone.init_cfg = init
        (said,) = check_checkpoints(cfg, training=True)
        assert said.endswith(f': --cfg-options {typed}model.backbone.init_cfg.checkpoint=FILE')


@pytest.mark.parametrize(
    ('path', 'change'),
    [
        (None, dict(from_scratch=True)),
        (None, {'model.backbone': dict(_delete_=True, type='mmseg.UNet')}),  # published like that
        (None, {'model.backbone': 'resnet50'}),  # of a user's own model
        (None, {'model.backbone': None}),
        *((path, {}) for path in sorted(CONFIGS.glob('*camvid.py'))),
        *((path, {}) for path in sorted(CONFIGS.glob('*toy*.py'))),
    ],
    ids=lambda value: getattr(value, 'stem', str(value)),
)
def test_random_weights_that_are_meant(cfg, path, change):
    cfg = Config.fromfile(path) if path else cfg
    cfg.merge_from_dict(change)
    if cfg.model.get('teacher'):
        del cfg.model['teacher']
    assert check_checkpoints(cfg, training=True) == []


def test_unknown_arch(cfg):
    cfg.model.backbone.arch = 'gigantic'
    message = complaint(cfg)
    assert 'gigantic' in message
    assert 'tiny' in message


def test_wrong_out_indices(cfg):
    cfg.model.backbone.out_indices = (0, 1, 2, 4)
    assert 'out_indices' in complaint(cfg)


def test_head_channels(cfg):
    cfg.model.decode_head.in_channels = [8, 16, 24, 32]
    message = complaint(cfg)
    assert (
        'model.decode_head.in_channels is [8, 16, 24, 32], but must be [8, 16, 24, 24]' in message
    )


def test_head_with_too_few_classes(cfg):
    cfg.model.decode_head.num_classes = 5
    message = complaint(cfg)
    assert 'train_dataloader.dataset has 19 classes' in message
    assert 'model.decode_head.num_classes is 5' in message


@pytest.mark.parametrize(
    ('options', 'taken'),
    [
        (dict(loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True)), True),
        (dict(out_channels=1, loss_decode=[dict(type='DiceLoss', use_sigmoid=True)]), True),
        (dict(loss_decode=dict(type='CrossEntropyLoss')), False),
        (dict(), False),
    ],
)
def test_one_output_for_two_classes(cfg, options, taken):
    """mmseg takes what is beyond a threshold for the second class."""
    cfg.train_dataloader.dataset.metainfo = dict(classes=('road', 'sidewalk'))
    cfg.val_dataloader.dataset.metainfo = dict(classes=('road', 'sidewalk'))
    register_task_library(cfg)
    cfg.model.decode_head.pop('loss_decode')
    cfg.model.decode_head.update(num_classes=1, **options)
    if taken:
        check_settings(cfg, True)
    else:
        with pytest.raises(InputError, match=r'has 2 classes, but .*num_classes is 1'):
            check_settings(cfg, True)


def test_head_index(cfg):
    cfg.model.backbone.out_indices = (2, 3)
    assert 'model.decode_head.in_index is [0, 1, 2, 3]' in complaint(cfg)


def check_in(scope, **model):
    """Check a model as one of a library's."""
    pytest.importorskip(scope)
    register_task_library(Config(dict(default_scope=scope)))
    with DefaultScope.overwrite_default_scope(scope):
        check_model(model)


def test_auxiliary_heads_and_necks():
    vit = dict(type='FANViT', arch='tiny', out_indices=(4, 7, 11, 12))
    good = dict(type='FCNHead', in_channels=192, in_index=2)
    wrong = dict(good, in_channels=384, in_index=1)
    check_in('mmseg', backbone=vit, decode_head=good, auxiliary_head=[good, good])
    with pytest.raises(InputError, match=r'model.auxiliary_head.1.in_channels is 384'):
        check_in('mmseg', backbone=vit, auxiliary_head=[good, wrong])
    neck = dict(type='MLANeck', in_channels=[192] * 4)
    mla = dict(type='SETRMLAHead', in_channels=[256] * 4)
    check_in('mmseg', backbone=vit, neck=neck, decode_head=mla)
    with pytest.raises(InputError, match=r'model.neck.in_channels'):
        check_in('mmseg', backbone=vit, neck=dict(neck, in_channels=[384] * 4))


def test_heads_and_necks_that_take_outputs_in_their_own_way():
    """What Mask2Former, FastFCN, YOLOv3 and ViT's pyramid of one map ask for."""
    hybrid = dict(type='FANHybrid', arch='tiny', out_indices=(0, 1, 2, 3))
    channels = [128, 256, 192, 192]
    check_in(
        'mmseg', backbone=hybrid, decode_head=dict(type='Mask2FormerHead', in_channels=channels)
    )
    with pytest.raises(InputError, match=r'model.decode_head.in_channels'):
        head = dict(type='Mask2FormerHead', in_channels=channels[:3])
        check_in('mmseg', backbone=hybrid, decode_head=head)
    check_in(
        'mmseg', backbone=hybrid, neck=dict(type='JPU', in_channels=channels[1:], start_level=1)
    )
    pyramid = dict(type='Feature2Pyramid', embed_dim=384)
    head = dict(type='FCNHead', in_channels=384)
    check_in('mmseg', backbone=hybrid, neck=pyramid, decode_head=head)


def test_a_pyramid_takes_all_outputs():
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    hybrid = dict(type='FANHybrid', arch='tiny', out_indices=(0, 1, 2, 3))
    check_in('mmdet', backbone=hybrid, neck=dict(type='YOLOV3Neck', in_channels=[192, 192, 256]))
    fpn = dict(type='FPN', in_channels=[128, 256, 192, 192])
    check_in('mmdet', backbone=hybrid, neck=fpn)
    check_in('mmdet', backbone=hybrid, neck=[fpn, dict(type='BFP', in_channels=256, num_levels=5)])
    with pytest.raises(InputError, match=r'model.neck.in_channels is \[256, 192, 192\]'):
        check_in('mmdet', backbone=hybrid, neck=dict(type='FPN', in_channels=[256, 192, 192]))


def test_weights_for_the_backbone_that_was_there_before():
    with pytest.raises(InputError, match=r'set model.pretrained=None'):
        check_in('mmseg', backbone=dict(type='FANViT'), pretrained='open-mmlab://resnet50_v1c')
    check_in('mmseg', backbone=dict(type='FANViT'), pretrained=None)


def test_names_that_nobody_has():
    with pytest.raises(InputError, match=r'model.backbone: .* FANHybird; did you mean FANHybrid'):
        check_in('mmseg', backbone=dict(type='FANHybird'))
    with pytest.raises(InputError, match=r'model.auxiliary_head.0: nothing is registered as Nope;'):
        check_in('mmseg', backbone=dict(type='FANViT'), auxiliary_head=[dict(type='Nope')])
    with pytest.raises(InputError, match=r'model.backbone has no type'):
        check_in('mmseg', backbone=dict(arch='tiny'))


def test_classifier_head():
    maps = dict(type='FANViT', arch='tiny')
    vectors, tokens = (dict(maps, out_type=kind) for kind in ('cls_token', 'raw'))
    pool = dict(type='GlobalAveragePooling')
    head = dict(type='LinearClsHead', in_channels=192)
    check_in('mmpretrain', backbone=vectors, head=head)
    check_in('mmpretrain', backbone=maps, neck=pool, head=head)
    with pytest.raises(InputError, match=r'model.head.in_channels is 384, but must be 192'):
        check_in('mmpretrain', backbone=vectors, head=dict(head, in_channels=384))
    with pytest.raises(InputError, match=r"FANViT returns maps: set model.backbone.out_type='cls_"):
        check_in('mmpretrain', backbone=maps, head=head)
    with pytest.raises(InputError, match=r"out_type='cls_token': set model.neck=None"):
        check_in('mmpretrain', backbone=vectors, neck=pool, head=head)
    with pytest.raises(InputError, match=r'FANViT returns all tokens'):
        check_in('mmpretrain', backbone=tokens, head=head)


def test_datasets_that_fetch_themselves():
    pytest.importorskip('mmpretrain')
    register_task_library(Config(dict(default_scope='mmpretrain')))
    cifar = dict(type='CIFAR10', data_root='nowhere/cifar10', split='train', pipeline=[])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        check_dataset('train_dataloader.dataset', cifar)
        with pytest.raises(InputError, match='no such file or folder: nowhere/cifar10'):
            check_dataset('train_dataloader.dataset', dict(cifar, download=False))


@pytest.mark.parametrize('backbone', ['FANViT', 'FANHybrid', 'FANSwin', 'FANConvNeXt'])
def test_misspelt_arguments(backbone):
    with pytest.raises(InputError, match=rf'{backbone} has no argument archh; did you mean arch'):
        check_model(dict(backbone=dict(type=backbone, archh='small')))
    with pytest.raises(InputError, match=r'has no argument depths; it has .*arch'):
        check_model(dict(backbone=dict(type=backbone, depths=3)))


def test_other_backbones_are_left_alone():
    head = dict(type='FCNHead', in_channels=3)
    check_in('mmseg', backbone=dict(type='ResNet', depth=-1), decode_head=head)
    check_model(dict(type='no backbone at all'))
