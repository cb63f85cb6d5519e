"""Evaluations on the files of the training, or with its random transforms, are said."""

import pytest
from mmengine.registry import DATASETS, DefaultScope

from fan_mm.engine.checks.unseen import folds_of_some_classes, random_steps, same_files
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


def fold(number=0, test=False, seed=1, of=5, dataset=FOLDERS):
    return dict(
        type='KFoldDataset', fold=number, num_splits=of, seed=seed, test_mode=test, dataset=dataset
    )


@pytest.mark.parametrize(
    ('training', 'evaluation', 'said'),
    [
        (fold(), fold(test=True), False),
        (fold(), fold(1, test=True), True),
        (fold(), fold(), True),
        (fold(), fold(test=True, seed=2), True),
        (fold(), fold(test=True, of=4), True),
        (fold(test=True), fold(), False),  # a fifth is trained on
        (fold(test=True), fold(1, test=True), False),
        (FOLDERS, fold(test=True), True),
        (fold(), FOLDERS, True),
        (fold(), FOLDERS | dict(data_prefix='val'), False),
        (dict(type='RepeatDataset', times=2, dataset=fold()), fold(test=True), False),
        (fold(4, seed=None), fold(4, test=True, seed=None), False),
    ],
)
def test_folds(training, evaluation, said):
    pytest.importorskip('mmpretrain.datasets')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        notes = same_files(dict(dataset=training), dict(dataset=evaluation), NAMES)
    assert len(notes) == said
    assert all(' of train_dataloader.dataset' in note for note in notes)


def test_the_images_of_a_fold(tmp_path):
    """Which are in both is what mmpretrain's own wrapper says."""
    pytest.importorskip('mmpretrain.datasets')
    lines = tmp_path / 'list.txt'
    lines.write_text(''.join(f'{i}.png 0\n' for i in range(10)))
    own = dict(type='CustomDataset', ann_file=str(lines))
    made = [fold(dataset=own), fold(1, test=True, dataset=own), fold(test=True, dataset=own)]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        taken = [
            {d.get_data_info(i)['img_path'] for i in range(len(d))}
            for d in map(DATASETS.build, made)
        ]
        notes = [
            same_files(dict(dataset=made[0]), dict(dataset=other), NAMES) for other in made[1:]
        ]
    assert [bool(taken[0] & other) for other in taken[1:]] == [True, False]
    assert [bool(said) for said in notes] == [True, False]


@pytest.mark.parametrize(
    ('dataset', 'said'),
    [
        (fold(seed=None), True),
        (fold(seed=0), False),
        (fold(seed=None, dataset=FOLDERS | dict(ann_file='a.txt')), False),
        (fold(seed=None, dataset=dict(type='ImageNet', data_root='d', split='val')), False),
        (fold(seed=None, dataset=dict(type='CIFAR10', data_prefix='d')), False),
        (FOLDERS, False),
        (None, False),
    ],
)
def test_folds_of_class_folders_that_are_not_shuffled(dataset, said):
    pytest.importorskip('mmpretrain.datasets')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        notes = folds_of_some_classes('val_dataloader', dict(dataset=dataset))
    assert len(notes) == said
    assert not notes or notes[0].startswith('val_dataloader.dataset: KFoldDataset without a seed')
