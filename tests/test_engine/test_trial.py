"""What a trial of a model and a metric on a batch says, refuses and puts back."""

import copy
import random
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from first_batch_parts import (
    Images,
    OwnMetric,
    Samples,
    SizedStream,
    StateHook,
    Stream,
    fails,
    keeping_loop,
)
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.registry import DATA_SAMPLERS
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    SequentialSampler,
)

from fan_mm.engine.first_batch import dealing, hook, trial
from fan_mm.errors import InputError
from fan_mm.jobs.training import train

pytest.importorskip('mmseg')


@pytest.fixture
def cfg(tiny_config, tmp_path):
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    return cfg


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@DATA_SAMPLERS.register_module(force=True)
class DrawingSampler(DefaultSampler):
    """Draws from all random generators, as samplers of users do."""

    def __iter__(self):
        random.random(), np.random.rand(), torch.rand(1)
        return super().__iter__()


def test_a_training_is_what_it_would_be_without(cfg, monkeypatch, tmp_path):
    """Weights, batch norm, modes, random numbers, order, logs, losses, EMA: to the digit."""
    cfg.val_dataloader.sampler.type = 'DrawingSampler'
    asked = []
    monkeypatch.setattr(dealing, 'get_world_size', lambda: 2)
    monkeypatch.setattr(dealing, 'all_gather_object', lambda own: asked.append(own) or [own, None])
    cfg.custom_hooks = [dict(type='StateHook'), dict(type='EMAHook', momentum=0.5)]
    cfg.model.decode_head.dropout_ratio = 0.5
    runs = []
    for tried in (True, False):
        if not tried:
            monkeypatch.setattr(hook, 'try_loop', lambda *args: None)
            monkeypatch.setattr(hook, 'say_dealing', lambda *args: None)
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
    assert asked == [[0, 1, 2]]


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
    monkeypatch.setattr(trial, 'warn', lambda line: lines.append(line))
    trial._say_joined_twice(evaluator, dataset, 'test')
    trial._say_joined_twice(evaluator, list(dataset), 'test')  # one that joins nothing
    line = (
        'test_dataloader.dataset: 1 images listed more than once (the first is town/a.png, 2 times)'
    )
    assert [line in said for said in lines] == [True] * doubled


@pytest.fixture
def said(monkeypatch):
    """What a trial logs."""
    lines = []
    monkeypatch.setattr(trial, 'warn', lambda line: lines.append(line))
    monkeypatch.setattr(trial, 'ValLoop', SimpleNamespace)
    return lines


def tried(change, name='val', label=0, wanted=()):
    """The trial of a loop over three images, changed before; the batches that its model was given."""
    loop, seen = keeping_loop(torch.nn.Module()), []
    change(loop)

    def step(batch):
        seen.append(len(batch))
        return [
            dict(img_id=7, pred_label=torch.tensor(label), pred_score=torch.ones(9)) for _ in batch
        ]

    trial.try_loop(loop, step, name, wanted)
    return seen


def of(*paths, half=None, **options):
    """Gives a loop other images."""
    return lambda loop: setattr(
        loop, 'dataloader', DataLoader(Images(*paths, half=half), collate_fn=list, **options)
    )


def with_metric(**attributes):
    """Gives a loop's metric other attributes."""
    return lambda loop: vars(loop.evaluator.metrics[0]).update(attributes)


def coco(images):
    return dict(_coco_api=SimpleNamespace(get_img_ids=lambda: range(images)), img_ids=[])


