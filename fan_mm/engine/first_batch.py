"""The first batch, before anything long starts: loaded, taken by the model, computed on by the metric.

What is wrong with all batches shows in the first one. Found there it costs seconds, and one line;
found in a metric after an evaluation, or at the first validation, it costs hours.
"""

import contextlib
import copy
import difflib
import itertools
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, ValLoop
from mmengine.runner.amp import autocast
from mmengine.structures import BaseDataElement
from PIL import Image
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, SequentialSampler

from fan_mm.engine.evaluators import (
    collectors,
    computes_as,
    evaluate_here,
    left_as_it_was,
    library_class,
    one_process,
    only_these,
    options_set,
    parts_of,
    set_metainfo,
    truth_ids,
    with_sizes,
    writing_aside,
)
from fan_mm.engine.model_memory import ModelMemory
from fan_mm.errors import InputError

# Metrics that can be computed on any part of a dataset: what they raise there, they raise on the whole.
_ON_ANY_PART = (
    *('IoUMetric', 'DepthMetric', 'SemSegMetric', 'CocoMetric', 'FastCocoMetric', 'LVISMetric'),
    *('VOCMetric', 'Accuracy', 'SingleLabelMetric', 'MultiLabelMetric', 'AveragePrecision'),
    'CalibrationMetric',
)
_OF_LABELS = (
    *('Accuracy', 'SingleLabelMetric', 'MultiLabelMetric', 'AveragePrecision'),
    'ConfusionMatrix',
)
_FILES = ('img_path', 'seg_map_path')
NOT_FINITE = 'values that are not finite'  # in the line of `check_outputs`
_LABELS = 1000  # so many samples are asked for theirs
_MORE = 8  # samples for a metric that does not compute on the first batch


def one_line(error: BaseException) -> str:
    """An error as one line; of a worker's error, which carries a traceback, the last line."""
    lines = [line for line in str(error).splitlines() if line.strip()] or ['']
    if lines[0].startswith('Caught '):
        return lines[-1].strip().removeprefix(f'{InputError.__module__}.InputError: ')
    if isinstance(error, InputError):
        return str(error)
    return f'{type(error).__name__}: {lines[0].strip()}'


def load_samples(
    dataset: Any, indices: Sequence[int], name: str, numbers: Sequence[int] | None = None
) -> list:
    """Load samples in this process.

    Args:
        dataset: of a loader.
        indices: which.
        name: of the loader, for the error's line.
        numbers: what the line calls those of which no file is known; by default the indices.

    Raises:
        InputError: one cannot be loaded; the line names its file.
    """
    samples = []
    for index, number in zip(indices, numbers or indices, strict=True):
        try:
            samples.append(dataset[index])
        except InputError:
            raise
        except Exception as error:  # whatever a dataset or a transform may raise
            line = one_line(error)
            what = _file_of(line, dataset, index) or f'sample {number}'
            raise InputError(f'{name} cannot load {what}: {line}') from error
    return samples


def _file_of(line: str, dataset: Any, index: int) -> str | None:
    """The file of a sample that an error is about, if that can be told."""
    try:
        info = dataset.get_data_info(index)
        files = [str(info[key]) for key in _FILES if info.get(key)]
    except Exception:  # an own dataset, which may be none of mmengine's
        return None
    named = [file for file in files if file in line]
    told = named or files
    return next((f for f in told if not _is_picture(f)), told[0] if told else None)


def _is_picture(path: str) -> bool:
    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception:  # PIL raises many kinds
        return False
    return True


def try_model(step: Callable, loader: DataLoader, name: str) -> None:
    """Let a model take the first batch of a loader, whose order is not used up.

    Args:
        step: takes a batch.
        loader: with a dataset that has indices.
        name: of the loader, for the error's line.

    Raises:
        InputError: a sample cannot be loaded, or the model cannot take the batch.
    """
    dataset: Any = loader.dataset
    size: Any = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    samples = load_samples(dataset, range(min(size, len(dataset))), name)
    try:
        step(loader.collate_fn(samples))
    except InputError:
        raise
    except Exception as error:  # whatever a model may raise
        raise InputError(
            f'{name}: the model fails on the first batch: {one_line(error)}'
        ) from error


