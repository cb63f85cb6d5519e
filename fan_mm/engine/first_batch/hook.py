"""The hook that tries the first batch of what comes late, and knows which batch a run has come to."""

import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

from mmengine.dist import all_gather_object, get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.optim.scheduler import _ParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner, TestLoop, ValLoop
from torch.nn import Module
from torch.utils.data import DataLoader, IterableDataset, Sampler

from fan_mm.engine.checks.loaders import ENDLESS
from fan_mm.engine.config.registered import is_known, package
from fan_mm.engine.first_batch.dealing import say_dealing
from fan_mm.engine.first_batch.samples import failed_sample, one_line
from fan_mm.engine.first_batch.trial import try_loop
from fan_mm.engine.machines import collect_without_disk, refuse_other_images
from fan_mm.errors import InputError, is_of_disk, is_of_lost_process, is_of_memory


class FirstBatchHook(Hook):
    """Tries the first batch of later validations and tests, and tracks the position of a run.

    Before a training it tries the validation, which would otherwise run hours later; the first training
    step follows immediately anyway. Before a test it tries the test.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.began = False  # whether the first batch of the run is being read
        self.finished_one = False  # whether that batch is done
        # loader, and number of its batches in this epoch
        self.at: tuple[Any, int] | None = None

    def before_train(self, runner: Runner) -> None:
        """Refuse a training of no batch, or that would never end, and try the validation."""
        if type(runner.train_loop) is EpochBasedTrainLoop:
            _refuse_uneven(runner.train_dataloader)
        _refuse_no_batch('train_dataloader', runner.train_dataloader)
        try:
            refuse_other_images('train_dataloader', runner.train_dataloader)
        except InputError as error:  # machines may have different parts of the data on purpose
            runner.logger.warning(f'fan_mm: {error}')
        if runner.val_loop is not None:
            _refuse_no_batch('val_dataloader', runner.val_dataloader)
            refuse_other_images('val_dataloader', runner.val_dataloader)
            collect_without_disk(getattr(runner.val_loop, 'evaluator', None))
            if type(runner.val_loop) is ValLoop:
                say_dealing('val_dataloader', runner.val_dataloader)
            try_loop(runner.val_loop, runner.model.val_step, 'val', _scores_wanted(runner))
        self.began = True

    def before_test(self, runner: Runner) -> None:
        """Refuse a test of no batch, and try it."""
        loader = getattr(runner.test_loop, 'dataloader', None)
        _refuse_no_batch('test_dataloader', loader)
        refuse_other_images('test_dataloader', loader)
        collect_without_disk(getattr(runner.test_loop, 'evaluator', None))
        if type(runner.test_loop) is TestLoop:
            say_dealing('test_dataloader', runner.test_loop.dataloader)
        try_loop(runner.test_loop, runner.model.test_step, 'test')

    def before_train_epoch(self, runner: Runner) -> None:
        """Count from the begin of the epoch, which is the whole training if it counts iterations."""
        self.at = runner.train_dataloader, runner.iter if runner.max_epochs == 1 else 0

    def after_train_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        self.finished_one = True
        self.at = runner.train_dataloader, batch_idx + 1

    def before_val_epoch(self, runner: Runner) -> None:
        self.at = runner.val_dataloader, 0

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        self.at = runner.val_dataloader, batch_idx + 1

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Back to the training's batches."""
        if runner.train_loop is not None:
            self.at = runner.train_dataloader, runner.iter

    def before_test_epoch(self, runner: Runner) -> None:
        self.at = runner.test_dataloader, 0

    def after_test_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        self.at = runner.test_dataloader, batch_idx + 1

    def explain(self, error: Exception) -> InputError | None:
        """One line for an error of the first training step, or of a sample, model, metric or hook; else None."""
        if is_of_lost_process(error):
            return None
        if self.at and _while_loading(error) and (explained := failed_sample(*self.at)):
            return explained
        if sampler := _sampling(error):
            return InputError(f'{sampler} cannot choose samples: {one_line(error)}')
        if self.began and not self.finished_one and not is_of_disk(error):
            return InputError(f'the first training step fails: {one_line(error)}')
        at_fault = _computing(error) or _in_hook(error) or _scheduling(error) or _predicting(error)
        if at_fault:
            return InputError(f'{at_fault}: {one_line(error)}')
        return None


