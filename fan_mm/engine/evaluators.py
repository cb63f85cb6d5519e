"""Other people's evaluators: built, asked for their scores by one process alone, left as they were.

An evaluator is anything that mmengine's Runner accepts as one. Its own ``evaluate`` returns the scores.
"""

import contextlib
import copy
import inspect
import io
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import EVALUATOR
from torch.distributed import GroupMember

from fan_mm.config_parts import type_name
from fan_mm.engine.checks.files import listed_twice
from fan_mm.engine.config.registered import is_known
from fan_mm.errors import InputError

# Metrics without scores, which write predictions to files.
_WRITERS = ('DumpResults', 'DumpDetResults', 'DumpProposals', 'DumpODVGResults')
# Attributes with the names of a metric's output files: outfile_prefix, output_dir, out_file_path, ...
_OUTPUT = re.compile(r'(^|_)(out|outfile|output|save|dump|submission|proposals)(_|$)')


def build_evaluator(evaluator: Any) -> Evaluator:
    """The evaluator that mmengine's Runner builds from a config or an object.

    Args:
        evaluator: a metric, a list of them, ``dict(metrics=...)`` with or without a type, or an
            evaluator; as configs or built. Not changed.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        evaluator = EVALUATOR.build({'type': 'Evaluator', **evaluator})
    elif isinstance(evaluator, Mapping | BaseMetric):
        evaluator = Evaluator([evaluator])
    elif isinstance(evaluator, list | tuple):
        evaluator = Evaluator(list(evaluator))
    if not all(hasattr(evaluator, name) for name in ('metrics', 'process', 'evaluate')):
        raise InputError(
            f'{type(evaluator).__name__} is not an evaluator: give an mmengine Evaluator, a metric or '
            'a list of metrics'
        )
    return evaluator


def measures(metric: Any) -> bool:
    """Whether a metric, built or a config, computes scores rather than only writing predictions to files."""
    if isinstance(metric, Mapping):
        names = [type_name(metric)]
        format_only = metric.get('format_only')
    else:
        names = [base.__name__ for base in type(metric).__mro__]
        format_only = getattr(metric, 'format_only', False)
    return not format_only and not any(name in _WRITERS for name in names)


def library_class(metric: BaseMetric, names: Iterable[str]) -> type | None:
    """The class of OpenMMLab or ours, one of ``names``, that a metric is derived from."""
    for base in type(metric).__mro__:
        if base.__name__ in names and is_known(base):
            return base
    return None


def computes_as(metric: BaseMetric, base: type) -> bool:
    """Whether a metric computes what a base class of it computes: it overrides none of its functions.

    It may process samples differently, as long as the scores are computed in the same way.
    """
    names = [name for name in dir(base) if name != 'process' and not name.startswith('__')]
    own = {name: inspect.getattr_static(base, name) for name in names}
    return all(
        inspect.getattr_static(metric, name) is function
        for name, function in own.items()
        if isinstance(function, FunctionType | staticmethod | classmethod)
    )


def collectors(metric: BaseMetric) -> list[BaseMetric]:
    """A metric and those inside it (mmpretrain's MultiTasksMetric has some), which collect results."""
    found = [metric]
    for name, value in vars(metric).items():
        if name != 'results':
            found += [inner for part in _parts(value) for inner in collectors(part)]
    return found


def _parts(value: Any) -> Iterator[BaseMetric]:
    if isinstance(value, BaseMetric):
        yield value
    elif isinstance(value, Mapping):
        yield from (part for inner in value.values() for part in _parts(inner))
    elif isinstance(value, list | tuple) and value and isinstance(value[0], BaseMetric | Mapping):
        yield from (part for inner in value for part in _parts(inner))


def evaluate_here(evaluator: Evaluator, size: int) -> dict[str, Any]:
    """The scores that an evaluator gives for what its metrics hold, computed by this process alone.

    Args:
        evaluator: an evaluator whose metrics hold the results of all processes.
        size: number of samples; additional results are not dropped.
    """
    held = [m.results for metric in evaluator.metrics for m in collectors(metric)]
    size = max([size, *(len(results) for results in held if isinstance(results, list))])
    with one_process(), quiet():
        return dict(evaluator.evaluate(size) or {})


@contextlib.contextmanager
def one_process() -> Iterator[None]:
    """Let mmengine see this process as the only one within a block.

    Metrics gather results from all processes and broadcast the scores. If rank 0 already has all results
    and fails, the others would wait forever; and every evaluator gathers differently.
    """
    group = GroupMember.WORLD
    GroupMember.WORLD = None
    try:
        yield
    finally:
        GroupMember.WORLD = group


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the tables that metrics print: dozens of cells would bury the progress."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            yield
    finally:
        logger.setLevel(level)


class Memory:
    """The state of an evaluator and its metrics: results, lazily read annotations, user-defined counters.

    Containers and arrays are stored with their content, but not objects nested more deeply.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.metrics = [m for metric in evaluator.metrics for m in collectors(metric)]
        self._before = [
            (vars(o), dict(vars(o)), [(v, _copy(v)) for v in vars(o).values()])
            for o in (evaluator, *self.metrics)
        ]

    def put_back(self) -> None:
        """Make them hold it again."""
        for attributes, values, contents in self._before:
            attributes.clear()
            attributes.update(values)
            for value, content in contents:
                _restore(value, content)

    def counting(self) -> str | None:
        """The name of a metric that has changed a number, array or container of its own since; else None."""
        for metric, (now, values, contents) in zip(self.metrics, self._before[1:], strict=True):
            for name, (value, content) in zip(values, contents, strict=True):
                if name != 'results' and not _is_unchanged(value, content, now.get(name)):
                    return type(metric).__name__
        return None


def _is_unchanged(value: Any, content: Any, now: Any) -> bool:
    """Whether an attribute holds what it held; of containers the same objects. True of what cannot count."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value is now and bool((value == content).all())
    if isinstance(value, list | dict | set):
        return isinstance(now, type(value)) and _identities(now) == _identities(content)
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return bool(value == now)
    return True


def _identities(container: list | dict | set) -> list[int]:
    values = container.values() if isinstance(container, dict) else ()
    return sorted(map(id, (*container, *values)))


@contextlib.contextmanager
def left_as_it_was(evaluator: Evaluator) -> Iterator[None]:
    """Restore an evaluator at the end of a block (see `Memory`)."""
    memory = Memory(evaluator)
    try:
        yield
    finally:
        memory.put_back()


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor | np.ndarray):
        return copy.deepcopy(value)
    return copy.copy(value) if isinstance(value, list | dict | set) else None


