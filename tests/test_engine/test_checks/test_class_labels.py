"""Labels in mmpretrain's JSON files: numbers of classes; what would be taken for others is refused."""

import copy
import json
from contextlib import nullcontext

import pytest
import torch
from mmengine.config import Config

from fan_mm.engine.config_checks import check_data
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

HEADS = pytest.importorskip('mmpretrain.models').HEADS
REGRESSION = dict(type='LinearRegressionHead', num_classes=1, in_channels=4)
REGRESSES = 'LinearRegressionHead' in HEADS  # which the original package lacks

LINEAR = dict(type='LinearClsHead', num_classes=3, in_channels=4)
SEVERAL = dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=4)
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


class OneHotToNumbers:
    """A transform of somebody's own."""


def config(tmp_path, labels, head, kind='MultiLabelDataset', **dataset):
    file = tmp_path / 'a.json'
    samples = [dict(img_path=f'{i}.png', gt_label=label) for i, label in enumerate(labels)]
    file.write_text(json.dumps(dict(metainfo={}, data_list=samples)))
    given = dict(type=kind, data_root=str(tmp_path), ann_file='a.json', pipeline=PIPELINE) | dataset
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18), head=head),
            test_dataloader=dict(dataset=given),
            test_evaluator=dict(type='Accuracy'),
        )
    )
    register_task_library(cfg)
    return cfg


ONE_HOT = r'gt_label has a value for each class, such as \[1, 0, 0\], but .*, \[0\]$'


TWICE = r'0\.png has the label 0 more than once, for which mmpretrain makes a target of [23] '


@pytest.mark.parametrize(
    ('labels', 'head', 'words'),
    [
        ([[0], [1, 2], []], SEVERAL, None),
        ([[0, 1, 2], [0, 2, 1]], SEVERAL, None),
        ([[1, 0, 0], [0, 1, 0]], SEVERAL, ONE_HOT),
        ([[1, 0, 0], [0, 1, 0]], None, ONE_HOT),
        ([[1, 0, 0, 0], [0, 1, 0, 1]], SEVERAL, TWICE),  # of objects, not of four classes
        ([[1, 0, 0], [0, 1]], SEVERAL, TWICE),
        ([[1, 0, 0], [0, 1, 2]], SEVERAL, TWICE),
        ([[1, 0, 0], 2], SEVERAL, TWICE),
        ([[0, 1], [1, 0]], dict(SEVERAL, num_classes=2), None),  # may be both
        ([[0, 1], [1, 1]], dict(SEVERAL, num_classes=2), r'such as \[1, 1\], but .* \[0, 1\]$'),
        ([0, 2], LINEAR, None),
        ([0, 3], LINEAR, r'1\.png has the label 3; labels are 0\.\.2$'),
        ([0, -1], LINEAR, r'1\.png has the label -1; labels are 0\.\.2$'),
        ([0, -1], None, r'1\.png has the label -1; labels are 0 and above$'),
        ([[0], [1, 3]], SEVERAL, r'1\.png has the label 3'),
        ([None, 37], None, None),
        ([37, -4], REGRESSION, None),
        ([[1, 0, 0]], dict(REGRESSION, num_classes=3), None),
    ],
)
def test_labels(tmp_path, labels, head, words):
    if head and head['type'] == REGRESSION['type'] and not REGRESSES:
        pytest.skip('no such head')
    cfg = config(tmp_path, labels, head)
    own = copy.deepcopy(cfg)
    own.test_dataloader.dataset.pipeline.insert(1, dict(type=OneHotToNumbers))
    assert check_data(own, training=False) == []  # may turn them into others
    if words is None:
        assert check_data(cfg, training=False) == []
        return
    with pytest.raises(InputError, match=rf'^test_dataloader\.dataset: .*a\.json: .*{words}'):
        check_data(cfg, training=False)


def test_labels_that_are_withheld(tmp_path):
    """They count as errors; not where predictions are only written."""
    cfg = config(tmp_path, [-1, -1], LINEAR, 'BaseDataset')
    dump = dict(type='DumpResults', out_file_path='a.pkl')
    for evaluator, words in (
        (dump, None),
        ([], None),
        ([dump, dict(type='Accuracy')], 'has the label -1; labels are 0'),
    ):
        cfg.test_evaluator = evaluator
        with pytest.raises(InputError, match=words) if words else nullcontext():
            assert check_data(cfg, training=False) == []
    cfg = config(tmp_path, [-1, 3], LINEAR, 'BaseDataset')
    cfg.test_evaluator = dump
    with pytest.raises(InputError, match='has the label 3'):
        check_data(cfg, training=False)


