"""Evaluations on the files of the training, or with its random transforms, are said."""

import pytest
from mmengine.registry import DefaultScope

from fan_mm.engine.checks.unseen import random_steps, same_files
from fan_mm.errors import InputError

NAMES = 'train_dataloader', 'val_dataloader'


@pytest.mark.parametrize('library', ['mmseg', 'mmdet', 'mmpretrain'])
@pytest.mark.parametrize(
    ('steps', 'named'),
    [
        ([dict(type='LoadImageFromFile'), dict(type='CenterCrop', crop_size=8)], None),
        ([dict(type='RandomFlip', prob=0.5)], 'RandomFlip'),
        ([dict(type='RandomFlip', prob=0.5), dict(type='RandomFlip', prob=0.1)], 'RandomFlip'),
        ([dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0)], None),
        ([dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=1.0)]])], None),
        (
            [dict(type='RandomResize', scale=8), dict(type='RandomApply', transforms=[])],
            'RandomResize, RandomApply',
        ),
        ([dict(type='RandomResize', scale=(8, 4), ratio_range=(1.0, 1.0))], None),
        ([dict(type='RandomResize', scale=(8, 4), ratio_range=(0.5, 2.0))], 'RandomResize'),
        ([dict(type='RandomResize', scale=[(8, 4), (8, 4)])], None),
        ([dict(type='RandomResize', scale=[(8, 4), (8, 6)])], 'RandomResize'),
        ([dict(type='RandomChoiceResize', scales=[(8, 4)])], None),
        ([dict(type='RandomChoiceResize', scales=[8, 4])], 'RandomChoiceResize'),
        ([dict(type='RandomChoice', transforms=[[dict(type='Resize', scale=8)]])], None),
        ([dict(type='RandomFlip', prob=1, direction=['horizontal', 'vertical'])], 'RandomFlip'),
        ([dict(type='RandomFlip', prob=1, direction=['vertical'])], None),
        ([dict(type='RandomGrayscale', prob=1)], None),
        ([object()], None),
        (None, None),
    ],
)
def test_transforms_that_draw_random_numbers(library, steps, named):
    pytest.importorskip(f'{library}.datasets')
    with DefaultScope.overwrite_default_scope(library):
        notes = random_steps('val_dataloader.dataset', dict(type='A', pipeline=steps))
    assert len(notes) == (named is not None)
    assert named is None or notes[0].startswith(f'val_dataloader.dataset.pipeline: {named}: random')


def test_a_transform_that_nobody_has():
    with pytest.raises(InputError, match=r'^a\.pipeline: nothing is registered as Nope'):
        random_steps('a', dict(pipeline=[dict(type='Nope')]))


@pytest.mark.parametrize(
    ('library', 'step', 'random'),
    [
        ('mmseg', dict(type='PhotoMetricDistortion'), True),  # declares nothing
        ('mmseg', dict(type='RandomCutOut', prob=1, n_holes=1, cutout_shape=(8, 8)), True),
        ('mmseg', dict(type='RandomCutOut', prob=0, n_holes=1, cutout_shape=(8, 8)), False),
        ('mmdet', dict(type='Brightness', prob=1, level=5), False),
        ('mmdet', dict(type='RandomCenterCropPad', test_mode=True), False),
        ('mmdet', dict(type='RandomCenterCropPad', crop_size=(8, 8)), True),
        ('mmpretrain', dict(type='RandomCrop', crop_size=8), True),
    ],
)
def test_of_one_library(library, step, random):
    pytest.importorskip(f'{library}.datasets')
    with DefaultScope.overwrite_default_scope(library):
        assert bool(random_steps('a', dict(type='A', pipeline=[step]))) == random


COCO = dict(type='CocoDataset', data_root='d', ann_file='a.json', data_prefix=dict(img='i/'))
MASKS = dict(
    type='CityscapesDataset', data_root='d/', data_prefix=dict(img_path='i', seg_map_path='s')
)


OTHERS = (  # settings that do not choose images
    'pipeline metainfo test_mode filter_cfg backend_args lazy_init serialize_data max_refetch '
    'reduce_zero_label ignore_index return_classes'
)
VOC = dict(type='VOCDataset', data_root='d', ann_file='a.txt', data_prefix=dict(sub_data_root='V'))
BARE = dict(type='CustomDataset', data_root='d')
FOLDERS = BARE | dict(data_prefix='train')


@pytest.mark.parametrize(
    ('library', 'training', 'evaluation', 'said'),
    [
        ('mmdet', COCO, COCO | dict(test_mode=True, pipeline=[]), True),
        ('mmdet', COCO | dict(data_root='./d/'), COCO | dict(data_root='d/../d'), True),
        ('mmdet', COCO, COCO | dict.fromkeys(OTHERS.split(), 'another') | dict(indices=None), True),
        (
            'mmdet',
            COCO,
            dict(type='CocoDataset', ann_file='d/a.json', data_prefix=dict(img='d/i')),
            True,
        ),
        ('mmdet', COCO, COCO | dict(type='CocoPanopticDataset'), True),
        ('mmdet', COCO, COCO | dict(ann_file='b.json'), False),
        ('mmdet', COCO, COCO | dict(data_prefix=dict(img='j/')), False),
        ('mmdet', dict(type='RepeatDataset', times=2, dataset=COCO), COCO, True),
        ('mmdet', COCO | dict(indices=9), COCO | dict(indices=[9]), False),
        ('mmseg', MASKS, dict(MASKS), True),
        ('mmseg', MASKS | dict(fold=[1, 2]), MASKS | dict(fold=[0]), False),  # of one's own class
        ('mmseg', MASKS | dict(ann_file='train.txt'), MASKS | dict(ann_file='val.txt'), False),
        ('mmdet', VOC, dict(VOC, _scope_='mmdet'), True),
        ('mmpretrain', FOLDERS, dict(FOLDERS), True),
        ('mmpretrain', FOLDERS | dict(data_prefix='', ann_file=''), BARE, True),
        ('mmpretrain', FOLDERS, FOLDERS | dict(data_prefix='val'), False),
        (
            'mmpretrain',
            dict(type='ImageNet', data_root='d', split='train'),
            dict(type='ImageNet', data_root='d', split='val'),
            False,
        ),
        (
            'mmpretrain',
            dict(type='CIFAR10', data_prefix='d'),
            dict(type='CIFAR10', data_prefix='d', test_mode=True),
            False,
        ),
        (
            'mmpretrain',
            dict(type='KFoldDataset', dataset=FOLDERS),
            dict(type='KFoldDataset', dataset=FOLDERS, test_mode=True),
            False,
        ),
        ('mmpretrain', None, FOLDERS, False),
    ],
)
def test_files_that_a_training_has_seen(library, training, evaluation, said):
    pytest.importorskip(f'{library}.datasets')
    loaders = [dataset and dict(dataset=dataset) for dataset in (training, evaluation)]
    with DefaultScope.overwrite_default_scope(library):
        notes = same_files(*loaders, NAMES)
    assert bool(notes) == said
    assert all(note.startswith('val_dataloader.dataset has the files of train_') for note in notes)
