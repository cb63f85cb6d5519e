"""What is wrong with the first batch is said before anything long; nothing else is changed."""

import errno
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from first_batch_parts import Images, Samples, SizedStream, StateHook, Stream, fails, keeping_loop
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.dist import all_reduce
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.registry import HOOKS
from mmengine.structures import BaseDataElement, InstanceData
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    SequentialSampler,
    SubsetRandomSampler,
)

from fan_mm.engine.first_batch import hook, trial
from fan_mm.engine.first_batch.outputs import not_finite
from fan_mm.engine.first_batch.samples import _file_of, load_samples, one_line
from fan_mm.errors import InputError
from fan_mm.jobs.training import test as evaluate
from fan_mm.jobs.training import train

pytest.importorskip('mmseg')


@pytest.fixture
def cfg(tiny_config, tmp_path):
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    return cfg


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda cfg: setattr(cfg, 'val_evaluator', dict(type='OwnMetric', fails='process')),
            "val_evaluator: OwnMetric cannot process the output of the model: KeyError: 'gt_sem_seg'",
        ),
        (
            lambda cfg: cfg.val_dataloader.dataset.pipeline.pop(1),
            'val_evaluator: IoUMetric cannot process the output of the model: KeyError',
        ),
        (
            lambda cfg: cfg.model.test_cfg.update(mode='slide', crop_size=(64, 64, 3)),
            'val_dataloader: the model fails on the first batch',
        ),
    ],
)
def test_a_mistake_in_the_validation_is_said_before_the_training(cfg, change, message):
    change(cfg)
    cfg.custom_hooks = [dict(type='StateHook')]
    StateHook.seen.clear()
    with pytest.raises(InputError, match=message) as error:
        train(cfg)
    assert '\n' not in str(error.value)
    assert not StateHook.seen


def test_the_first_training_step_is_one_line(cfg, monkeypatch):
    from mmseg.models import EncoderDecoder

    def fails(self, *args, **kwargs):
        raise RuntimeError('shapes do not fit\nand more')

    monkeypatch.setattr(EncoderDecoder, 'loss', fails)
    with pytest.raises(InputError, match=r'step fails: RuntimeError: shapes do not fit$'):
        train(cfg)


@pytest.mark.parametrize(('workers', 'index'), [(0, 0), (1, 2)])
def test_an_unreadable_picture_of_a_test_is_named(cfg, tiny_cityscapes, tmp_path, workers, index):
    train(Config(cfg._cfg_dict.to_dict()))
    file = sorted(tiny_cityscapes.glob('leftImg8bit/val/town/*.png'))[index]
    file.write_bytes(b'no picture')
    cfg.test_dataloader.num_workers = workers
    with pytest.raises(InputError, match='cannot load') as error:
        evaluate(cfg, f'{cfg.work_dir}/iter_2.pth')
    assert str(file) in str(error.value)
    assert '\n' not in str(error.value)


def test_an_unreadable_picture_of_a_training_is_named(cfg, tiny_cityscapes):
    cfg.train_cfg.max_iters = 8
    for file in sorted(tiny_cityscapes.glob('leftImg8bit/train/town/*.png'))[1:]:
        file.write_bytes(b'no picture')
    with pytest.raises(
        InputError, match=r'CityscapesDataset cannot load .*leftImg8bit\.png'
    ) as error:
        train(cfg)
    assert '\n' not in str(error.value)


def test_a_test_is_tried_too(cfg):
    train(Config(cfg._cfg_dict.to_dict()))
    cfg.test_evaluator = dict(type='OwnMetric', fails='process')
    with pytest.raises(InputError, match='test_evaluator: OwnMetric cannot process'):
        evaluate(cfg, f'{cfg.work_dir}/iter_2.pth')


class Unsized:
    def __getitem__(self, index):
        return index