@pytest.mark.parametrize(
    ('change', 'options', 'line'),
    [
        (with_metric(), {}, None),
        (with_metric(fails='on few'), {}, None),
        (
            with_metric(fails='always'),
            {},
            'val_evaluator: OwnMetric cannot compute: ValueError: only one class present (on few samples; '
            'perhaps not on all)',
        ),
        (with_metric(**coco(3)), {}, None),
        (
            with_metric(**coco(4)),
            {},
            'val_evaluator: the annotation file of OwnMetric has 4 images, the dataset 3: objects in the '
            'others count as missed',
        ),
        (of('a.png', 'b.png', './a.png'), {}, None),
        (of(None, 'a.png', 'a.png', half=2), {}, None),  # of which not all are files
        (
            of('a.png', 'b.png', './a.png', half=2),
            {},
            'val_dataloader.dataset: 1 images listed more than once (the first is a.png, 2 times): '
            'each is counted that often',
        ),
        (of('a.png'), dict(name='test', label=1), None),
        (of('a.png'), dict(label=2), None),
        (
            of('a.png'),
            dict(name='test', label=2),
            'test_dataloader: 1 of the first 1 predictions are not among the 2 classes of the dataset',
        ),
    ],
)
def test_what_a_trial_says(change, options, line, said):
    tried(change, **options)
    assert [found.startswith(f'fan_mm: {line}') for found in said] == [True] * (line is not None), (
        said
    )


def test_a_trial_leaves_no_file(said, tmp_path):
    tried(with_metric(out_file=str(tmp_path / 'scores.txt')))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('change', 'given'),
    [
        (of(*'abcde'), [1]),
        (of(*'abcde', batch_size=2), [2]),
        (of(*'abc', batch_size=4), [3]),
        (of(*'abcde', batch_sampler=BatchSampler(SequentialSampler(range(5)), 2, False)), [2]),
        (of(*'abcde', batch_sampler=[[0, 1, 2], [3, 4]]), [1]),  # which says no size
        # streams have no first batch
        (lambda loop: setattr(loop, 'dataloader', DataLoader(Stream())), []),
        (lambda loop: setattr(loop, 'dataloader', DataLoader(SizedStream())), []),
        (lambda loop: setattr(loop, 'dataloader', SimpleNamespace(dataset={1, 2})), []),
    ],
)
def test_the_batch_that_is_tried(change, given, said):
    assert tried(change) == given
    if given and given != [3]:
        # a metric that cannot compute on that gets some of all, batch by batch
        several = lambda loop: (change(loop), with_metric(fails='on few')(loop))  # noqa: E731
        size = given[0]
        assert tried(several) == given + [size] * (5 // size) + [5 % size] * (5 % size > 0)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({}, None),
        (dict(wanted=[('here', 'accuracy/top1'), ('a', 'robustness/b'), ('c', 'loss_d')]), None),
        (
            dict(wanted=[('here', 'accuracy/top5')]),
            '^here: val_evaluator does not report accuracy/top5; did you mean accuracy/top1[?] It reports accuracy',
        ),
        (
            dict(wanted=[('here', 'x')]),
            '^here: val_evaluator does not report x; It reports accuracy/top1$',
        ),
        (
            dict(scores=(9, 2)),
            '^val_evaluator: Accuracy cannot compute: RuntimeError: stack expects',
        ),
        (
            dict(scores=(9, 2), own=dict(prefix='a')),
            '^val_evaluator: Own cannot compute: RuntimeError',
        ),
        # another one's computation, which may do better with more
        (dict(scores=(9, 2), own=dict(compute_metrics=OwnMetric.compute_metrics)), None),
        (dict(own=dict(evaluate=lambda self, size: {}), wanted=[('here', 'x')]), None),
    ],
)
def test_what_a_trial_refuses(options, words, said):
    accuracy = pytest.importorskip('mmpretrain.evaluation').Accuracy
    own, scores = options.pop('own', None), options.pop('scores', (9, 9))
    loop = keeping_loop(torch.nn.Module(), batch_size=2)
    loop.evaluator = Evaluator([accuracy() if own is None else type('Own', (accuracy,), own)()])
    outputs = [dict(pred_score=torch.ones(n), gt_label=torch.tensor([0])) for n in scores]
    with pytest.raises(InputError, match=words) if words else nullcontext():
        trial.try_loop(loop, lambda batch: outputs[: len(batch)], 'val', options.get('wanted', ()))


