"""The data of one of ImageNet's test sets: its loader, as the config reads images, and its classes."""

import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from fan_mm.config_parts import datasets_of
from fan_mm.engine.config.building import building
from fan_mm.errors import InputError, about
from fan_mm.evaluation.imagenet_subsets import FOLDER_SETS
from fan_mm.jobs.input_size import resize

# How errors of the dataset that `loader_config` adds begin, unlike those of the config's own parts
_THE_FOLDERS = 'test_dataloader.dataset (CustomDataset): '


def loader_config(cfg: Config, name: str, folder: str | None, size: int | None) -> dict:
    """The config's test loader, reading another folder at another size.

    Args:
        cfg: of a classifier.
        name: of the set.
        folder: with its images; None for the config's own.
        size: input size in pixels; None for the config's own.

    Raises:
        InputError: there is no such folder, or no one pipeline to read it with.
    """
    loader = copy.deepcopy(cfg.test_dataloader)
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f'{name}: no such folder: {folder}')
    pipelines: list[Any] = [
        dataset.get('pipeline') for _, dataset in datasets_of('', loader.dataset)
    ]
    if not all(pipelines):
        raise InputError(f'{name}: test_dataloader.dataset has no pipeline to read images')
    if name in FOLDER_SETS:
        if any(pipeline != pipelines[0] for pipeline in pipelines):
            raise InputError(f'{name}: the test datasets have several pipelines: keep one dataset')
        pipelines = pipelines[:1]
        loader.dataset = dict(
            type='mmpretrain.CustomDataset',
            data_root=folder,
            with_label=True,
            pipeline=pipelines[0],
            test_mode=True,
        )
    if size is not None:
        for pipeline in pipelines:
            resize(pipeline, size)
    loader.setdefault('collate_fn', dict(type='default_collate'))
    loader.persistent_workers = False
    return loader


def build_loader(name: str, loader: dict, scope: str | None) -> Any:
    """Build a loader; a mistake in its folder or its part of the config becomes one line.

    Raises:
        InputError: the folder, or a part of the config, cannot be used.
    """
    try:
        with (
            building(Config(dict(test_dataloader=loader))),
            DefaultScope.overwrite_default_scope(scope),
        ):
            return Runner.build_dataloader(loader)
    except InputError as error:
        if name not in FOLDER_SETS:
            raise
        said = str(error)
        if (reason := said.removeprefix(_THE_FOLDERS)) != said:
            said = f'{loader["dataset"]["data_root"]} cannot be read: {reason}'
        raise InputError(f'{name}: {said}') from error


def classes_of(name: str, dataset: Any) -> list[int] | None:
    """The class of every label; None where labels are classes.

    Raises:
        InputError: the folders are not the set's classes, or one is empty.
    """
    if name not in FOLDER_SETS:
        return None
    with about(dataset.data_root):
        classes = FOLDER_SETS[name].classes(list(dataset.CLASSES))
    empty = set(range(len(classes))) - {int(label) for label in dataset.get_gt_labels()}
    if empty:
        folder = Path(dataset.data_root, dataset.CLASSES[min(empty)])
        raise InputError(f'{folder} has no images')
    return classes