def not_finite(outputs: Any, name: str = '') -> str | None:
    """The name of a predicted value that is NaN or infinite; None if all are finite.

    Masked out classes may have the score minus infinity.

    Args:
        outputs: predicted data samples, or a part of one.
        name: of that part.
    """
    if isinstance(outputs, torch.Tensor):
        if not outputs.is_floating_point() or not outputs.numel():
            return None
        # one pass without a copy; only if it is not finite a second one
        if torch.isfinite(outputs.sum(dtype=torch.float32)):
            return None
        bad = outputs.isnan() | outputs.isposinf()
        return name if bad.any() else None
    if isinstance(outputs, BaseDataElement | Mapping):
        top = not name
        parts = [
            (key, value)
            for key, value in outputs.items()
            if not top or key.startswith('pred') or key == 'seg_logits'
        ]
    elif isinstance(outputs, list | tuple):
        parts = [(name, part) for part in outputs]
    else:
        parts = []
    return next((found for key, part in parts if (found := not_finite(part, key))), None)


def check_outputs(outputs: Any) -> None:
    """Look for values that are not finite, from which metrics make numbers nevertheless.

    Raises:
        InputError: there are some; names the first picture.
    """
    for sample in outputs if isinstance(outputs, list | tuple) else ():
        if name := not_finite(sample):
            path = sample.get('img_path') if hasattr(sample, 'get') else None
            raise InputError(
                f'the model gives {name} with {NOT_FINITE}'
                f'{f" for {path}" if path else ""}: its weights or its precision are broken'
            )


def check_labels(outputs: Any, labels: Iterable, evaluator: Evaluator) -> None:
    """Look for labels that a classifier has no score for: they would count as errors in silence.

    Args:
        outputs: of a batch.
        labels: of samples: numbers, lists of numbers, or None.
        evaluator: nothing is said where none of its metrics is known to compare scores with labels.

    Raises:
        InputError: there is one.
    """
    if not any(library_class(m, _OF_LABELS) for top in evaluator.metrics for m in collectors(top)):
        return
    first = outputs[0] if isinstance(outputs, list | tuple) and outputs else None
    scores = first.get('pred_score') if isinstance(first, BaseDataElement | Mapping) else None
    if not isinstance(scores, torch.Tensor) or scores.ndim != 1:
        return
    found = [np.ravel(label) for label in labels if label is not None]
    largest = max(
        (int(label.max()) for label in found if label.size and label.dtype.kind in 'iu'), default=0
    )
    if largest >= len(scores):
        raise InputError(
            f'the dataset has the label {largest}, but the model has scores for 0 to {len(scores) - 1} only'
        )


def without_losses(outputs: Any) -> Any:
    """A model's outputs without the losses that some put behind them, as mmengine's loops take them."""
    last = outputs[-1] if isinstance(outputs, list) and outputs else None
    return (
        outputs[:-1] if isinstance(last, BaseDataElement) and last.keys() == ['loss'] else outputs
    )


def needs_no_more(evaluator: Evaluator) -> bool:
    """Whether an evaluator computes on any part of a dataset, if it computes on the whole."""
    metrics = [m for metric in evaluator.metrics for m in collectors(metric)]
    bases = [library_class(metric, _ON_ANY_PART) for metric in metrics]
    return type(evaluator).evaluate is Evaluator.evaluate and all(
        base and computes_as(metric, base) for metric, base in zip(metrics, bases, strict=True)
    )


