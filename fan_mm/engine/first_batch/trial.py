"""A trial of the first batch: loaded, taken by the model, computed on by the metric, nothing changed.

Errors that would occur on all batches are raised; others are only logged. Rank 0 runs the trial and informs the
other ranks.
"""

import contextlib
import copy
import difflib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.runner import TestLoop, ValLoop
from mmengine.runner.amp import autocast
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from fan_mm.engine.evaluators import (
    check_categories,
    collectors,
    computes_as,
    evaluate_here,
    joined_twice,
    left_as_it_was,
    library_class,
    one_process,
    only_these,
    options_set,
    parts_of,
    set_metainfo,
    truth_ids,
    waits_for_all,
    with_sizes,
    writing_aside,
)
from fan_mm.engine.first_batch.model_memory import ModelMemory
from fan_mm.engine.first_batch.outputs import (
    check_labels,
    check_outputs,
    score_warnings,
    unknown_classes,
    without_losses,
)
from fan_mm.engine.first_batch.samples import load_samples, one_line
from fan_mm.engine.first_batch.several_sizes import mixed_batch
from fan_mm.engine.random_states import random_states_kept
from fan_mm.errors import InputError
from fan_mm.few_names import few
from fan_mm.logs import warn

# Metrics that can be computed on any part of a dataset: their errors would also occur on the whole.
_ON_ANY_PART = (
    *('IoUMetric', 'DepthMetric', 'SemSegMetric', 'CocoMetric', 'FastCocoMetric', 'LVISMetric'),
    *('VOCMetric', 'Accuracy', 'SingleLabelMetric', 'MultiLabelMetric', 'AveragePrecision'),
    'CalibrationMetric',
)
Wanted = Sequence[tuple[str, str | CheckpointHook]]
_LABELS = 1000  # number of samples whose labels are read
_MORE = 8  # samples for a metric that cannot be computed on the first batch


def try_model(
    step: Callable,
    loader: DataLoader,
    name: str,
    order: Sequence[int] | None = None,
    first: bool = True,
) -> bool:
    """Let a model take the first batch of a loader, and one of images of several sizes; its order is not used up.

    Args:
        step: function of a batch.
        loader: a loader with an indexable dataset.
        name: name of the loader, for error messages.
        order: order of the samples in the run; None for that of the dataset.
        first: try the first batch also if all its images have one size.

    Returns:
        Whether there was a batch of images of several sizes.

    Raises:
        InputError: a sample cannot be loaded, or the model cannot take a batch.
    """
    dataset: Any = loader.dataset
    size: Any = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    order = range(len(dataset)) if order is None else order
    mixed = mixed_batch(dataset, order, size)
    batches = {False: order[:size]} if first else {}
    if mixed not in ([], batches.get(False)):
        batches[True] = mixed
    for several_sizes, batch in batches.items():
        samples = load_samples(dataset, batch, name)
        try:
            step(loader.collate_fn(samples))
        except InputError:
            raise
        except Exception as error:  # models may raise anything
            raise InputError(f'{name}: {model_fails(error, several_sizes)}') from error
    return bool(mixed)


def model_fails(error: Exception, several_sizes: bool) -> str:
    """What is said of a model that cannot take a batch.

    Args:
        error: the error that it raised.
        several_sizes: whether it was the batch with images of several sizes, tried after the first batch.
    """
    if not several_sizes:
        return f'the model fails on the first batch: {one_line(error)}'
    return (
        f'the model fails on a batch of images of several sizes: {one_line(error)}; resize or crop them in '
        'the pipeline, or set batch_size=1'
    )


def is_of_one_process(error: Exception) -> bool:
    """Whether torch's own functions, not mmengine's, wanted the other processes where one tries alone."""
    return 'process group has not been initialized' in str(error)


def needs_all_processes(model: Any) -> bool:
    """Whether a model's weights may be spread over the processes, which then must all call it."""
    return is_model_wrapper(model) and not isinstance(model, DistributedDataParallel)


def needs_no_more(evaluator: Evaluator) -> bool:
    """Whether an evaluator that computes scores of a dataset also does so of any part of it."""
    metrics = [m for metric in evaluator.metrics for m in collectors(metric)]
    bases = [library_class(metric, _ON_ANY_PART) for metric in metrics]
    return type(evaluator).evaluate is Evaluator.evaluate and all(
        base and computes_as(metric, base) for metric, base in zip(metrics, bases, strict=True)
    )