def _restore(value: Any, content: Any) -> None:
    if content is None:
        return
    if isinstance(value, torch.Tensor):
        if not torch.equal(value, content):  # expanded ones cannot be written
            value.data.copy_(content)
    elif isinstance(value, np.ndarray):
        if value.flags.writeable:
            value[...] = content
    elif isinstance(value, list):
        value[:] = content
    else:
        value.clear()
        value.update(content)


@contextlib.contextmanager
def writing_aside(evaluator: Evaluator) -> Iterator[None]:
    """Let metrics write their files into a folder that is removed at the end of the block.

    Use it within `left_as_it_was`, which restores the file names.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, metric in enumerate(m for top in evaluator.metrics for m in collectors(top)):
            if waits_for_all(metric):
                metric.tmp_dir = folder
            for name, value in vars(metric).items():
                if isinstance(value, str) and value and _OUTPUT.search(name):
                    aside = Path(folder, str(number), name, Path(value).name or 'results')
                    (aside if name.endswith('dir') else aside.parent).mkdir(parents=True)
                    setattr(metric, name, str(aside))
        yield


def waits_for_all(metric: Any) -> bool:
    """Whether a metric is mmdet's CocoPanopticMetric with an ``outfile_prefix``.

    It fails unless it gets every image in its file; with a ``tmp_dir`` it does not.
    """
    base = library_class(metric, ['CocoPanopticMetric'])
    return base is not None and vars(metric).get('tmp_dir', base) is None


@contextlib.contextmanager
def options_set(metric: BaseMetric, **options: Any) -> Iterator[None]:
    """Set those of some options that a metric has, within a block."""
    before = {name: getattr(metric, name) for name in options if hasattr(metric, name)}
    for name in before:
        setattr(metric, name, options[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(metric, name, value)


def truth_ids(metric: BaseMetric) -> set | None:
    """Ids of the images of a metric's own annotation file; None where it has none (COCO, LVIS do)."""
    for name in ('_coco_api', '_lvis_api'):
        api = getattr(metric, name, None)
        if api is not None and hasattr(api, 'get_img_ids') and hasattr(metric, 'img_ids'):
            return set(api.get_img_ids())
    return None