class Demanding(OwnMetric):
    """Uses up what it has collected, and counts only the images of that."""

    def process(self, data_batch, data_samples):
        assert len(data_batch) == len(data_samples)
        self.results += [np.array([sample['img_id']]) for sample in data_samples]

    def compute_metrics(self, results):
        assert {int(result[0]) for result in results} == set(self.img_ids)
        for result in results:
            result[0] = -1
        return super().compute_metrics(results)


def test_a_metric_that_needs_more_can_compute_twice(said):
    metric = Demanding(fails='on few')
    vars(metric).update(coco(4))
    tried(lambda loop: setattr(loop, 'evaluator', Evaluator([metric])))
    assert len(said) == 1 and 'count as missed' in said[0]
    assert metric.img_ids == [] and metric.results == []


@pytest.mark.parametrize(
    ('rank', 'processes', 'wrapped', 'tries'),
    [(0, 1, 0, True), (0, 2, 0, True), (1, 2, 0, False), (0, 2, 1, True), (1, 2, 1, True)],
)
def test_who_tries(rank, processes, wrapped, tries, monkeypatch, said):
    """The first process alone, unless the model needs all."""
    monkeypatch.setattr(trial, 'get_dist_info', lambda: (rank, processes))
    monkeypatch.setattr(trial, 'is_model_wrapper', lambda model: wrapped)
    alone = []
    monkeypatch.setattr(trial, 'one_process', lambda: alone.append(1) or nullcontext())
    assert bool(tried(of('a.png'))) == tries and bool(alone) == (tries and not wrapped)

    def ask_all(batch):
        torch.distributed.all_reduce(torch.ones(1))

    loop = keeping_loop(torch.nn.Module())
    # what the first cannot do alone, all may do together
    unsure = processes > 1 and not wrapped
    with nullcontext() if unsure else pytest.raises(InputError, match='process group has not been'):
        trial.try_loop(loop, ask_all, 'val')


@pytest.mark.parametrize(
    ('save_best', 'rule', 'refused'),
    [
        ('auto', None, True),
        ('auto', 'greater', False),
        ('mIoU', None, False),  # another check's
    ],
)
def test_a_score_of_which_nobody_says_whether_more_is_better(said, save_best, rule, refused):
    """Of mmdet's panoptic metric, say, mmengine would fail at the first validation."""
    loop = keeping_loop(torch.nn.Module())
    (metric,) = loop.evaluator.metrics
    checkpoints = CheckpointHook(save_best=save_best, rule=rule)
    wanted = [('here', checkpoints if save_best == 'auto' else save_best)]
    words = r"^here: 'auto' chooses by PQ, of which mmengine does not know whether more is better: set rule"
    for scores in ({'PQ': 0.5, 'mIoU': 0.5}, {'mIoU': 0.5, 'PQ': 0.5}):
        metric.compute_metrics = lambda results, scores=scores: scores
        refuses = refused and next(iter(scores)) == 'PQ'
        with pytest.raises(InputError, match=words) if refuses else nullcontext():
            trial.try_loop(loop, lambda batch: [{} for _ in batch], 'val', wanted)
        if refuses:
            with pytest.raises(ValueError, match='Cannot infer the rule'):  # what it would say then
                checkpoints._save_best_checkpoint(SimpleNamespace(epoch=1, iter=1), scores)


def test_a_first_score_that_comes_later(said):
    """Of mmdet's CocoMetric, which gives none where nothing is detected yet."""
    loop = keeping_loop(torch.nn.Module())
    (metric,) = loop.evaluator.metrics
    metric.compute_metrics = lambda results: {'PQ': 0.5}
    wanted = [('here', CheckpointHook(save_best='auto'))]
    for first in ({}, {'mAP': 0.5}):
        before = copy.deepcopy(metric)
        before.prefix, before.compute_metrics = 'coco', lambda results, first=first: first
        loop.evaluator.metrics = [before, metric]
        trial.try_loop(loop, lambda batch: [{} for _ in batch], 'val', wanted)
    before.compute_metrics = lambda results: {'mAP': 0.5}
    loop.evaluator.metrics = [metric, before]
    with pytest.raises(InputError, match=r"^here: 'auto' chooses by PQ"):
        trial.try_loop(loop, lambda batch: [{} for _ in batch], 'val', wanted)