def try_loop(loop: ValLoop | TestLoop, step: Callable, name: str, wanted: Wanted = ()) -> None:
    """Try the first batch of a validation or a test, and leave everything as it was.

    Rank 0 tries it, and errors are raised on all ranks; all ranks try if the model needs them all.

    Args:
        loop: loop of a Runner whose model is ready.
        step: the model's ``val_step`` or ``test_step``.
        name: 'val' or 'test'.
        wanted: pairs of a place in the config and the score that it requires, or a hook that will use the first
            score.

    Raises:
        InputError: the error would occur on all batches, or a required score is missing.
    """
    rank, world_size = get_dist_info()
    model = loop.runner.model
    together = needs_all_processes(model)
    mistake = None
    if rank == 0 or together:
        try:
            # The other ranks wait, so collective calls of a model (mmpretrain's retrievers) would hang.
            with nothing_changed(model), contextlib.nullcontext() if together else one_process():
                _try_loop(loop, step, name, wanted)
        except InputError as error:
            if world_size == 1:
                raise
            if together or not is_of_one_process(error):
                mistake = str(error)
    for said in all_gather_object(mistake):
        if said is not None:
            raise InputError(said)


@contextlib.contextmanager
def nothing_changed(model: torch.nn.Module) -> Iterator[None]:
    """Evaluate in a block, with random numbers and the model put back after it.

    A model may cache values from its first call (mmpretrain's retrievers: features of the gallery).
    """
    memory = ModelMemory(model)
    try:
        with random_states_kept(), torch.no_grad():
            model.eval()
            yield
    finally:
        with torch.no_grad():
            memory.put_back()