def try_loop(
    loop: ValLoop | TestLoop, step: Callable, name: str, wanted: Sequence[str] = ()
) -> None:
    """Try the first batch of a validation or a test, and leave everything as it was.

    Rank 0 tries it, and all ranks hear of a mistake; all try where the model needs them all.

    Args:
        loop: of a Runner, with its model ready.
        step: the model's ``val_step`` or ``test_step``.
        name: 'val' or 'test'.
        wanted: names of scores that somebody will ask for.

    Raises:
        InputError: what fails on it would fail on the others; a score that is wanted is not given.
    """
    rank, world_size = get_dist_info()
    model = loop.runner.model
    together = is_model_wrapper(model) and not isinstance(model, DistributedDataParallel)
    mistake = None
    if rank == 0 or together:
        try:
            # the others wait: what a model asks of them (mmpretrain's retrievers do) would never come
            with _nothing_changed(model), contextlib.nullcontext() if together else one_process():
                _try_loop(loop, step, name, wanted)
        except InputError as error:
            if world_size == 1:
                raise
            # torch's own functions, not mmengine's, for which one process is a group, too
            if together or 'process group has not been initialized' not in str(error):
                mistake = str(error)
    for said in all_gather_object(mistake):
        if said is not None:
            raise InputError(said)


@contextlib.contextmanager
def _nothing_changed(model: torch.nn.Module) -> Iterator[None]:
    """Evaluate in a block, with random numbers and the model put back after it.

    A model may keep what it saw first (mmpretrain's retrievers: their gallery, by weights of then).
    """
    memory = ModelMemory(model)
    state, numpy_state = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            model.eval()
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
        with torch.no_grad():
            memory.put_back()