@pytest.mark.parametrize(
    ('outputs', 'dataset', 'said'),
    [
        (1001, dict(type='ImageNet'), True),
        (1001, dict(type='CustomDataset'), True),  # by its folders
        (1001, dict(type='CustomDataset', ann_file='list.txt'), False),  # made for the model
        (1000, dict(type='ImageNet'), False),
    ],
)
def test_a_model_with_a_background(tmp_path, outputs, dataset, said):
    head = dict(LINEAR, num_classes=outputs)
    cfg = config(tmp_path, [0], head, **(dict(ann_file='') | dataset))
    names = 'n01440764', *(f'n{number:08d}' for number in range(999))
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / 'a.png').write_bytes(b'a')
    (tmp_path / 'list.txt').write_text('n01440764/a.png 1')
    notes = check_data(cfg, training=False)
    words = 'has 1000 classes, the model 1001: if its class 0 is the background'
    assert any(words in note for note in notes) == said


def test_what_mmpretrain_makes_of_a_class_that_is_there_twice():
    from mmpretrain.evaluation import AveragePrecision
    from mmpretrain.structures import label_to_onehot

    target = label_to_onehot([1, 0, 1], 3)
    assert target.tolist() == [1, 2, 0]
    right = torch.tensor([[1.0, 1, 0]])
    assert AveragePrecision.calculate(right, target[None], average=None).tolist() == [100, 0, 0]


@pytest.mark.parametrize(
    ('labels', 'words'),
    [
        (dict(a=2, b=[0, 1]), None),
        (dict(a=2), None),
        (dict(a=3, b=[0]), r', task a: .*0\.png has the label 3; labels are 0\.\.2$'),
        (dict(a=0, b=[1, 1, 0]), r', task b: gt_label has a value for each class, .* \[0, 1\]$'),
        (dict(a=0, b=[1], c=-5), None),  # a regression
    ],
)
def test_labels_of_tasks(tmp_path, labels, words):
    tasks = dict(a=LINEAR, b=SEVERAL) | (dict(c=REGRESSION) if REGRESSES else {})
    head = dict(type='MultiTaskHead', task_heads=tasks, in_channels=4)
    steps = [PIPELINE[0], dict(type='PackMultiTaskInputs', multi_task_fields=('gt_label',))]
    cfg = config(tmp_path, [labels], head, 'MultiTaskDataset', pipeline=steps)
    if words is None:
        assert check_data(cfg, training=False) == []
        return
    with pytest.raises(InputError, match=rf'^test_dataloader\.dataset: .*a\.json{words}'):
        check_data(cfg, training=False)


def test_a_retriever_is_tested_on_classes_that_it_was_not_trained_on(tmp_path):
    head = dict(type='ArcFaceClsHead', num_classes=3, in_channels=512)
    cfg = config(tmp_path, [3, 9], head, 'BaseDataset')
    cfg.model.type = 'ImageToImageRetriever'
    assert check_data(cfg, training=False) == []


def test_a_file_that_is_none_of_mmpretrain(tmp_path):
    cfg = config(tmp_path, [0], LINEAR, 'BaseDataset')
    (tmp_path / 'a.json').write_text('0.png 0\n')
    with pytest.raises(InputError, match=r'^test_dataloader\.dataset: BaseDataset says JSONDecode'):
        check_data(cfg, training=False)


def test_samples_without_an_image_of_their_own(tmp_path):
    cfg = config(tmp_path, [0], LINEAR, 'BaseDataset', data_prefix=dict(features=''), pipeline=[])
    for label in (2, 3):
        samples = [dict(features='0.npy', gt_label=label)]
        (tmp_path / 'a.json').write_text(json.dumps(dict(metainfo={}, data_list=samples)))
        with (
            pytest.raises(InputError, match='sample 0 has the label 3')
            if label > 2
            else nullcontext()
        ):
            assert check_data(cfg, training=False) == []