@pytest.mark.parametrize('bad', [0, 1])
def test_the_file_is_found_where_the_error_names_none(tmp_path, bad):
    from PIL import Image

    paths = [str(tmp_path / name) for name in ('image.png', 'label.png')]
    for index, path in enumerate(paths):
        Image.new('L', (2, 2)).save(path)
        if index == bad:
            open(path, 'wb').close()
    with pytest.raises(InputError, match=f'set cannot load {paths[bad]}: it is empty'):
        load_samples(Samples(paths), [0, 1], 'set')
    assert load_samples(Samples(paths), [0], 'set') == [0]


@pytest.mark.parametrize('missing', [None, 'img_path', 'seg_map_path'])
def test_of_sound_files_the_one_in_the_error_is_named(tmp_path, missing):
    from PIL import Image

    info = {key: str(tmp_path / f'{key}.png') for key in ('img_path', 'seg_map_path')}
    for path in info.values():
        Image.new('L', (2, 2)).save(path)
    info.pop(missing, None)
    dataset = SimpleNamespace(get_data_info=lambda _: info)
    *_, last = info.values()
    assert _file_of(f'OSError: {last}: odd', dataset, 0) == last
    assert _file_of('OSError: odd', dataset, 0) == next(iter(info.values()))
    with pytest.raises(InputError, match=r'^set cannot load sample 7: KeyError: 0$'):
        load_samples({}, [0], 'set', [7])  # says no file


@pytest.mark.parametrize(
    ('sample', 'found'),
    [
        (dict(pred_score=torch.tensor([0.1, torch.nan])), 'pred_score'),
        (dict(pred_score=torch.tensor([0.1, -torch.inf])), None),
        (dict(pred_instances=InstanceData(scores=torch.tensor([torch.inf]))), 'scores'),
        (dict(seg_logits=torch.full((2, 2), torch.nan)), 'seg_logits'),
        (dict(pred_score=torch.full((9,), 6e4, dtype=torch.float16)), None),
        (dict(pred_label=torch.tensor([1]), gt_depth=torch.tensor([torch.nan])), None),
        (dict(pred_score=torch.zeros(0)), None),
    ],
)
@pytest.mark.parametrize('as_dict', [False, True])
def test_values_that_are_not_finite(sample, found, as_dict):
    element = BaseDataElement()
    for name, value in sample.items():
        element.set_data({name: value})
    assert not_finite(element.to_dict() if as_dict else element) == found


def test_errors_as_one_line():
    assert one_line(RuntimeError('a\nb')) == 'RuntimeError: a'
    assert one_line(InputError('as it is')) == 'as it is'
    assert (
        one_line(ValueError('Caught E in worker 0.\nOriginal:\n\nKeyError: 3\n')) == 'KeyError: 3'
    )


class Keeping(torch.nn.Module):
    """Keeps what it was first called for, and asks all processes, as mmpretrain's retrievers do."""

    def __init__(self, everybody=all_reduce):
        super().__init__()
        self.everybody, self.calls, self.inited = everybody, [], False
        self.register_buffer('count', torch.zeros(1))

    def val_step(self, batch):
        self.calls.append(batch)
        self.count += 1
        if not self.inited:
            self.register_buffer('gallery', torch.ones(1), persistent=False)
            self.everybody(self.gallery)
            self.inited = True
        return [{'right': 1}]


def test_a_model_that_keeps_things_is_put_back(monkeypatch):
    monkeypatch.setattr(trial, 'ValLoop', SimpleNamespace)
    model = Keeping().train()
    attributes, calls = dict(vars(model)), model.calls
    trial.try_loop(keeping_loop(model), model.val_step, 'val')
    assert vars(model) == attributes
    assert calls == [] and model.training and model.count == 0 and 'gallery' not in model._buffers


