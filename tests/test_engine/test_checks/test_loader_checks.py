"""Options of data loaders that foreign configs carry."""

import collections
import re

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler

from fan_mm.engine.checks import loaders
from fan_mm.engine.checks.loaders import check_loader, check_shared_memory, several_versions
from fan_mm.errors import InputError

GOOD = dict(
    batch_size=2, num_workers=2, sampler=dict(type='DefaultSampler'), dataset=dict(type='A')
)
EVALUATION = ['val_dataloader', 'test_dataloader']


@pytest.mark.parametrize('name', ['train_dataloader', *EVALUATION])
@pytest.mark.parametrize(
    'change',
    [
        {},
        dict(sampler=dict(type=DefaultSampler, shuffle=True)),
        dict(sampler=None),
        dict(batch_size=1, drop_last=True),
        dict(num_workers=0),
        dict(dataset=object()),
    ],
)
def test_good_loaders(name, change):
    assert check_loader(name, GOOD | change) == []


def test_a_training_in_the_order_of_the_files_is_said():
    (note,) = check_loader('train_dataloader', GOOD | dict(sampler=dict(type='A', shuffle=False)))
    assert note.startswith(
        'train_dataloader.sampler: shuffle=False: each epoch has the same batches'
    )


@pytest.mark.parametrize('name', EVALUATION)
@pytest.mark.parametrize('kind', ['InfiniteSampler', 'mmengine.InfiniteSampler', InfiniteSampler])
def test_an_evaluation_that_never_ends(name, kind):
    loader = GOOD | dict(sampler=dict(type=kind))
    with pytest.raises(InputError, match=f'{name}.sampler: InfiniteSampler never ends'):
        check_loader(name, loader)
    assert check_loader('train_dataloader', loader) == []


@pytest.mark.parametrize('name', EVALUATION)
@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(num_batch_per_epoch=1), 'no more than 1 batches are evaluated'),
        (dict(drop_last=True), 'drop_last: the images of the last'),
        (
            dict(batch_sampler=dict(type='A', drop_last=True)),
            'batch_sampler.drop_last: the images',
        ),
        (dict(sampler=dict(type='mmdet.ClassAwareSampler')), 'draws images several times'),
        (
            dict(dataset=dict(type='mmpretrain.RepeatDataset', times=2, dataset=dict(type='A'))),
            'dataset: RepeatDataset draws images several times',
        ),
        (
            dict(
                dataset=dict(
                    type='ConcatDataset',
                    datasets=[dict(type='A'), dict(type='ClassBalancedDataset', dataset=dict())],
                )
            ),
            'dataset.datasets.1: ClassBalancedDataset draws images several times',
        ),
        (dict(dataset=dict(filter_cfg=dict(min_size=32))), 'filter_cfg: images are left out'),
    ],
)
def test_pictures_that_are_left_out_are_said(name, change, words):
    (note,) = check_loader(name, GOOD | change)
    assert note.startswith(name) and words in note
    assert check_loader('train_dataloader', GOOD | change) == []


def test_versions_of_a_picture_that_nobody_merges():
    one = dict(pipeline=[dict(type='LoadImageFromFile')])
    several = dict(pipeline=[dict(type='A'), dict(type='mmcv.TestTimeAug', transforms=[[one]])])
    parts = dict(type='ConcatDataset', datasets=[one, several])
    assert several_versions('val_dataloader', dict(dataset=one)) == []
    (note,) = several_versions('val_dataloader', dict(dataset=parts))
    assert note.startswith(
        'val_dataloader.dataset.datasets.1.pipeline: TestTimeAug creates several'
    )


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        *(('batch_size', value) for value in (0, -1, 'abc', 1.5, None, True)),
        *(('num_workers', value) for value in (-1, 1.5, 'two')),
    ],
)
def test_numbers(key, value):
    with pytest.raises(InputError, match=f'train_dataloader.{key} must be a whole number'):
        check_loader('train_dataloader', GOOD | {key: value})


def test_a_batch_sampler_may_know_the_size():
    loader = GOOD | dict(batch_sampler=dict(type='Mine', batch_size=2))
    del loader['batch_size']
    assert check_loader('train_dataloader', loader) == []


@pytest.mark.parametrize(
    ('size', 'change', 'said'),
    [
        (64, {}, '16 batches ahead take up to 192 MB .* has 64 MB'),
        (191, {}, '192 MB'),
        (192, {}, None),
        (95, dict(batch_size=None), '96 MB'),  # of a batch sampler
        (96, dict(batch_size=None), None),
        (287, dict(prefetch_factor=3), '24 batches ahead take up to 288 MB'),
        (1, dict(num_workers=0), None),
    ],
)
def test_shared_memory(monkeypatch, size, change, said):
    disk = collections.namedtuple('disk', 'f_blocks f_frsize')(size << 20 >> 12, 1 << 12)
    monkeypatch.setattr(loaders.os, 'statvfs', lambda path: disk)
    monkeypatch.setattr(loaders.os.path, 'isdir', lambda path: True)
    pipeline = [dict(type='Resize', scale=(2048, 1024)), dict(type='Pad', size='auto')]
    loader = GOOD | dict(num_workers=8, dataset=dict(type='A', pipeline=pipeline))
    notes = check_shared_memory('test_dataloader', loader | change)
    assert re.search(said, *notes) if said else notes == []
