"""What makes the scores of an evaluation hold for other images than unseen ones, as they are."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from mmengine.registry import DATASETS, TRANSFORMS

from fan_mm.config_parts import datasets_of, steps_of, type_name
from fan_mm.engine.checks.loaders import wrappers
from fan_mm.engine.config.registered import base_named, reads_label_pictures, registered

# Settings of a dataset that do not affect which images it has, or that `_paths` handles.
_OTHERS = {
    *('type', '_scope_', 'data_root', 'data_prefix', 'ann_file', 'indices', 'pipeline', 'metainfo'),
    *('test_mode', 'filter_cfg', 'backend_args', 'lazy_init', 'serialize_data', 'max_refetch'),
    *('reduce_zero_label', 'ignore_index', 'return_classes'),
}


def random_steps(place: str, dataset: dict) -> list[str]:
    """A line for the log if transforms of an evaluation draw random numbers, as those of a training do."""
    names = [
        type_name(step)
        for step in steps_of(dataset.get('pipeline'))
        if isinstance(step, dict) and _draws(f'{place}.pipeline', step)
    ]
    if not names:
        return []
    return [
        f'{place}.pipeline: {", ".join(dict.fromkeys(names))}: random transforms in an evaluation, so its '
        'scores are not of the images as they are, and change from run to run'
    ]


def _draws(place: str, step: dict) -> bool:
    """Whether a transform is random: it says so or is named so, and its settings leave a choice."""
    cls = registered(TRANSFORMS, place, step)
    by_name = 'Rand' in type_name(step) or type_name(step) == 'PhotoMetricDistortion'
    declared = getattr(cls, '_methods_with_randomness', ())
    return bool(declared or by_name) and not _decided(cls, step)


def _decided(cls: Any, step: dict) -> bool:
    """Whether a transform's settings allow one outcome only: a probability of 0 or 1, one candidate, a test mode."""

    def one_of(setting: str) -> bool:
        value = step.get(setting)
        return isinstance(value, list | tuple) and len(value) == 1

    # test_mode belongs to RandomCenterCropPad, used in CenterNet's test pipelines.
    if step.get('prob') == 0 or step.get('test_mode') is True:
        return True
    if base_named(cls, 'RandomResize', 'mmcv'):
        return _one_scale(step.get('scale'), step.get('ratio_range'))
    if base_named(cls, 'RandomChoiceResize', 'mmcv'):
        return one_of('scales')
    if base_named(cls, 'RandomChoice', 'mmcv'):
        return one_of('transforms')
    if base_named(cls, 'RandomFlip', 'mmcv'):
        one_direction = isinstance(step.get('direction', ''), str) or one_of('direction')
        return step.get('prob') == 1 and one_direction
    # Other transforms also draw parameters (where to crop, how far to rotate).
    applied = any(base_named(cls, name, 'mmcv') for name in ('RandomApply', 'RandomGrayscale'))
    return step.get('prob') == 1 and (applied or 'Rand' not in type_name(step))


def _one_scale(scale: Any, ratio_range: Any) -> bool:
    """Whether the range of RandomResize is one size: a size times one ratio, or a range from a size to it."""
    if not isinstance(scale, list | tuple) or len(scale) != 2:
        return False
    span = ratio_range if isinstance(scale[0], int) else scale
    return isinstance(span, list | tuple) and len(span) == 2 and list(span[:1]) == list(span[1:])


def same_files(training: Any, evaluation: Any, names: tuple[str, str]) -> list[str]:
    """Lines for the log about datasets that are evaluated on the files that they are trained on.

    Args:
        training: config of the training loader.
        evaluation: config of the validation or test loader.
        names: names of both loaders.
    """
    learnt = list(_datasets(names[0], training))
    notes = []
    for place, files, images in _datasets(names[1], evaluation):
        seen = [where for where, theirs, known in learnt if theirs == files and known & images]
        if seen:
            some = 'images' if images < _ALL else 'the files'
            notes.append(
                f'{place} has {some} of {seen[0]}: its scores are of images that the model was trained on'
            )
    return notes


_ALL = frozenset(range(1000))  # indices of an imaginary dataset that is split into folds


def folds_of_some_classes(name: str, loader: Any) -> list[str]:
    """Lines for the log about folds of class folders that are not shuffled: each has some of the classes only.

    Args:
        name: name of the loader.
        loader: its config.
    """
    outer = f'{name}.dataset'
    return [
        f'{place}: KFoldDataset without a seed takes consecutive images of the class folders, so that a fold has '
        'some of the classes only, which the others lack: set one seed in all splits'
        for place, part in wrappers(outer, loader.get('dataset'))
        if type_name(part) == 'KFoldDataset' and part.get('seed') is None
        for where, inner in datasets_of(f'{place}.dataset', part.get('dataset'))
        if base_named(registered(DATASETS, where, inner), 'CustomDataset', 'mmpretrain')
        and not (inner.get('ann_file') or inner.get('split'))  # which may name a list
    ]


def _datasets(name: str, loader: Any) -> Iterator[tuple[str, tuple, frozenset[int]]]:
    """Every dataset of a loader whose images its paths decide, with these, and which of `_ALL` are taken."""
    outer = f'{name}.dataset'
    dataset = loader.get('dataset') if isinstance(loader, dict) else None
    folds = {
        place: part for place, part in wrappers(outer, dataset) if type_name(part) == 'KFoldDataset'
    }
    for place, inner in datasets_of(outer, dataset):
        if inner.get('indices') is None and _by_paths(registered(DATASETS, place, inner)):
            around = [part for where, part in folds.items() if place.startswith(f'{where}.')]
            yield place, _paths(inner), _fold(around[-1]) if around else _ALL


def _fold(wrapper: Mapping) -> frozenset[int]:
    """The images that mmpretrain's KFoldDataset takes."""
    images = sorted(_ALL)
    if wrapper.get('seed') is not None:
        np.random.default_rng(wrapper['seed']).shuffle(images)
    fold, number = wrapper.get('fold', 0), wrapper.get('num_splits', 5)
    held_out = images[len(images) * fold // number : len(images) * (fold + 1) // number]
    return frozenset(held_out) if wrapper.get('test_mode') else _ALL - frozenset(held_out)


def _by_paths(cls: Any) -> bool:
    known = (('CustomDataset', 'mmpretrain'), ('CocoDataset', 'mmdet'), ('XMLDataset', 'mmdet'))
    return reads_label_pictures(cls) or any(base_named(cls, *base) for base in known)


def _paths(dataset: Mapping) -> tuple:
    """Its paths, and settings of its class that may choose among the images there (a split, a fold)."""
    prefixes = dataset.get('data_prefix') or {}
    parts = sorted(prefixes.items()) if isinstance(prefixes, Mapping) else [('', prefixes)]
    parts.append(('ann_file', dataset.get('ann_file') or ''))
    root = str(dataset.get('data_root') or '')
    paths = [(key, os.path.normpath(os.path.join(root, str(path)))) for key, path in parts]
    own = sorted((key, repr(value)) for key, value in dataset.items() if key not in _OTHERS)
    return (*paths, *own)
