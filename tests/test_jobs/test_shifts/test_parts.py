"""Conditions and the clean column as configs: loaders, metrics, folders, names and refusals."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config, ConfigDict

from fan_mm.datasets.shifts import SHIFT_SETS, Condition
from fan_mm.errors import InputError
from fan_mm.evaluation.shifts.pooling import CLEAN_COLUMN, ShiftCell
from fan_mm.jobs.shifts import parts

PIPELINE = [dict(type='LoadImageFromFile')]
OWN = dict(type='CityscapesDataset', pipeline=PIPELINE)


def config(dataset=OWN, evaluator=(), **loader):
    return Config(
        dict(test_dataloader=dict(dataset=dataset, **loader), test_evaluator=list(evaluator))
    )


def condition(name='fog', split='val', **more):
    return Condition(name, split, Path('acdc'), (), **more)


def part(set_='acdc', name='fog', split='val', column=''):
    if set_ == 'clean':
        return parts.Part(CLEAN_COLUMN, ConfigDict(), ConfigDict(), column=column)
    return parts.Part(ShiftCell(set_, name), ConfigDict(), ConfigDict(), condition(name, split))


@pytest.mark.parametrize(
    ('given', 'folder', 'title', 'protocol'),
    [
        (part(), 'acdc_fog', 'ACDC fog', 'ACDC val: fog'),
        (part(split='train'), 'acdc_train_fog', 'ACDC fog', 'ACDC train: fog'),
        (part(split='lists/mine.txt'), 'acdc_mine_fog', 'ACDC fog', 'ACDC mine.txt: fog'),
        (part(name='rain/night'), 'acdc_rain-night', 'ACDC rain/night', 'ACDC val: rain/night'),
        (part('bdd100k', 'all'), 'bdd100k_all', 'BDD100K', 'BDD100K val'),
        (part('clean'), 'clean', 'clean column', 'SimpleNamespace'),
        (part('clean', column='cityscapes'), 'clean_cityscapes', 'clean column', 'SimpleNamespace'),
    ],
)
def test_names(given, folder, title, protocol):
    assert given.folder(Path('work')) == Path('work', 'conditions', folder)
    assert given.title == title and given.protocol(SimpleNamespace()) == protocol


@pytest.mark.parametrize(
    ('shift', 'split', 'label'),
    [
        (SHIFT_SETS['cityscapes'], None, 'Cityscapes val'),
        (SHIFT_SETS['cityscapes'], 'train', 'Cityscapes train'),
        ('cityscapes', 'train', 'SimpleNamespace'),
    ],
)
def test_labels_of_datasets(shift, split, label):
    assert parts.dataset_label(SimpleNamespace(shift=shift, split=split)) == label


@pytest.mark.parametrize(
    ('line', 'named', 'once'),
    [
        ('test_dataloader.dataset: no', 'ACDC fog: no', 'ACDC fog: test_dataloader.dataset: no'),
        (
            'test_dataloader.batch_size',
            'ACDC fog.batch_size',
            'ACDC fog: test_dataloader.batch_size',
        ),
        ('test_evaluator: no', 'ACDC fog: no', 'ACDC fog: test_evaluator: no'),
        ('ACDC fog has none', 'ACDC fog has none', 'ACDC fog has none'),
    ],
)
def test_lines_about_a_condition(line, named, once):
    assert parts.named(line, part()) == named
    assert parts.named_once(line, part()) == once


@pytest.mark.parametrize(
    ('dataset', 'words'),
    [
        (OWN, None),
        (dict(type='RepeatDataset', dataset=OWN), None),
        (dict(type='ConcatDataset', datasets=[OWN, dict(OWN, type='Other')]), None),
        (
            dict(type='ConcatDataset', datasets=[OWN, dict(OWN, pipeline=[])]),
            'several pipelines: keep one',
        ),
        (dict(type='CityscapesDataset'), r'^test_dataloader\.dataset has no pipeline'),
        (dict(type='CityscapesDataset', pipeline=[]), r'^test_dataloader\.dataset has no pipeline'),
        ({}, r'^test_dataloader\.dataset has no pipeline'),
        (None, r'^test_dataloader\.dataset has no pipeline'),
    ],
)
def test_loaders(dataset, words):
    cfg = config(dataset, batch_size=3, persistent_workers=True)
    with pytest.raises(InputError, match=words) if words else nullcontext():
        loader = parts._loader(cfg, dict(type='ShiftDataset', pipeline='theirs'))
        assert loader == dict(
            dataset=dict(type='ShiftDataset', pipeline=PIPELINE),
            batch_size=3,
            persistent_workers=False,
        )
    assert cfg.test_dataloader.dataset == dataset and cfg.test_dataloader.persistent_workers


@pytest.mark.parametrize(
    ('root', 'task', 'words'),
    [
        ('there', 'segmentation', None),
        (None, 'segmentation', None),
        ('s3://bucket', 'segmentation', None),
        ('nowhere', 'segmentation', 'data_root nowhere: give --cityscapes DIR, or --no-clean$'),
        ('nowhere', 'detection', 'data_root nowhere: give --no-clean$'),
    ],
)
def test_a_clean_column_that_is_not_here(root, task, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'there').mkdir()
    loader = dict(dataset=dict(type='RepeatDataset', dataset=dict(OWN, data_root=root)))
    words = words and rf'^the clean column is .* no test_dataloader\.dataset\.dataset\.{words}'
    with pytest.raises(InputError, match=words) if words else nullcontext():
        parts._check_clean_is_there(loader, task)


COCO = dict(type='mmdet.CocoMetric', metric=['bbox', 'segm'], metric_items=['mAP_s'], ann_file='a')
TRUTH = dict(ann_file=Path('b.json'))


@pytest.mark.parametrize(
    ('metrics', 'masks', 'scored'),
    [
        ([COCO], True, ['bbox', 'segm']),
        ([dict(type='Own'), COCO], True, ['bbox', 'segm']),
        ([dict(COCO, metric='segm')], True, ['bbox', 'segm']),
        ([dict(COCO, metric='segmentation')], True, ['bbox']),
        ([COCO], False, ['bbox']),
        ([dict(COCO, metric='bbox')], True, ['bbox']),
        ([dict(type='FastCocoMetric')], True, ['bbox']),
        ([object(), dict(type='Own', metric='segm')], True, ['bbox']),
    ],
)
def test_boxes_and_masks(metrics, masks, scored, monkeypatch):
    said = []
    monkeypatch.setattr(parts, 'warn', lambda line: said.append(line))
    found = dict(coco_o=[condition(masks=True, **TRUTH), condition(masks=masks, **TRUTH)])
    cfg = SimpleNamespace(test_evaluator=metrics)
    assert parts._boxes_and_masks(cfg, found) == scored
    missed = "only boxes are scored, not 'segm': b.json has objects without a mask"
    assert [missed in line for line in said] == [True] * (not masks)
    metric = parts._evaluator(cfg, 'detection', scored, condition(**TRUTH))
    known = next((m for m in metrics if isinstance(m, dict) and 'Coco' in m['type']), None)
    assert metric == dict(
        type=known['type'] if known else 'mmdet.CocoMetric',
        metric='bbox' if scored == ['bbox'] else scored,
        ann_file='b.json',
    )
    assert parts._evaluator(cfg, 'detection', scored).get('ann_file') == (known or {}).get(
        'ann_file'
    )
    assert COCO['metric_items'] == ['mAP_s'] and COCO['ann_file'] == 'a'


def test_masks_are_scored_as_boxes_are():
    assert parts._evaluator(config(), 'segmentation', []) == dict(
        type='mmseg.IoUMetric', iou_metrics=['mIoU']
    )