@pytest.mark.parametrize(
    ('options', 'given'),
    [
        ({}, [0]),
        (dict(batch_size=2), [0, 1]),
        (dict(batch_size=9), [0, 1, 2]),
        (dict(batch_sampler=BatchSampler(SequentialSampler(range(3)), 2, False)), [0, 1]),
        (dict(batch_sampler=[[0, 1, 2]]), [0]),  # which says no size
    ],
)
def test_a_model_alone_takes_the_first_batch(options, given):
    loader, seen = DataLoader(range(3), collate_fn=list, **options), []
    trial.try_model(seen.append, loader, 'set')
    assert seen == [given]
    trial.try_model(seen.append, loader, 'set', order=[2, 0])
    assert seen.pop() == [2, 0][: len(given)]
    for error, line in (
        (InputError('as it is'), '^as it is$'),
        (RuntimeError('a\nb'), '^set: the model fails on the first batch: RuntimeError: a$'),
    ):
        with pytest.raises(InputError, match=line):
            trial.try_model(lambda _, error=error: fails(error), loader, 'set')


def test_a_loop_of_ones_own():
    """Its samples are loaded; what it does with them is its own affair."""
    loop = keeping_loop(torch.nn.Module())
    trial.try_loop(loop, lambda batch: fails(KeyError()), 'val')
    loop.dataloader = DataLoader(Samples([__file__, __file__]), batch_size=2)
    with pytest.raises(InputError, match='val_dataloader cannot load'):
        trial.try_loop(loop, None, 'val')


@pytest.mark.parametrize(
    ('sampler', 'order'),
    [
        (None, [0, 1, 2]),
        ([2, 0], [0, 1, 2]),
        ([np.int64(2)], [0, 1, 2]),
        ([(0, 1), (0, 2)], [(0, 1), (0, 2)]),
        ([(0, 1), 5], [(0, 1), 5]),
        ([(0, i) for i in range(9)], [(0, 0), (0, 1), (0, 2)]),
        (DefaultSampler(range(3), shuffle=True), [0, 1, 2]),
    ],
)
def test_the_order_that_samples_are_taken_in(sampler, order):
    assert list(trial._indices(DataLoader(range(3), sampler=sampler), 3)) == order


@pytest.mark.parametrize(('images', 'asked'), [(3, 3), (1999, 1999), (2000, 1000)])
def test_labels_are_looked_at_evenly(images, asked):
    dataset = Images(*range(images))
    for index, info in enumerate(dataset):
        info['gt_label'] = index
    labels = list(trial._some_labels(dataset))
    assert len(labels) == asked and labels[1] == images // asked
    assert list(trial._some_labels([1])) == []


@pytest.mark.parametrize(
    ('prefixes', 'names', 'all_give'),
    [
        ([None], [], False),
        ([None], ['a'], True),
        (['x', None], ['x/a'], True),
        (['x', 'y'], ['x/a'], False),
        (['x', 'y'], ['x/a', 'y/b'], True),
    ],
)
def test_metrics_that_give_no_score_are_known_by_their_prefix(prefixes, names, all_give):
    metrics = [SimpleNamespace(prefix=prefix) for prefix in prefixes]
    assert trial._all_give(SimpleNamespace(metrics=metrics), names) == all_give


def test_the_best_checkpoint_by_a_score_that_is_not_given(cfg):
    cfg.val_evaluator.prefix = 'city'
    words = r'does not report mIoU; did you mean city/mIoU\? It reports city/aAcc, '
    with pytest.raises(InputError, match=rf'^default_hooks\.checkpoint\.save_best: .*{words}'):
        train(cfg)


@pytest.mark.parametrize(
    ('name', 'images', 'drop_last', 'processes', 'refused'),
    [
        ('val', 3, False, 1, True),
        ('val', 3, False, 4, False),
        ('val', 0, False, 4, True),
        ('val', 3, True, 4, True),  # all others drop theirs
        ('train', 3, False, 4, True),
    ],
)
def test_a_process_may_have_no_image_of_a_validation(
    name, images, drop_last, processes, refused, monkeypatch
):
    """Others have them then, and would wait for it."""
    monkeypatch.setattr(hook, 'get_world_size', lambda: processes)
    loader = DataLoader(range(images), sampler=SubsetRandomSampler([]), drop_last=drop_last)
    end = ', and drop_last drops batches of fewer than 1' if drop_last else ''
    words = f'^{name}_dataloader gives no batch: it has {images} images{end}$'
    with pytest.raises(InputError, match=words) if refused else nullcontext():
        hook._refuse_no_batch(f'{name}_dataloader', loader)


