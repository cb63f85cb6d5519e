"""Mistakes in detection configs: one line each, before any training."""

import copy
import json
import shutil
from pathlib import Path

import pytest
from complaints import complaint, data_complaint
from mmengine.config import Config

from fan_mm.datasets.scenes import write_coco
from fan_mm.engine import config_checks, prepare_runtime
from fan_mm.engine.config_checks import check_data
from fan_mm.engine.detection_checks import check_evaluator
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

CONFIG = Path(__file__).parents[2] / 'configs/fan_hybrid_toy_mask_rcnn_coco.py'


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'toy'
    write_coco(root, (64, 96), 4, 2, jobs=1)
    return root


@pytest.fixture
def toy(pictures, tmp_path):
    return shutil.copytree(pictures, tmp_path / 'toy')


@pytest.fixture(scope='module')
def parsed():
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext', reason='detectors need compiled mmcv ops')
    cfg = Config.fromfile(CONFIG)
    register_task_library(cfg)
    return cfg


@pytest.fixture
def cfg(toy, parsed):
    cfg = copy.deepcopy(parsed)
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


def test_good_config_passes(cfg):
    prepare_runtime(cfg, training=True)
    check_data(cfg, training=False)


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
    for training in (True, False):  # train and evaluation must agree, too
        assert 'labels are positions, and classes' in complaint(cfg, training)
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset.metainfo.classes = classes[::-1]
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
    assert 'needs with_mask=True for model.roi_head.mask_head' in complaint(cfg)
    cfg.model.roi_head.mask_head = [cfg.model.roi_head.mask_head] * 3  # a cascade
    assert 'needs with_mask=True for model.roi_head.mask_head.0' in data_complaint(cfg)


def test_masks_that_are_learnt_from_boxes_need_none(cfg, toy):
    change(toy, 'train', lambda c: [a.pop('segmentation') for a in c['annotations']])
    cfg.train_dataloader.dataset.pipeline[1].with_mask = False
    del cfg.model['roi_head']
    cfg.model.mask_head = dict(type='BoxInstMaskHead', num_layers=3)
    check_data(cfg, training=True)
    cfg.model.mask_head.type = 'CondInstMaskHead'
    assert 'have no masks, which model.mask_head needs' in data_complaint(cfg)


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('key, words', [('annotations', 'no objects'), ('images', 'no images')])
def test_empty_dataset(cfg, toy, split, key, words):
    change(toy, split, lambda content: content.update({key: []}))
    message = complaint(cfg)
    assert f'{split}_dataloader.dataset is empty' in message and words in message


def test_a_filter_that_leaves_no_image(cfg):
    dataset = cfg.train_dataloader.dataset
    dataset.filter_cfg = dict(min_size=64)
    check_data(cfg, training=True)
    dataset.filter_cfg = dict(min_size=65)
    assert 'train_dataloader.dataset.filter_cfg.min_size=65 leaves no' in data_complaint(cfg)
    dataset.test_mode = True  # mmdet filters nothing then
    check_data(cfg, training=True)


def test_images_of_test_dev_need_no_annotations(cfg, toy):
    change(toy, 'val', lambda content: content.pop('annotations'))
    prepare_runtime(cfg, training=False)
    assert 'val_dataloader.dataset is empty' in complaint(cfg)


def test_missing_image(cfg, toy):
    image = sorted((toy / 'train2017').iterdir())[1]
    image.unlink()
    assert f'no image {image}' in complaint(cfg)


def test_the_folder_of_images_by_the_name_that_mmseg_has_for_it(cfg):
    dataset = cfg.train_dataloader.dataset
    dataset.data_prefix = dict(img_path='train2017')
    assert data_complaint(cfg).endswith('and 3 more: their folder is data_prefix.img')
    dataset.data_prefix = 'train2017'
    assert "takes a dict, such as dict(img='train2017')" in data_complaint(cfg)


def test_missing_annotation_file(cfg, toy):
    (toy / 'annotations/instances_val2017.json').unlink()
    assert 'no such file' in complaint(cfg)
    cfg.val_dataloader.dataset = cfg.train_dataloader.dataset
    assert 'val_evaluator.ann_file: no such file' in complaint(cfg)


def test_a_metric_of_several_files(cfg):
    cfg.val_evaluator.ann_file = [cfg.val_evaluator.ann_file] * 2
    assert 'val_evaluator.ann_file is a list, but a metric takes one' in data_complaint(cfg)


def test_a_metric_that_was_built_already_has_no_file_to_check(tmp_path):
    assert check_evaluator('val_evaluator', [object()]) == []
    missing = [object(), dict(ann_file=str(tmp_path / 'none.json'))]
    with pytest.raises(InputError, match=r'none\.json'):
        check_evaluator('val_evaluator', missing)


def test_a_file_that_is_no_annotation_file(cfg, toy):
    (toy / 'annotations/instances_train2017.json').write_text('[]')
    assert 'is not a COCO annotation file' in complaint(cfg)


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