def _batches(loader: DataLoader) -> int | None:
    """The number of batches of this process; None if its sampler does not know."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def _refuse_uneven(loader: DataLoader) -> None:
    """Refuse epochs with more batches in some processes, which would wait for the gradients of the others."""
    found = {number for number in all_gather_object(_batches(loader)) if number is not None}
    if len(found) > 1:
        raise InputError(
            f'train_dataloader gives one process {max(found)} batches and another {min(found)}: the one would '
            'wait for the other; DefaultSampler with round_up=True gives all as many'
        )


def _refuse_no_batch(name: str, loader: Any) -> None:
    """Refuse a loader without a batch: epochs of nothing would end in untrained checkpoints, or no score."""
    if not isinstance(loader, DataLoader) or not hasattr(loader.dataset, '__len__'):
        return
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    endless = any(base.__name__ in ENDLESS for base in type(sampler).__mro__)
    if endless or isinstance(loader.dataset, IterableDataset):
        return
    others = get_world_size() > 1 and len(loader.dataset) > 0
    if name != 'train_dataloader' and others and not loader.drop_last:
        return  # the other processes may have the images
    if _batches(loader) == 0:
        images: Any = loader.dataset
        why = (
            f', and drop_last drops batches of fewer than {loader.batch_size}'
            if loader.drop_last
            else ''
        )
        raise InputError(f'{name} gives no batch: it has {len(images)} images{why}')


def _scores_wanted(runner: Runner) -> list[tuple[str, str | CheckpointHook]]:
    """The scores that tell the best checkpoint, or when to stop or to slow down, with who names them.

    A hook that uses the first available score is returned instead of a name. Empty if a user's hook may add scores.
    """
    if not all(is_known(type(hook)) for hook in runner.hooks):
        return []
    wanted: list[tuple[str, str | CheckpointHook]] = []
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            best = [hook if name == 'auto' else name for name in hook.save_best or ()]
            wanted += [('default_hooks.checkpoint.save_best', name) for name in best]
        elif isinstance(hook, EarlyStoppingHook):
            wanted.append(('EarlyStoppingHook.monitor', hook.monitor))
    schedulers = runner.param_schedulers or []
    lists = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    wanted += [
        (f'param_scheduler: {type(scheduler).__name__}.monitor', scheduler.monitor)
        for one in lists
        for scheduler in one
        if getattr(scheduler, 'need_val_args', False) and hasattr(scheduler, 'monitor')
    ]
    return wanted


def _frames(error: BaseException) -> Iterator[tuple[FrameType, str, Any]]:
    """The frames in which an error was raised, the innermost last, with their functions and ``self``."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield frame, frame.f_code.co_name, frame.f_locals.get('self')


def _computing(error: BaseException) -> str | None:
    """The third-party metric that raised an error, and its sample; None if none did."""
    if is_of_memory(error) or isinstance(error, OSError):
        return None
    said, module = None, ''
    for frame, step, metric in _frames(error):
        if step == 'compute_metrics' and isinstance(metric, BaseMetric):
            said = f'{type(metric).__name__} cannot compute on all samples'
        elif step == 'process' and isinstance(metric, BaseMetric):
            sample = frame.f_locals.get('data_sample')
            path = sample.get('img_path') if isinstance(sample, dict) else None
            said = f'{type(metric).__name__} cannot process the output of the model for {path or "a sample"}'
        module = frame.f_globals.get('__name__', '')  # generated code (torch.fx) has none
    return None if module.startswith('fan_mm.') else said  # a bug of ours


def _in_hook(error: BaseException) -> str | None:
    """Which hook of a task library or the user's own raised an error; None if none did."""
    if is_of_memory(error) or isinstance(error, OSError):
        return None
    hooks = [f.f_locals.get('hook') for f, name, _ in _frames(error) if name == 'call_hook']
    if not hooks or hooks[-1] is None:
        return None
    ours = package(type(hooks[-1])) in ('mmengine', 'fan_mm')
    return None if ours else f'{type(hooks[-1]).__name__} fails'


def _scheduling(error: BaseException) -> str | None:
    """Which scheduler raised an error, as one that waits for a score that no validation gives; else None."""
    for _, step, scheduler in _frames(error):
        if step == 'step' and isinstance(scheduler, _ParamScheduler):
            return f'param_scheduler: {type(scheduler).__name__} fails'
    return None


def _predicting(error: BaseException) -> str | None:
    """The image on whose batch a third-party model failed, after the first batch; None for other errors."""
    if is_of_memory(error):
        return None
    said = None
    for frame, step, model in _frames(error):
        if step in ('train_step', 'val_step', 'test_step') and isinstance(model, Module):
            samples = _samples_in(frame.f_locals.get('data'))
            paths = (getattr(sample, 'img_path', None) for sample in samples)
            said = f'the model fails on the batch of {next(filter(None, paths), "some samples")}'
        elif said and frame.f_globals.get('__name__', '').startswith('fan_mm.'):
            return None  # perhaps a bug of ours
    return said


def _samples_in(batch: Any) -> list:
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    return samples if isinstance(samples, list) else []


def _sampling(error: BaseException) -> str | None:
    """The name of the sampler, of samples or batches, that raised an error; else None."""
    samplers = [s for _, step, s in _frames(error) if step == '__iter__' and isinstance(s, Sampler)]
    return type(samplers[-1]).__name__ if samplers else None


def _while_loading(error: BaseException) -> bool:
    loader = 'torch/utils/data/dataloader.py'
    return any(frame.f_code.co_filename.endswith(loader) for frame, *_ in _frames(error))