def test_a_training_without_validation():
    runner = SimpleNamespace(train_loop=None, train_dataloader=DataLoader([1]), val_loop=None)
    watching = hook.FirstBatchHook()
    watching.before_train(runner)
    assert str(watching.explain(ValueError('a'))) == 'the first training step fails: ValueError: a'
    assert watching.explain(OSError(errno.ENOSPC, 'No space left', 'iter_1.pth')) is None


@pytest.mark.parametrize(
    'loader',
    [
        *(None, DataLoader(Stream()), DataLoader(SizedStream())),
        DataLoader(Unsized(), sampler=SubsetRandomSampler([])),
    ],
)
def test_what_cannot_be_counted_is_not_refused(loader):
    hook._refuse_no_batch('train_dataloader', loader)


@pytest.mark.parametrize(
    ('hooks', 'schedulers', 'names'),
    [
        ([CheckpointHook()], None, []),
        ([CheckpointHook(save_best=['mIoU', 'mAcc'], rule='greater')], [], ['mIoU', 'mAcc']),
        ([EarlyStoppingHook(monitor='mAcc')], [], ['mAcc']),
        ([], [SimpleNamespace(need_val_args=True, monitor='loss')], ['loss']),
        ([], [SimpleNamespace(need_val_args=True), SimpleNamespace(monitor='loss')], []),
        ([], dict(a=[SimpleNamespace(need_val_args=True, monitor='loss')], b=[]), ['loss']),
        ([EarlyStoppingHook(monitor='mAcc'), StateHook()], [], []),  # which may add some
    ],
)
def test_scores_that_are_wanted(hooks, schedulers, names):
    runner = SimpleNamespace(hooks=hooks, param_schedulers=schedulers)
    assert [name for _, name in hook._scores_wanted(runner)] == names
    checkpoints = CheckpointHook(save_best='auto')
    runner = SimpleNamespace(hooks=[checkpoints], param_schedulers=None)
    assert hook._scores_wanted(runner) == [('default_hooks.checkpoint.save_best', checkpoints)]


@pytest.mark.parametrize('others', [[3, 3], [2, 3], [3, None]])
def test_epochs_that_are_longer_in_one_process(others, monkeypatch):
    """It would wait for the others' gradients; a sampler of one's own need not know its length."""
    monkeypatch.setattr(hook, 'all_gather_object', lambda own: [own, *others])
    words = '^train_dataloader gives one process 3 batches and another 2: .* round_up=True'
    with pytest.raises(InputError, match=words) if 2 in others else nullcontext():
        hook._refuse_uneven(DataLoader(range(3)))


class OwnInfinite(InfiniteSampler):
    """A user's, which extends mmengine's."""