def joined_twice(place: str, dataset: Any, evaluator: Evaluator, paths: Iterable[Any]) -> list[str]:
    """A line for the log if images occur twice because concatenated datasets share them.

    Args:
        place: start of the message.
        dataset: the built dataset; only datasets that join others are checked.
        evaluator: the built evaluator. Datasets that are scored separately are not checked, nor are COCO
            datasets, whose ids are compared with the metric's file elsewhere.
        paths: paths of the images, consumed only if needed.
    """
    sizes = getattr(dataset, 'cumulative_sizes', ())
    apart = parts_of(evaluator, sizes) is not None
    if len(sizes) < 2 or apart or any(truth_ids(m) is not None for m in evaluator.metrics):
        return []
    return listed_twice(place, [os.path.normpath(path) for path in paths])


def check_categories(dataset: Any, evaluator: Evaluator) -> None:
    """Check that labels stand for the same categories in a dataset of mmdet as in a metric's annotation file.

    mmdet's ``Objects365V1Dataset`` sorts them by id, but its metrics only with ``sort_categories=True``.

    Raises:
        InputError: only one of them sorts the categories, so scores would be attributed to wrong classes.
    """
    datasets = getattr(dataset, 'datasets', [dataset])
    apart = parts_of(evaluator, getattr(dataset, 'cumulative_sizes', ())) is not None
    for number, metric in enumerate(evaluator.metrics):
        api: Any = getattr(metric, '_coco_api', None)
        if api is None or not hasattr(metric, 'cat_ids'):
            continue
        for one in [datasets[number]] if apart else datasets:
            labels = getattr(one, 'cat2label', None)
            if not labels:
                continue
            own = sorted(labels, key=labels.__getitem__)
            theirs = api.get_cat_ids(cat_names=one.metainfo['classes'])
            if own != theirs and sorted(own) in (own, theirs) and sorted(own) == sorted(theirs):
                raise InputError(
                    f'{type(one).__name__} and {type(metric).__name__} order the categories of the annotation file '
                    f"differently: set the metric's sort_categories={theirs != sorted(theirs)}"
                )


def only_these(metric: BaseMetric, ids: Iterable) -> dict[str, list]:
    """The option of a metric that counts no other images of its annotation file as missed.

    Args:
        metric: any metric.
        ids: ids of the evaluated images, in order; None for images without one.

    Returns:
        ``{'img_ids': ids}``; empty if the metric has no file or the file has no other images.
    """
    truth, ids = truth_ids(metric), list(dict.fromkeys(ids))
    if truth is None or not ids or None in ids or truth == set(ids):
        return {}
    return {'img_ids': ids}


def parts_of(evaluator: Evaluator, sizes: Sequence[int]) -> list[slice] | None:
    """Which samples each metric of mmdet's MultiDatasetsEvaluator is for; None for other evaluators.

    Args:
        evaluator: the built evaluator.
        sizes: ``cumulative_sizes`` of a ConcatDataset.

    Raises:
        InputError: the numbers of metrics, prefixes and datasets differ, so some would be silently left out.
    """
    if all(base.__name__ != 'MultiDatasetsEvaluator' for base in type(evaluator).__mro__):
        return None
    counts = len(sizes), len(evaluator.dataset_prefixes), len(evaluator.metrics)
    if len(set(counts)) > 1:
        raise InputError(
            'MultiDatasetsEvaluator needs one metric and one prefix for each dataset, but there are '
            '{} datasets, {} dataset_prefixes and {} metrics'.format(*counts)
        )
    return [slice(start, end) for start, end in zip([0, *sizes], sizes, strict=False)]


def with_sizes(metainfo: Any, sizes: Sequence[int]) -> Any:
    """The metainfo of a dataset with parts of other sizes; mmdet's may be a list, one for each part."""
    if isinstance(metainfo, list | tuple):
        return [with_sizes(part, sizes) for part in metainfo]
    return {**(metainfo or {}), 'cumulative_sizes': list(sizes)} if sizes else metainfo


def set_metainfo(evaluator: Evaluator, metainfo: Any) -> None:
    """Set the metainfo of an evaluator and of each of its metrics.

    If it is a list, mmdet's MultiDatasetsEvaluator passes each metric its part, but only once, and late.
    """
    evaluator.dataset_meta = metainfo
    if isinstance(metainfo, list | tuple):
        for metric, own in zip(evaluator.metrics, metainfo, strict=False):
            metric.dataset_meta = own