def _try_loop(loop: ValLoop | TestLoop, step: Callable, name: str, wanted: Sequence[str]) -> None:
    loader = loop.dataloader
    dataset = loader.dataset
    if not hasattr(dataset, '__getitem__') or not hasattr(dataset, '__len__'):
        return  # a stream, which has no first batch to be put back
    total = len(dataset)
    if not total:
        raise InputError(f'{name}_dataloader: the dataset is empty')
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    sizes = getattr(dataset, 'cumulative_sizes', [])
    order = _indices(loader, total)
    batches = [order[:size]]
    own = type(loop) not in (ValLoop, TestLoop)  # may use them in another way
    parts = None if own else parts_of(loop.evaluator, sizes)
    if parts:
        batches = [range(part.start, min(part.start + size, part.stop)) for part in parts]
    loaded = [load_samples(dataset, batch, f'{name}_dataloader') for batch in batches]
    if own:
        return
    evaluator = loop.evaluator
    _say_missed(evaluator, total, name)
    with left_as_it_was(evaluator), writing_aside(evaluator):
        ids = [_process(loader, samples, step, loop, name) for samples in loaded]
        ends = list(itertools.accumulate(len(batch) for batch in batches))
        if parts:
            set_metainfo(evaluator, with_sizes(evaluator.dataset_meta, ends))
        line, names = _try_metrics(evaluator, ids)
        if line is None:
            if _all_give(evaluator, names) and (parts or needs_no_more(evaluator)):
                _check_wanted(wanted, names)
            return
        mistake = f'{name}_evaluator: {_names(evaluator)} cannot compute: {line}'
        if parts is None and needs_no_more(evaluator):
            raise InputError(mistake)
        if parts is None:
            few = min(_MORE, len(order))
            more = [order[i * len(order) // few] for i in range(few)]
            samples = load_samples(dataset, more, f'{name}_dataloader')
            for start in range(0, len(more), size):
                ids.append(_process(loader, samples[start : start + size], step, loop, name))
            line, _ = _try_metrics(evaluator, ids)
    if line is not None:
        print_log(
            f'fan_mm: {mistake} (on few samples; perhaps not on all)', 'current', logging.WARNING
        )


def _indices(loader: DataLoader, total: int) -> Sequence:
    """What a loader takes its samples by: numbers, or (video, frame) of mmdet's TrackImgSampler."""
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if not isinstance(sampler, DefaultSampler | SequentialSampler):
        own = list(itertools.islice(iter(copy.copy(sampler)), total))
        if not all(isinstance(index, int | np.integer) for index in own):
            return own
    return range(total)


def _say_missed(evaluator: Evaluator, total: int, name: str) -> None:
    """Say that a metric counts objects of images as missed that the dataset does not have."""
    for metric in evaluator.metrics:
        truth = truth_ids(metric)
        if truth is not None and len(truth) > total:
            text = f'{name}_evaluator: the annotation file of {type(metric).__name__} has {len(truth)} images'
            text += f', the dataset {total}: what the others show counts as missed'
            print_log(f'fan_mm: {text}', 'current', logging.WARNING)


def _process(loader: DataLoader, samples: list, step: Callable, loop: Any, name: str) -> list:
    """Let the model and the metrics take a batch; returns the ids of its images."""
    try:
        batch = loader.collate_fn(samples)
        with autocast(enabled=loop.fp16):
            outputs = without_losses(step(batch))
    except Exception as error:  # whatever a model may raise
        line = one_line(error)
        raise InputError(
            f'{name}_dataloader: the model fails on the first batch: {line}'
        ) from error
    if name == 'test':  # while training they may be what they are
        check_outputs(outputs)
        check_labels(outputs, _some_labels(loader.dataset), loop.evaluator)
    try:
        loop.evaluator.process(data_samples=outputs, data_batch=batch)
    except Exception as error:  # whatever a metric may raise
        line = one_line(error)
        raise InputError(
            f'{name}_evaluator: {_names(loop.evaluator)} cannot take what the model gives: {line}'
        ) from error
    return [sample.get('img_id') if hasattr(sample, 'get') else None for sample in outputs]


def _some_labels(dataset: Any) -> Iterator[Any]:
    """Class labels that a classification dataset gives some of its samples, evenly spread."""
    with contextlib.suppress(Exception):  # an own dataset, which may be none of mmengine's
        for index in range(0, len(dataset), max(1, len(dataset) // _LABELS)):
            yield dataset.get_data_info(index).get('gt_label')


def _try_metrics(evaluator: Evaluator, ids: Sequence[list]) -> tuple[str | None, list[str]]:
    """Let the metrics compute on what they hold, and keep it; returns their error, and their scores.

    Args:
        evaluator: its metrics have processed some batches.
        ids: of the images of each batch: the other ones of an annotation file are left out, for time.
    """
    flat = [id_ for batch in ids for id_ in batch]
    sliced = parts_of(evaluator, list(itertools.accumulate(map(len, ids))))
    with left_as_it_was(evaluator), contextlib.ExitStack() as stack:
        for number, metric in enumerate(evaluator.metrics):
            for holder in collectors(metric):
                holder.results = copy.deepcopy(holder.results)
            part = sliced[number] if sliced else slice(None)
            stack.enter_context(options_set(metric, **only_these(metric, flat[part])))
        try:
            return None, list(evaluate_here(evaluator, len(flat)))
        except Exception as error:  # whatever a metric may raise
            return one_line(error), []


def _all_give(evaluator: Evaluator, names: Sequence[str]) -> bool:
    """Whether each metric gave scores: mmdet's CocoMetric gives none where nothing is detected."""
    prefixes = [metric.prefix for metric in evaluator.metrics if metric.prefix]
    return bool(names) and all(any(f'{p}/' in name for name in names) for p in prefixes)


def _check_wanted(wanted: Sequence[str], names: Sequence[str]) -> None:
    """Find out now what would end a training with its first validation."""
    for name in wanted:
        if name not in names and not name.startswith('robustness/') and 'loss' not in name:
            near = difflib.get_close_matches(name, names, 1, 0.3)
            hint = f'did you mean {near[0]}? ' if near else ''
            raise InputError(
                f'default_hooks.checkpoint.save_best: val_evaluator gives no {name}; {hint}'
                f'It gives {", ".join(names[:8])}{", ..." if len(names) > 8 else ""}'
            )


def _best_of(runner: Runner) -> list[str]:
    """The scores by which the best checkpoint is told, where no hook of the user's may add some."""
    known = ('mmengine', 'fan_mm', 'mmseg', 'mmdet', 'mmpretrain')
    if any(type(hook).__module__.partition('.')[0] not in known for hook in runner.hooks):
        return []
    return [
        name
        for hook in runner.hooks
        if isinstance(hook, CheckpointHook)
        for name in hook.save_best or ()
        if name != 'auto'
    ]


def _names(evaluator: Evaluator) -> str:
    return ', '.join(type(metric).__name__ for metric in evaluator.metrics)


class FirstBatchHook(Hook):
    """Tries the first batch of what comes late, and knows which batch a run has come to.

    Before a training it tries the validation, hours before it comes; the first training step is the
    first thing that a training does anyway. Before a test it tries the test.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.began = False  # the first batch of what the run is for is being read
        self.finished_one = False  # and that is done
        # loader, and the number of batches that came from it in this epoch
        self.at: tuple[Any, int] | None = None

    def before_train(self, runner: Runner) -> None:
        """Try the validation."""
        if runner.val_loop is not None:
            try_loop(runner.val_loop, runner.model.val_step, 'val', _best_of(runner))
        self.began = True
        self.at = runner.train_dataloader, runner.iter

    def before_test(self, runner: Runner) -> None:
        """Try the test."""
        try_loop(runner.test_loop, runner.model.test_step, 'test')

    def before_train_epoch(self, runner: Runner) -> None:
        """Count from the begin of the epoch, which is the whole training if it counts iterations."""
        self.at = runner.train_dataloader, runner.iter if runner.max_epochs == 1 else 0

    def after_train_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Count."""
        self.finished_one = True
        self.at = runner.train_dataloader, batch_idx + 1

    def before_val_epoch(self, runner: Runner) -> None:
        """Count from here."""
        self.at = runner.val_dataloader, 0

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Count."""
        self.at = runner.val_dataloader, batch_idx + 1

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Back to the training's batches."""
        if runner.train_loop is not None:
            self.at = runner.train_dataloader, runner.iter

    def before_test_epoch(self, runner: Runner) -> None:
        """Count from here."""
        self.at = runner.test_dataloader, 0

    def after_test_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Count."""
        self.at = runner.test_dataloader, batch_idx + 1

    def explain(self, error: Exception) -> InputError | None:
        """One line for an error of the first training step, of a sample or a metric at any time; else None."""
        if self.at and _while_loading(error) and (line := failed_sample(*self.at)):
            return InputError(line)
        if self.began and not self.finished_one:
            return InputError(f'the first training step fails: {one_line(error)}')
        if metric := _computing(error):
            return InputError(f'{metric} cannot compute on all samples: {one_line(error)}')
        return None


def _computing(error: BaseException) -> str | None:
    """The name of the metric of somebody else that was computing when it raised an error; else None."""
    if isinstance(error, MemoryError | OSError):
        return None
    name, frame = None, error.__traceback__
    while frame is not None:
        metric = frame.tb_frame.f_locals.get('self')
        if frame.tb_frame.f_code.co_name == 'compute_metrics' and isinstance(metric, BaseMetric):
            name = type(metric).__name__
        if frame.tb_next is None and frame.tb_frame.f_globals['__name__'].startswith('fan_mm.'):
            return None  # a bug of ours
        frame = frame.tb_next
    return name


def _while_loading(error: BaseException) -> bool:
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename.endswith('torch/utils/data/dataloader.py'):
            return True
        frame = frame.tb_next
    return False


def failed_sample(loader: DataLoader, batch: int) -> str | None:
    """Which sample of a batch cannot be loaded, and why, in one line; None if that cannot be told.

    Args:
        loader: of mmengine's Runner, whose samplers give the same order again.
        batch: its number in the epoch.
    """
    name = type(loader.dataset).__name__
    batches: Any = loader.batch_sampler
    try:
        sampler = copy.copy(batches.sampler)
        if hasattr(sampler, '_indices_of_rank'):  # an InfiniteSampler, which has moved on
            sampler.indices = sampler._indices_of_rank()
        size = loader.batch_size or batches.batch_size
        indices = list(itertools.islice(iter(sampler), batch * size, (batch + 1) * size))
        load_samples(loader.dataset, indices, name)
    except InputError as error:
        return str(error)
    except Exception:  # a sampler of the user's own: the error itself is what is known
        return None
    return None