def _try_loop(loop: ValLoop | TestLoop, step: Callable, name: str, wanted: Wanted) -> None:
    loader = loop.dataloader
    dataset = loader.dataset
    counted = hasattr(dataset, '__getitem__') and hasattr(dataset, '__len__')
    if isinstance(dataset, IterableDataset) or not counted:
        return  # a stream, whose first batch could not be put back
    total = len(dataset)
    if not total:
        raise InputError(f'{name}_dataloader: the dataset is empty')
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    order = _indices(loader, total)
    load = functools.partial(load_samples, dataset, name=f'{name}_dataloader')
    if type(loop) not in (ValLoop, TestLoop):  # it may use model and evaluator differently
        load(order[:size])
        return
    evaluator = loop.evaluator
    parts = parts_of(evaluator, getattr(dataset, 'cumulative_sizes', []))
    batches: list[Sequence] = [order[:size]]
    if parts:
        batches = [range(part.start, min(part.start + size, part.stop)) for part in parts]
    loaded = [load(batch) for batch in batches]
    check_categories(dataset, evaluator)
    _say_missed(evaluator, total, name)
    _say_joined_twice(evaluator, dataset, name)
    take = functools.partial(_process, loop, step, name)
    with left_as_it_was(evaluator), writing_aside(evaluator):
        ids = [take(samples) for samples in loaded]
        mixed = [] if parts or not _in_order(loader) else mixed_batch(dataset, order, size)
        if mixed and mixed != batches[0]:
            ids.append(take(load(mixed), several_sizes=True))
        if parts:
            ends = list(itertools.accumulate(map(len, batches)))
            set_metainfo(evaluator, with_sizes(evaluator.dataset_meta, ends))
        error, names = _try_metrics(evaluator, ids)
        if error is None:
            if _all_give(evaluator, names):
                _check_rule(wanted, names)
                if parts or needs_no_more(evaluator):
                    _check_wanted(wanted, names)
            return
        mistake = f'{name}_evaluator: {_names(evaluator)} cannot compute: {one_line(error)}'
        if parts is None:
            if needs_no_more(evaluator):
                raise InputError(mistake) from error
            count = min(_MORE, len(order))
            samples = load([order[i * len(order) // count] for i in range(count)])
            ids += [take(samples[i : i + size]) for i in range(0, count, size)]
            error, _ = _try_metrics(evaluator, ids)
    if error is not None:
        warn(f'fan_mm: {mistake} (on few samples; perhaps not on all)')


def _indices(loader: DataLoader, total: int) -> Sequence:
    """The indices of a loader's samples: numbers, or (video, frame) of mmdet's TrackImgSampler."""
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if not isinstance(sampler, DefaultSampler | SequentialSampler):
        own = list(itertools.islice(iter(copy.copy(sampler)), total))
        if not all(isinstance(index, int | np.integer) for index in own):
            return own
    return range(total)


def _in_order(loader: DataLoader) -> bool:
    """Whether batches are of consecutive images; samplers of one's own may put those of one size together."""
    plain = type(loader.sampler) in (DefaultSampler, SequentialSampler)
    return plain and type(loader.batch_sampler) is BatchSampler


def _say_missed(evaluator: Evaluator, total: int, name: str) -> None:
    """Say that a metric counts objects of images as missed that the dataset does not have.

    Raises:
        InputError: it would fail for want of them.
    """
    for metric in evaluator.metrics:
        truth = truth_ids(metric)
        api: Any = getattr(metric, '_coco_api', None)
        if waits_for_all(metric) and api is not None and len(api.get_img_ids()) > total:
            raise InputError(
                f'{name}_evaluator: {type(metric).__name__} with an outfile_prefix needs predictions of all '
                f'{len(api.get_img_ids())} images of its annotation file, but the dataset has {total}: leave '
                'outfile_prefix out'
            )
        if truth is not None and len(truth) > total:
            text = f'{name}_evaluator: the annotation file of {type(metric).__name__} has {len(truth)} images'
            text += f', the dataset {total}: objects in the others count as missed'
            warn(f'fan_mm: {text}')


def _say_joined_twice(evaluator: Evaluator, dataset: Any, name: str) -> None:
    """Say that images count twice that two of the joined datasets have."""
    paths = (os.fspath(dataset.get_data_info(i)['img_path']) for i in range(len(dataset)))
    try:
        lines = joined_twice(f'{name}_dataloader.dataset', dataset, evaluator, paths)
    except Exception:  # a custom dataset, whose samples may be anything
        return
    for line in lines:
        warn(f'fan_mm: {line}')


def _process(
    loop: Any, step: Callable, name: str, samples: list, several_sizes: bool = False
) -> list:
    """Let the model and the metrics take a batch; returns the ids of its images."""
    try:
        batch = loop.dataloader.collate_fn(samples)
        with autocast(enabled=loop.fp16):
            outputs = without_losses(step(batch))
    except Exception as error:  # models may raise anything
        raise InputError(f'{name}_dataloader: {model_fails(error, several_sizes)}') from error
    if name == 'test':  # during training they may still be untrained
        check_outputs(outputs)
        dataset: Any = loop.dataloader.dataset
        check_labels(outputs, _some_labels(dataset), loop.evaluator)
        every = _some_labels(dataset, len(dataset))
        for warning in (
            unknown_classes(outputs, getattr(dataset, 'metainfo', None)),
            *score_warnings(outputs, every, loop.evaluator),
        ):
            if warning:
                warn(f'fan_mm: {name}_dataloader: {warning}')
    try:
        loop.evaluator.process(data_samples=outputs, data_batch=batch)
    except Exception as error:  # metrics may raise anything
        line = one_line(error)
        raise InputError(
            f'{name}_evaluator: {_names(loop.evaluator)} cannot process the output of the model: {line}'
        ) from error
    return [sample.get('img_id') if hasattr(sample, 'get') else None for sample in outputs]


def _some_labels(dataset: Any, most: int = _LABELS) -> Iterator[Any]:
    """Class labels that a classification dataset gives some of its samples, evenly spaced."""
    with contextlib.suppress(Exception):  # a custom dataset, maybe not derived from mmengine's
        for index in range(0, len(dataset), max(1, len(dataset) // most)):
            yield dataset.get_data_info(index).get('gt_label')


def _try_metrics(evaluator: Evaluator, ids: Sequence[list]) -> tuple[Exception | None, list[str]]:
    """Let the metrics compute on what they hold, and keep it; returns their error, and their scores.

    Args:
        evaluator: an evaluator whose metrics have processed some batches.
        ids: image ids of each batch; the other images of an annotation file are left out to save time.
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
        except Exception as error:  # metrics may raise anything
            return error, []


def _all_give(evaluator: Evaluator, names: Sequence[str]) -> bool:
    """Whether each metric gave scores: mmdet's CocoMetric gives none where nothing is detected."""
    prefixes = [metric.prefix for metric in evaluator.metrics if metric.prefix]
    return bool(names) and all(any(f'{p}/' in name for name in names) for p in prefixes)


def _check_rule(wanted: Wanted, names: Sequence[str]) -> None:
    """Find out now that nobody says whether more is better of the score by which a hook chooses."""
    for place, hook in wanted:
        if isinstance(hook, CheckpointHook):
            try:
                copy.copy(hook)._init_rule(hook.rules, [names[0]])
            except ValueError:
                raise InputError(
                    f"{place}: 'auto' chooses by {names[0]}, of which mmengine does not know whether more is better: "
                    "set rule='greater' or 'less' beside it"
                ) from None


def _check_wanted(wanted: Wanted, names: Sequence[str]) -> None:
    """Find out now what would end a training with its first validation, or never take effect."""
    for place, name in wanted:
        if isinstance(name, CheckpointHook):
            continue
        if name not in names and not name.startswith('robustness/') and 'loss' not in name:
            near = difflib.get_close_matches(name, names, 1, 0.3)
            hint = f'did you mean {near[0]}? ' if near else ''
            raise InputError(
                f'{place}: val_evaluator does not report {name}; {hint}It reports {few(names, 8)}'
            )


def _names(evaluator: Evaluator) -> str:
    return ', '.join(type(metric).__name__ for metric in evaluator.metrics)