SPLITS = ['train', 'val', 'test']


def file_of(split):
    return 'train' if split == 'train' else 'val'


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize(
    ('key', 'function'),
    [
        ('iscrowd', lambda a: a.pop('iscrowd')),
        ('iscrowd', lambda a: a.update(iscrowd=None)),
        ('iscrowd', lambda a: a.update(iscrowd='0')),
        ('area', lambda a: a.pop('area')),
        ('area', lambda a: a.update(area=None)),
        ('bbox', lambda a: a.update(bbox=[1, 2, 3])),
        ('bbox', lambda a: a.update(bbox=[float('nan'), 2, 3, 4])),
        ('segmentation', lambda a: a.pop('segmentation')),
    ],
)
def test_what_mmdet_and_pycocotools_read(cfg, toy, split, key, function):
    """Before anything runs: the file, the annotation and the key."""
    change(toy, file_of(split), lambda content: function(content['annotations'][1]))
    number = json.loads((toy / f'annotations/instances_{file_of(split)}2017.json').read_text())
    number = number['annotations'][1]
    cfg.val_dataloader.dataset.pipeline[2].with_mask = True
    if split == 'train' and key == 'iscrowd' and number.get(key) is None:
        check_data(cfg, training=True)  # mmdet trains on it
        return
    message = data_complaint(cfg, training=split != 'test')
    assert f'instances_{file_of(split)}2017.json' in message
    if key == 'segmentation' and split == 'train':
        assert 'have no masks' in message
    else:
        assert f'annotation {number["id"]}' in message and key in message


@pytest.mark.parametrize('split', ['val', 'test'])
def test_truth_that_lacks_images_of_the_dataset(cfg, toy, split):
    file = toy / 'annotations/first.json'
    content = json.loads((toy / 'annotations/instances_val2017.json').read_text())
    content['images'] = content['images'][:1]
    file.write_text(json.dumps(content))
    cfg[f'{split}_evaluator'].ann_file = str(file)
    training = split == 'val'
    assert 'lacks 1 of the 2 images of the dataset' in data_complaint(cfg, training)
    cfg[f'{split}_dataloader'].dataset.indices = 1
    check_data(cfg, training=training)
    cfg[f'{split}_dataloader'].dataset.indices = [1]
    assert 'lacks 1 of the 1 images' in data_complaint(cfg, training)


@pytest.mark.parametrize(
    ('kind', 'confuses'),
    [('CocoMetric', True), ('FasterCocoMetric', True), ('FastCocoMetric', False)],
)
def test_a_table_of_classes_that_mmdet_would_confuse_is_said(cfg, toy, kind, confuses):
    said = 'the table of classwise=True'
    if pytest.importorskip('mmdet.registry').METRICS.get(kind) is None:
        pytest.skip('not in the original mmdet')
    cfg.test_evaluator.update(type=kind, classwise=True)
    assert not any(said in note for note in check_data(cfg, training=False))
    file = toy / 'annotations/instances_val2017.json'
    content = json.loads(file.read_text())
    for entry in content['categories']:
        entry['id'] = 100 - entry['id']
    for entry in content['annotations']:
        entry['category_id'] = 100 - entry['category_id']
    file.write_text(json.dumps(content))
    assert any(said in note for note in check_data(cfg, training=False)) == confuses


@pytest.mark.parametrize('split', ['val', 'test'])
def test_images_that_are_not_evaluated_are_said(cfg, split):
    training = split == 'val'
    assert not any('counts' in note for note in check_data(cfg, training=training))
    cfg[f'{split}_dataloader'].dataset.indices = 1
    notes = check_data(cfg, training=training)
    assert any('has 2 images, of which 1 are evaluated' in note for note in notes)


def test_images_of_one_id_are_said(cfg):
    """mmdet's metric would take them for one, found twice as often."""
    dataset = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[dataset, dataset])
    (note,) = [n for n in check_data(cfg, training=False) if 'occur more than once' in n]
    assert '2 image ids occur more than once among the 4 images evaluated' in note


@pytest.mark.parametrize('form', ['list', 'dict', 'typed', 'class', 'scoped', 'subclass'])
def test_evaluators_of_any_form(cfg, toy, form):
    from mmdet.evaluation import CocoMetric

    class MyMetric(CocoMetric):
        """Reads the same."""

    change(toy, 'val', lambda content: content['annotations'][1].pop('iscrowd'))
    metric = dict(cfg.test_evaluator)
    kinds = dict(**{'class': CocoMetric}, scoped='mmdet.CocoMetric', subclass=MyMetric)
    metric['type'] = kinds.get(form, 'CocoMetric')
    forms = dict(
        list=[metric], dict=dict(metrics=[metric]), typed=dict(type='Evaluator', metrics=metric)
    )
    cfg.test_evaluator = forms.get(form, metric)
    assert 'no iscrowd' in data_complaint(cfg, training=False)


