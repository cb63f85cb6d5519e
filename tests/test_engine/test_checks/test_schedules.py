"""Schedules that count epochs where none ends, or lie beyond the end: said; an epoch without an end: refused."""

import re

import pytest
from mmengine.config import Config
from mmengine.optim import PolyLR
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from fan_mm.engine.checks.schedules import check_schedules
from fan_mm.errors import InputError

ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=100)
EPOCHS = dict(by_epoch=True, max_epochs=12)
SAVING = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=10))


def config(loop, scheduler=None, hooks=SAVING, sampler='DefaultSampler', **loader):
    return Config(
        dict(
            train_cfg=loop,
            param_scheduler=scheduler,
            default_hooks=hooks,
            train_dataloader=dict(sampler=dict(type=sampler), **loader),
        )
    )


def poly(**keys):
    return dict(type='PolyLR', **keys)


@pytest.mark.parametrize(
    ('loop', 'scheduler', 'words'),
    [
        (ITERATIONS, None, None),
        (ITERATIONS, poly(by_epoch=False, end=100), None),
        (ITERATIONS, poly(by_epoch=False), None),
        (ITERATIONS, poly(by_epoch=False, end=109), None),
        (ITERATIONS, poly(), 'param_scheduler: PolyLR counts epochs .* never takes a step'),
        (ITERATIONS, poly(convert_to_iter_based=True), None),
        (ITERATIONS, dict(type='ReduceOnPlateauLR', monitor='mIoU'), None),
        (
            dict(type=IterBasedTrainLoop, max_iters=100),
            [dict(type=PolyLR)],
            r'^param_scheduler\.0: PolyLR c',
        ),
        (dict(by_epoch=False, max_iters=100), dict(a=[poly()]), r'param_scheduler\.a\.0: PolyLR c'),
        (
            ITERATIONS,
            poly(by_epoch=False, end=200),
            '^param_scheduler: PolyLR ends at iteration 200, but the training ends at 100:',
        ),
        (ITERATIONS, poly(by_epoch=False, begin=100, end=200), 'begins at iteration 100, but'),
        (ITERATIONS, poly(by_epoch=False, begin=99), None),
        (ITERATIONS, poly(by_epoch=False, end=111), 'ends at iteration 111, but'),
        (dict(ITERATIONS, max_iters=None), poly(by_epoch=False, end=111), None),  # said elsewhere
        (ITERATIONS, 'PolyLR', None),
        (EPOCHS, poly(end=12), None),
        (EPOCHS, poly(convert_to_iter_based=True, end=100), None),
        (EPOCHS, dict(type='LinearLR', by_epoch=False, end=500), None),  # its unit is another
        (EPOCHS, dict(type='MultiStepLR', end=24, milestones=[8, 22]), None),
        (EPOCHS, dict(type='MultiStepLR', milestones=[22, 16]), 'first milestone at epoch 16, but'),
        (EPOCHS, dict(type='MultiStepLR', milestones=[12]), 'first milestone at epoch 12, but'),
        (EPOCHS, dict(type='MultiStepLR', milestones=[]), None),
        (EPOCHS, poly(begin=5, end=100), 'ends at epoch 100, but the training ends at 12'),
        (dict(type='OwnLoop', by_epoch=False, max_iters=100), poly(), None),
    ],
)
def test_schedules(loop, scheduler, words):
    notes = check_schedules(config(loop, scheduler))
    assert len(notes) == (words is not None), notes
    assert words is None or re.search(words, notes[0]), notes


@pytest.mark.parametrize(
    ('hooks', 'said'),
    [
        (SAVING, False),
        (dict(checkpoint=dict(type='CheckpointHook', interval=10)), True),
        (dict(logger=dict(type='LoggerHook')), True),  # mmengine adds one that counts epochs
        (None, True),
        (dict(checkpoint=None), False),
        ([SAVING], False),  # which mmengine refuses
        (dict(checkpoint=dict(interval=1)), True),
        (dict(checkpoint=dict(type='CheckpointHook', interval=0)), False),
        (dict(checkpoint=dict(type='CheckpointHook', interval=-1)), False),
        (dict(checkpoint=dict(type='OwnHook')), False),
    ],
)
def test_checkpoints_of_a_training_that_counts_iterations(hooks, said):
    notes = check_schedules(config(ITERATIONS, hooks=hooks))
    assert [note.split(' (')[0] for note in notes] == [
        'default_hooks.checkpoint counts epochs'
    ] * said
    assert check_schedules(config(EPOCHS, hooks=hooks)) == []


@pytest.mark.parametrize('loop', [EPOCHS, dict(type=EpochBasedTrainLoop, max_epochs=12)])
@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'mmdet.MultiSourceSampler'])
def test_an_epoch_that_never_ends(loop, sampler):
    with pytest.raises(InputError, match=r'train_dataloader\.sampler: \w+ never ends an epoch'):
        check_schedules(config(loop, sampler=sampler))
    with pytest.raises(InputError):  # which shortens the dataset only, over which it goes for ever
        check_schedules(config(loop, sampler=sampler, num_batch_per_epoch=9))
    assert check_schedules(config(ITERATIONS, sampler=sampler)) == []


def test_a_config_without_a_training():
    assert check_schedules(Config(dict(train_cfg=None))) == []
    assert check_schedules(Config(dict(train_cfg=EPOCHS))) == []