def test_another_sample_that_cannot_be_loaded(said):
    loop = keeping_loop(torch.nn.Module())
    loop.evaluator.metrics[0].fails = 'on few'
    loop.dataloader = DataLoader(Samples([__file__, __file__]), collate_fn=list)
    with pytest.raises(InputError, match=r'^val_dataloader cannot load'):
        trial.try_loop(loop, lambda batch: [{}], 'val')


def test_a_label_that_the_model_has_no_score_for(said):
    loop = keeping_loop(torch.nn.Module())
    loop.evaluator = Evaluator([pytest.importorskip('mmpretrain.evaluation').Accuracy()])
    of('a.png', 'b.png')(loop)
    loop.dataloader.dataset[1]['gt_label'] = 2
    outputs = [dict(pred_score=torch.ones(2), gt_label=torch.tensor([0]))]
    trial.try_loop(loop, lambda batch: outputs, 'val')
    with pytest.raises(InputError, match=r'^the dataset has the label 2, but the model has scores'):
        trial.try_loop(loop, lambda batch: outputs, 'test')


def test_random_numbers_are_put_back(said):
    loop = keeping_loop(torch.nn.Module())

    def draw(batch=None):
        drawn = random.random(), np.random.rand(), torch.rand(1).item()
        return drawn if batch is None else [{}]

    seeds = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = draw()
    for put, seed in zip(
        (random.setstate, np.random.set_state, torch.set_rng_state), seeds, strict=True
    ):
        put(seed)
    trial.try_loop(loop, draw, 'val')
    assert draw() == expected


def test_outputs_may_be_anything(said):
    trial.try_loop(keeping_loop(torch.nn.Module()), lambda batch: [torch.ones(1)], 'test')


def test_one_metric_for_each_dataset(said):
    """Each is tried on a batch of its own; their scores have their prefixes."""
    several = pytest.importorskip('mmdet.evaluation').MultiDatasetsEvaluator
    asked = []

    class Noting(OwnMetric):
        def process(self, data_batch, data_samples):
            self.results += [sample['img_id'] for sample in data_samples]

        def compute_metrics(self, results):
            asked.append((list(results), self.img_ids))
            return {'auc': 0.5}

    loop = keeping_loop(torch.nn.Module())
    of(*'abcde', half=2, batch_size=2)(loop)
    loop.evaluator = several([Noting(fails='never'), Noting(fails='never')], ['x', 'y'])
    for metric in loop.evaluator.metrics:
        vars(metric).update(coco(9))
    with pytest.raises(InputError, match=r'did you mean x/auc\? It reports x/auc, y/auc$'):
        trial.try_loop(
            loop,
            lambda batch: [dict(img_id=info['img_path']) for info in batch],
            *('val', [('here', 'y/auc'), ('here', 'x/acc')]),
        )
    assert asked == [(['a', 'b'], ['a', 'b']), (['c', 'd'], ['c', 'd'])]
    for metric in loop.evaluator.metrics:
        metric.compute_metrics = lambda results: fails(ValueError('too few'))
    trial.try_loop(loop, lambda batch: [dict(img_id=i['img_path']) for i in batch], 'val')
    assert said[-1].endswith(
        'cannot compute: ValueError: too few (on few samples; perhaps not on all)'
    )


def test_only_the_first_process_tries_what_is_distributed_alone(monkeypatch, said):
    monkeypatch.setattr(trial, 'get_dist_info', lambda: (1, 2))
    monkeypatch.setattr(trial, 'is_model_wrapper', lambda model: True)
    model = object.__new__(DistributedDataParallel)
    trial.try_loop(SimpleNamespace(runner=SimpleNamespace(model=model)), None, 'val')


def test_an_empty_dataset(said):
    with pytest.raises(InputError, match=r'^val_dataloader: the dataset is empty$'):
        tried(of())