@pytest.mark.parametrize('name', ['train', 'val', 'test'])
@pytest.mark.parametrize(
    ('options', 'refused'),
    [
        (dict(batch_size=4, drop_last=True), True),
        (dict(batch_size=3, drop_last=True), False),
        (dict(batch_size=4), False),
        (dict(batch_size=4, drop_last=True, sampler=InfiniteSampler(range(3))), False),  # goes on
        (dict(batch_size=4, drop_last=True, sampler=OwnInfinite(range(3))), False),
        (
            dict(batch_sampler=BatchSampler(InfiniteSampler(range(3)), 4, drop_last=True)),
            False,
        ),
        (dict(batch_size=4, drop_last=True, sampler=iter(range(3))), False),  # of no known length
    ],
)
def test_loaders_without_a_batch(name, options, refused, monkeypatch):
    """mmengine would end every epoch at once, and save what nothing has trained."""
    monkeypatch.setattr(hook, 'try_loop', lambda *args: None)
    loaders = {f'{split}_dataloader': DataLoader(range(9)) for split in ('train', 'val', 'test')}
    loaders[f'{name}_dataloader'] = DataLoader(range(3), **options)
    runner = SimpleNamespace(
        **loaders,
        **dict(train_loop=None, val_loop=0, iter=0, hooks=[], param_schedulers=None),
        test_loop=SimpleNamespace(dataloader=loaders['test_dataloader']),
        model=SimpleNamespace(val_step=None, test_step=None),
    )
    words = f'{name}_dataloader gives no batch: it has 3 images, and drop_last drops batches of fewer than 4'
    with pytest.raises(InputError, match=words) if refused else nullcontext():
        hook.FirstBatchHook().before_train(runner)
        hook.FirstBatchHook().before_test(runner)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='miou', rule='greater')]),
            r'^EarlyStoppingHook\.monitor: val_evaluator does not report miou; did you mean mIoU',
        ),
        (
            dict(param_scheduler=dict(type='ReduceOnPlateauLR', monitor='IoU', rule='greater')),
            r'^param_scheduler: ReduceOnPlateauLR\.monitor: val_evaluator does not report IoU',
        ),
        (  # a model may report losses of a validation; this one does not
            dict(param_scheduler=[dict(type='ReduceOnPlateauLR')]),
            '^param_scheduler: ReduceOnPlateauLR fails: KeyError: .*key loss is not in dict',
        ),
    ],
)
def test_scores_to_stop_or_to_slow_down_by(cfg, change, words):
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.update(change)
    with pytest.raises(InputError, match=words):
        train(cfg)


def test_the_best_checkpoint_by_what_a_hook_may_add(cfg):
    """Not refused: a robustness of RobustnessHook, anything of a hook of the user's own."""
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.custom_hooks = [dict(type='RobustnessHook', corruptions=['fog'], severities=[1])]
    for save_best, hooks in (('robustness/mean', []), ('own', [dict(type='AddingHook')])):
        run = Config(cfg._cfg_dict.to_dict())
        run.default_hooks.checkpoint.update(save_best=save_best, rule='greater')
        run.custom_hooks += hooks
        train(run)


@HOOKS.register_module(force=True)
class AddingHook(Hook):
    priority = 'HIGHEST'

    def after_val_epoch(self, runner, metrics=None):
        metrics['own'] = 1.0


class Videos(list):
    """Gives frames by (video, frame), and whole videos by numbers."""

    def __getitem__(self, index):
        assert isinstance(index, tuple), 'a whole video does not fit into memory'
        return dict(inputs=index)


def test_samples_that_are_taken_by_other_than_numbers(monkeypatch):
    monkeypatch.setattr(trial, 'ValLoop', SimpleNamespace)
    seen = []
    model = torch.nn.Module()
    loop = keeping_loop(model)
    frames = [(0, 0), (0, 1), (1, 0)]
    loop.dataloader = DataLoader(Videos([2, 1]), sampler=frames, batch_size=2, collate_fn=list)
    trial.try_loop(loop, lambda batch: seen.append(batch) or [{}, {}], 'val')
    assert seen == [[dict(inputs=(0, 0)), dict(inputs=(0, 1))]]


def first_batch_of_two(rank, store, everybody):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2
    )
    model = Keeping(everybody)
    trial.try_loop(keeping_loop(model), model.val_step, 'val')
    model.val_step([])
    assert model.gallery == 2
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('everybody', [all_reduce, torch.distributed.all_reduce])
def test_a_model_that_asks_all_processes_does_not_hang(monkeypatch, tmp_path, everybody):
    """Only one tries the first batch; then all go on together."""
    monkeypatch.setattr(trial, 'ValLoop', SimpleNamespace)
    args = (str(tmp_path / 'store'), everybody)
    mp.start_processes(first_batch_of_two, args, nprocs=2, start_method='fork')
