"""Mistakes in detection configs: one line each, before any training."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from fan_mm.datasets.scenes import write_coco
from fan_mm.engine import prepare_runtime
from fan_mm.engine.detection_checks import check_evaluators
from fan_mm.errors import InputError

CONFIG = Path(__file__).parents[2] / 'configs/fan_hybrid_toy_mask_rcnn_coco.py'


@pytest.fixture
def toy(tmp_path):
    write_coco(tmp_path / 'toy', (64, 96), 4, 2, jobs=1)
    return tmp_path / 'toy'


@pytest.fixture
def cfg(toy):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext', reason='detectors need compiled mmcv ops')
    cfg = Config.fromfile(CONFIG)
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'].dataset.data_root = str(toy)
    for name in ('val', 'test'):
        cfg[f'{name}_evaluator'].ann_file = str(toy / 'annotations/instances_val2017.json')
    return cfg


def change(toy, split, function):
    """Apply a function to the content of an annotation file."""
    file = toy / f'annotations/instances_{split}2017.json'
    content = json.loads(file.read_text())
    function(content)
    file.write_text(json.dumps(content))


def complaint(cfg, training=True):
    with pytest.raises(InputError) as error:
        prepare_runtime(cfg, training=training)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_good_config_passes(cfg):
    prepare_runtime(cfg, training=True)
    prepare_runtime(cfg, training=False)


@pytest.mark.parametrize('head', ['bbox_head', 'mask_head'])
def test_classes_against_the_head(cfg, head):
    cfg.model.roi_head[head].num_classes = 80
    message = complaint(cfg)
    assert '8 classes (person, rider, car, ...)' in message
    assert f'model.roi_head.{head}.num_classes is 80' in message


def test_classes_against_several_heads(cfg):
    cfg.model.roi_head.bbox_head = [
        dict(cfg.model.roi_head.bbox_head),
        dict(cfg.model.roi_head.bbox_head, num_classes=3),
    ]
    assert 'model.roi_head.bbox_head.1.num_classes is 3' in complaint(cfg)


def test_classes_against_the_annotations(cfg):
    cfg.train_dataloader.dataset.metainfo.classes = tuple('abcdefgh')
    assert 'has other classes (8 classes (person,' in complaint(cfg)


def test_classes_in_another_order_would_be_confused(cfg):
    classes = cfg.train_dataloader.dataset.metainfo.classes
    cfg.train_dataloader.dataset.metainfo.classes = classes[::-1]
    assert 'has its classes in another order' in complaint(cfg)


def test_masks_for_a_mask_head(cfg, toy):
    change(toy, 'train', lambda c: [a.pop('segmentation') for a in c['annotations'][:2]])
    message = complaint(cfg)
    assert 'have no masks, which model.roi_head.mask_head needs' in message
    cfg.model.type = 'FasterRCNN'
    cfg.model.roi_head.pop('mask_head')
    assert 'annotation 1 has no segmentation' in complaint(cfg)  # mmdet's KeyError: 'mask'
    cfg.train_dataloader.dataset.pipeline[1].with_mask = False
    prepare_runtime(cfg, training=True)


def test_a_pipeline_that_does_not_load_masks(cfg):
    cfg.train_dataloader.dataset.pipeline[1].with_mask = False
    assert 'needs with_mask=True' in complaint(cfg)


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('key, words', [('annotations', 'no objects'), ('images', 'no images')])
def test_empty_dataset(cfg, toy, split, key, words):
    change(toy, split, lambda content: content.update({key: []}))
    message = complaint(cfg)
    assert f'{split}_dataloader.dataset is empty' in message and words in message


def test_images_of_test_dev_need_no_annotations(cfg, toy):
    change(toy, 'val', lambda content: content.pop('annotations'))
    prepare_runtime(cfg, training=False)
    assert 'val_dataloader.dataset is empty' in complaint(cfg)


def test_missing_image(cfg, toy):
    image = sorted((toy / 'train2017').iterdir())[1]
    image.unlink()
    assert f'no image {image}' in complaint(cfg)


def test_missing_annotation_file(cfg, toy):
    (toy / 'annotations/instances_val2017.json').unlink()
    assert 'no such file' in complaint(cfg)
    cfg.val_dataloader.dataset = cfg.train_dataloader.dataset
    assert 'val_evaluator.ann_file: no such file' in complaint(cfg)


def test_a_metric_that_was_built_already_has_no_file_to_check(tmp_path):
    assert check_evaluators('val_evaluator', [object()]) == []
    missing = [object(), dict(ann_file=str(tmp_path / 'none.json'))]
    with pytest.raises(InputError, match=r'none\.json'):
        check_evaluators('val_evaluator', missing)


def test_a_file_that_is_no_annotation_file(cfg, toy):
    (toy / 'annotations/instances_train2017.json').write_text('[]')
    assert 'is no annotation file of COCO' in complaint(cfg)


def test_neck_that_does_not_fit_the_backbone(cfg):
    cfg.model.neck.in_channels = [256, 512, 1024, 2048]
    assert 'model.neck.in_channels is [256, 512, 1024, 2048]' in complaint(cfg)


@pytest.mark.parametrize(
    'device, dtype, wrapper',
    [
        ('cpu', None, 'FeatureAmpOptimWrapper'),
        ('cuda', None, 'AmpOptimWrapper'),
        ('cuda', 'float16', 'AmpOptimWrapper'),
        ('cuda', 'bfloat16', 'FeatureAmpOptimWrapper'),
    ],
)
def test_mixed_precision_that_the_operators_take(cfg, monkeypatch, device, dtype, wrapper):
    monkeypatch.setattr('fan_mm.engine.runtime.get_device', lambda: device)
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    if dtype:
        cfg.optim_wrapper.dtype = dtype
    prepare_runtime(cfg, training=True)
    assert cfg.optim_wrapper.type == wrapper
    assert cfg.optim_wrapper.get('dtype') == (dtype if wrapper == 'AmpOptimWrapper' else None)
