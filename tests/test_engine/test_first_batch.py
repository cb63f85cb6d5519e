"""What is wrong with the first batch is said before anything long; nothing else is changed."""

import random
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.dist import all_reduce
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS
from mmengine.structures import BaseDataElement, InstanceData
from torch.utils.data import BatchSampler, DataLoader, SubsetRandomSampler

from fan_mm.engine.first_batch import hook, trial
from fan_mm.engine.first_batch.outputs import not_finite
from fan_mm.engine.first_batch.samples import load_samples, one_line
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


@HOOKS.register_module(force=True)
class StateHook(Hook):
    """Notes what the first iteration begins with, and each iteration's losses."""

    priority = 'LOWEST'
    seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        model = {name: value.clone() for name, value in runner.model.state_dict().items()}
        modes = [module.training for module in runner.model.modules()]
        states = [repr(random.getstate()), repr(np.random.get_state()), torch.get_rng_state()]
        paths = [sample.img_path for sample in data_batch['data_samples']]
        scalars = dict(runner.message_hub.log_scalars)
        self.seen.append((model, modes, states, paths, sorted(scalars), runner.iter))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append({name: value.item() for name, value in outputs.items()})


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def test_a_training_is_what_it_would_be_without(cfg, monkeypatch, tmp_path):
    """Weights, batch norm, modes, random numbers, order, logs, losses, EMA: to the digit."""
    cfg.custom_hooks = [dict(type='StateHook'), dict(type='EMAHook', momentum=0.5)]
    cfg.model.decode_head.dropout_ratio = 0.5
    runs = []
    for tried in (True, False):
        if not tried:
            monkeypatch.setattr(hook, 'try_loop', lambda *args: None)
        StateHook.seen.clear()
        run = Config(cfg._cfg_dict.to_dict())
        run.work_dir = str(tmp_path / f'tried {tried}')
        # two of the same second would share the hub of mmengine that keeps what is logged
        run.experiment_name = f'{tmp_path.name}_{tried}'
        train(run)
        weights = torch.load(f'{run.work_dir}/iter_2.pth', weights_only=False)
        runs.append((list(StateHook.seen), weights['state_dict'], weights['ema_state_dict']))
    assert same(*runs)
    assert len(runs[0][0]) == 4


@METRICS.register_module(force=True)
class OwnMetric(BaseMetric):
    """Takes or refuses what it is given, as ``fails`` says: 'process', 'always', 'on few', 'never'."""

    def __init__(self, fails, file=None):
        super().__init__()
        self.fails, self.out_file = fails, file

    def process(self, data_batch, data_samples):
        if self.fails == 'process':
            raise KeyError('gt_sem_seg')
        self.results += [0] * len(data_samples)

    def compute_metrics(self, results):
        if self.out_file:
            with open(self.out_file, 'w') as file:
                file.write('scores')
        if self.fails == 'always' or (self.fails == 'on few' and len(results) < 3):
            raise ValueError('only one class present')
        return {'auc': 0.5}


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


@pytest.mark.parametrize('fails', ['never', 'on few', 'always'])
def test_metrics_that_need_more_than_a_batch_are_not_refused(cfg, fails, tmp_path, caplog):
    cfg.train_cfg.update(max_iters=1, val_interval=5)
    file = tmp_path / 'scores.txt'
    cfg.val_evaluator = [cfg.val_evaluator, dict(type='OwnMetric', fails=fails, file=str(file))]
    seen = []

    class Stop(Exception):
        pass

    def before(self, runner):
        seen.append(file.exists())
        raise Stop

    StateHook.before_train_epoch = before
    cfg.custom_hooks = [dict(type='StateHook')]
    try:
        with pytest.raises((Stop, InputError)) as error:
            train(cfg)
        assert 'Stop' in repr(error.value)  # it came as far as the first epoch
    finally:
        del StateHook.before_train_epoch
    assert seen == [False]  # and left no file


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


class Joined(list):
    """Two datasets of images, as a ConcatDataset joins them."""

    cumulative_sizes = (1, 2)

    def get_data_info(self, index):
        return self[index]


@pytest.mark.parametrize(
    ('second', 'metric', 'doubled'),
    [
        ('./town/a.png', {}, True),
        ('town/b.png', {}, False),
        ('town/a.png', dict(_coco_api=SimpleNamespace(get_img_ids=list), img_ids=[]), False),
    ],
)
def test_datasets_that_share_images_are_said(second, metric, doubled, monkeypatch):
    """Of any kind; COCO's are told by their ids."""
    evaluator = SimpleNamespace(metrics=[SimpleNamespace(**metric)])
    dataset = Joined(dict(img_path=path) for path in ('town/a.png', second))
    lines = []
    monkeypatch.setattr(trial, 'print_log', lambda line, *_: lines.append(line))
    trial._say_joined_twice(evaluator, dataset, 'test')
    trial._say_joined_twice(evaluator, list(dataset), 'test')  # one that joins nothing
    line = (
        'test_dataloader.dataset: 1 images listed more than once (the first is town/a.png, 2 times)'
    )
    assert [line in said for said in lines] == [True] * doubled


class Samples:
    """A dataset whose second sample cannot be read, by an error that names no file."""

    def __init__(self, paths):
        self.paths = paths

    def __getitem__(self, index):
        if index == 1:
            raise OSError('cannot identify image file <BytesIO>')
        return index

    def get_data_info(self, index):
        return dict(img_path=self.paths[0], seg_map_path=self.paths[1])


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


def keeping_loop(model):
    dataset = [dict(inputs=index) for index in range(3)]
    runner = SimpleNamespace(model=model)
    evaluator = Evaluator([OwnMetric(fails='never')])
    return SimpleNamespace(
        **dict(runner=runner, evaluator=evaluator, fp16=False),
        dataloader=DataLoader(dataset, collate_fn=list),
    )


def test_a_model_that_keeps_things_is_put_back(monkeypatch):
    monkeypatch.setattr(trial, 'ValLoop', SimpleNamespace)
    model = Keeping().train()
    attributes, calls = dict(vars(model)), model.calls
    trial.try_loop(keeping_loop(model), model.val_step, 'val')
    assert vars(model) == attributes
    assert calls == [] and model.training and model.count == 0 and 'gallery' not in model._buffers


def test_the_best_checkpoint_by_a_score_that_is_not_given(cfg):
    cfg.val_evaluator.prefix = 'city'
    words = r'does not report mIoU; did you mean city/mIoU\? It reports city/aAcc, '
    with pytest.raises(InputError, match=rf'^default_hooks\.checkpoint\.save_best: .*{words}'):
        train(cfg)


@pytest.mark.parametrize(('images', 'processes', 'refused'), [(3, 1, 1), (3, 4, 0), (0, 4, 1)])
def test_a_process_may_have_no_image_of_a_validation(images, processes, refused, monkeypatch):
    """Others have them then, and would wait for it."""
    monkeypatch.setattr(hook, 'get_world_size', lambda: processes)
    loader = DataLoader(range(images), sampler=SubsetRandomSampler([]))
    with pytest.raises(InputError) if refused else nullcontext():
        hook._refuse_no_batch('val_dataloader', loader)


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