def test_metrics_that_read_files_in_their_own_way(cfg, toy):
    from mmdet.evaluation import CocoMetric

    class Other(CocoMetric):
        def compute_metrics(self, results):
            return {}

    change(toy, 'val', lambda content: content['annotations'][1].pop('iscrowd'))
    cfg.test_evaluator.type = Other
    check_data(cfg, training=False)


def test_classes_of_the_truth(cfg, toy):
    file = toy / 'annotations/other.json'
    content = json.loads((toy / 'annotations/instances_val2017.json').read_text())
    content['categories'] = content['categories'][::-1]
    file.write_text(json.dumps(content))
    cfg.test_evaluator.ann_file = str(file)
    assert 'test_evaluator.ann_file has' in data_complaint(cfg, training=False)
    assert 'in another order' in data_complaint(cfg, training=False)


@pytest.mark.parametrize('form', ['class', 'scoped', 'subclass', 'wrapped'])
@pytest.mark.parametrize('split', SPLITS)
def test_datasets_of_any_form(cfg, toy, form, split):
    from mmdet.datasets import CocoDataset

    class MyDataset(CocoDataset):
        """Reads the same."""

    change(toy, file_of(split), lambda content: content['annotations'][1].pop('area'))
    loader = cfg[f'{split}_dataloader']
    if form == 'wrapped':
        loader.dataset = dict(
            type='ConcatDataset',
            datasets=[dict(type='RepeatDataset', times=1, dataset=loader.dataset)],
        )
    else:
        kinds = dict(**{'class': CocoDataset}, scoped='mmdet.CocoDataset', subclass=MyDataset)
        loader.dataset.type = kinds[form]
    assert 'no area' in data_complaint(cfg, training=split != 'test')


def test_datasets_that_read_files_in_their_own_way(cfg, toy):
    from mmdet.datasets import CocoDataset

    class Other(CocoDataset):
        def load_data_list(self):
            return []

    change(toy, 'val', lambda content: content['annotations'][1].pop('area'))
    cfg.test_dataloader.dataset.type = Other
    cfg.test_evaluator.ann_file = None
    check_data(cfg, training=False)


@pytest.mark.parametrize(
    ('function', 'words'),
    [
        (lambda a: a.update(image_id=a['image_id'] + 1000), 'no image_id of an annotation'),
        (lambda a: a.update(bbox=[0.1, 0.1, 0.2, 0.2]), 'at least one pixel wide'),
        (lambda a: a.update(category_id=a['category_id'] + 1000), 'is empty'),
    ],
)
def test_a_dataset_whose_objects_are_all_lost(cfg, toy, function, words):
    change(toy, 'train', lambda content: [function(a) for a in content['annotations']])
    message = data_complaint(cfg)
    assert message.startswith('train_dataloader.dataset is empty') and words in message


def test_pictures_of_another_size_than_the_file_says(cfg, toy):
    assert not any('pixels' in note for note in check_data(cfg, False))

    def turned(content):
        for image in content['images']:
            image.update(width=image['height'], height=image['width'])

    change(toy, 'val', turned)
    for training in (True, False):
        assert any('pixels, but it has ' in note for note in check_data(cfg, training))


def test_pictures_below_subfolders_and_by_absolute_names(cfg, toy):
    def move(content):
        for index, image in enumerate(content['images']):
            old = toy / 'val2017' / image['file_name']
            new = toy / f'val2017/{index}/{image["file_name"]}'
            new.parent.mkdir()
            old.rename(new)
            image['file_name'] = str(new if index else new.relative_to(toy / 'val2017'))

    change(toy, 'val', move)
    check_data(cfg, training=False)
    next((toy / 'val2017/1').iterdir()).write_bytes(b'')
    assert 'is empty (0 bytes)' in data_complaint(cfg, training=False)


def test_two_datasets_with_an_evaluator_each(cfg, toy, tmp_path):
    write_coco(tmp_path / 'second', (64, 96), 1, 3, jobs=1)
    first = cfg.test_dataloader.dataset
    second = dict(first, data_root=str(tmp_path / 'second'))
    metric = dict(cfg.test_evaluator)
    other = dict(metric, ann_file=str(tmp_path / 'second/annotations/instances_val2017.json'))
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[first, second])
    evaluator = dict(type='MultiDatasetsEvaluator', dataset_prefixes=['a', 'b'])
    cfg.test_evaluator = dict(evaluator, metrics=[metric, other])
    notes = check_data(cfg, training=False)
    assert not any('evaluated' in note for note in notes)
    cfg.test_evaluator = dict(evaluator, metrics=[other, metric])
    assert 'lacks 1 of the 3 images' in data_complaint(cfg, training=False)


def test_a_file_is_parsed_once_for_dataset_and_truth(cfg, monkeypatch):
    read = []
    monkeypatch.setattr(
        config_checks,
        'read_coco',
        lambda path, real=config_checks.read_coco: read.append(path) or real(path),
    )
    check_data(cfg, training=True)
    assert len(read) == 2
