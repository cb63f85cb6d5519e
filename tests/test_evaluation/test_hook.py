"""Robustness watched while training, through mmengine's own Runner and hooks."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.runner import IterBasedTrainLoop, Runner
from stripe_model import StripeModel

from fan_mm.datasets.transforms import CorruptImage
from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessHook, RobustnessSweep
from fan_mm.evaluation.hook import _number


class Learning(StripeModel):
    """A model that "trains": its colours move by 1 at every iteration."""

    def train_step(self, data, optim_wrapper):
        self.colours += 1
        self.weight.data += 1
        return {'loss': self.weight.detach()[0]}


class MustNotRun:
    """The training set: its content does not matter."""

    metainfo = {}

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return index


def train(cfg, work_dir, hooks, iterations=4, **options):
    runner = Runner(
        Learning(),
        str(work_dir),
        train_dataloader=dict(
            batch_size=1, dataset=MustNotRun(), sampler=dict(type='InfiniteSampler')
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        val_dataloader=cfg.test_dataloader,
        val_evaluator=cfg.test_evaluator,
        val_cfg={},
        custom_hooks=hooks,
        default_scope='mmseg',
        experiment_name=str(work_dir),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        **options,
    )
    runner.train()
    return runner


@pytest.fixture
def cfg(stripe_config):
    import mmseg.utils

    mmseg.utils.register_all_modules(init_default_scope=False)
    return Config.fromfile(stripe_config, import_custom_modules=False)


def test_logged_every_other_validation(cfg, tmp_path):
    hook = dict(type='RobustnessHook', corruptions=['fog', 'noise'], severities=[2], interval=2)
    train(
        cfg,
        tmp_path,
        [hook],
        default_hooks=dict(logger=dict(type='LoggerHook', log_metric_by_epoch=False)),
        log_processor=dict(by_epoch=False),
    )
    (scalars,) = tmp_path.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    logged = [line for line in lines if 'robustness/mean' in line]
    assert [line['step'] for line in logged] == [2, 4]
    names = {'fog', 'gaussian_noise', 'shot_noise', 'impulse_noise', 'speckle_noise'}
    for line in logged:
        scores = {k.removeprefix('robustness/'): v for k, v in line.items() if '/' in k}
        assert set(scores) == names | {'clean', 'mean', 'retention'}
        assert scores['clean'] == pytest.approx(line['mIoU'], abs=0.006)
        mean = sum(scores[name] for name in names) / len(names)
        assert scores['mean'] == pytest.approx(mean)
        assert scores['retention'] == pytest.approx(100 * mean / scores['clean'])


KEEP_BEST = dict(
    default_hooks=dict(
        checkpoint=dict(
            type='CheckpointHook',
            by_epoch=False,
            interval=1,
            save_best='robustness/mean',
            rule='greater',
        )
    ),
    log_processor=dict(by_epoch=False),
)


@pytest.mark.parametrize('interval', [1, 2])
def test_the_best_checkpoint_can_be_the_most_robust(cfg, tmp_path, interval):
    hook = dict(type='RobustnessHook', corruptions=['fog'], max_samples=1, interval=interval)
    train(cfg, tmp_path, [hook], **KEEP_BEST)
    assert list(tmp_path.glob('best_robustness_mean_iter_*.pth'))


def test_a_failed_cell_does_not_end_the_training(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(CorruptImage, 'transform', lambda self, results: 1 / 0)
    seen = []

    class Spy(RobustnessHook):
        def after_val_epoch(self, runner, metrics=None):
            super().after_val_epoch(runner, metrics)
            seen.append(metrics)

    # A single corruption: the clean cell runs the pipeline as it is.
    train(cfg, tmp_path, [Spy(corruptions=['fog'], max_samples=1)], iterations=1, **KEEP_BEST)
    (metrics,) = seen
    assert metrics['robustness/clean'] > 0
    undefined = ('fog', 'mean', 'retention')
    assert [metrics[f'robustness/{name}'] for name in undefined] == [None] * 3
    assert not list(tmp_path.glob('best_*.pth'))


def test_a_resumed_training_keeps_step(cfg, tmp_path):
    swept = []

    class Spy(RobustnessHook):
        def after_val_epoch(self, runner, metrics=None):
            super().after_val_epoch(runner, metrics)
            if metrics['robustness/mean'] is not None:
                swept.append(runner.iter)

    for iterations in (3, 6):
        spy = Spy(corruptions=['fog'], max_samples=1, interval=2)
        train(cfg, tmp_path, [spy], iterations, resume=True, **KEEP_BEST)
    assert swept == [2, 4, 6]


def test_averaged_weights_are_the_ones_evaluated(cfg, tmp_path):
    """EMAHook puts its weights in for the validation, and the trained ones back after it."""
    seen = []

    class Spy(RobustnessHook):
        def after_val_epoch(self, runner, metrics=None):
            seen.append(runner.model.weight.item())
            super().after_val_epoch(runner, metrics)

    ema = dict(type='EMAHook', momentum=0.5)
    spy = Spy(corruptions=['fog'], max_samples=1)
    runner = train(cfg, tmp_path, [ema, spy], log_processor=dict(by_epoch=False))
    assert runner.model.weight.item() == 4
    assert all(value < 4 for value in seen)
    assert seen != [1, 2, 3, 4]


def test_what_cannot_be_swept_is_said_before_the_training(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(Learning, 'train_step', lambda *args: 1 / 0)
    hook = dict(type='RobustnessHook', corruptions=['fogg'])
    with pytest.raises(InputError, match='did you mean'):
        train(cfg, tmp_path, [hook])


def test_a_sweep_that_cannot_begin_does_not_end_the_training(cfg, tmp_path, monkeypatch):
    def refused(self):
        raise InputError('not today')

    monkeypatch.setattr(RobustnessSweep, 'run', refused)
    runner = train(cfg, tmp_path, [dict(type='RobustnessHook')], iterations=2)
    assert runner.iter == 2


def test_bad_interval():
    with pytest.raises(InputError, match='interval'):
        RobustnessHook(interval=0)


@pytest.mark.parametrize(
    ('iteration', 'epoch', 'interval', 'by_iter', 'number'),
    [
        (0, 0, 2, True, 0),  # before the training
        (2000, 1, 2000, True, 1),
        (4000, 1, 2000, True, 2),
        (4001, 1, 2000, True, 3),  # the last one, before its turn
        (4000, 6, 2, False, 3),
        (4000, 7, 2, False, 4),
    ],
)
def test_which_validation_it_is(iteration, epoch, interval, by_iter, number):
    loop = object.__new__(IterBasedTrainLoop) if by_iter else None
    runner = SimpleNamespace(iter=iteration, epoch=epoch, val_interval=interval, train_loop=loop)
    assert _number(runner) == number
