"""Mistakes in a config, found in seconds before a job starts rather than hours into it."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope

from fan_mm.config_parts import bare_model, datasets_of, metrics_of, parts_below, type_name
from fan_mm.engine.checks.class_labels import check_class_labels, check_task_labels, reads_json
from fan_mm.engine.checks.class_orders import check_same_classes
from fan_mm.engine.checks.coco_files import read_coco
from fan_mm.engine.checks.datasets import (
    build_lazily,
    check_dataset,
    check_names,
    classes_of,
    read_by_libraries,
    unread_settings,
)
from fan_mm.engine.checks.labels import check_labels, label_readers
from fan_mm.engine.checks.loaders import check_loader, check_shared_memory, several_versions
from fan_mm.engine.checks.models import check_model, parts_of
from fan_mm.engine.checks.schedules import check_schedules
from fan_mm.engine.checks.unseen import folds_of_some_classes, random_steps, same_files
from fan_mm.engine.checks.voc_files import check_voc, reads_as_voc
from fan_mm.engine.classification_checks import (
    background_first,
    check_images,
    check_number_of_classes,
    check_same_folders,
    check_same_labels,
    class_folders,
    labels_by_folder,
    number_of_classes,
    other_positions,
    teacher_of,
)
from fan_mm.engine.config.old import refuse_old_config, unread_keys
from fan_mm.engine.config.registered import (
    base_named,
    inherits,
    reads_label_pictures,
    registered,
    said_in_one_line,
)
from fan_mm.engine.detection_checks import (
    check_classes_of_heads,
    check_coco,
    check_evaluator,
    reads_as_coco,
)
from fan_mm.engine.evaluators import measures
from fan_mm.engine.weights import check_start
from fan_mm.errors import InputError
from fan_mm.torch_files import local_file, names_file

_GROUPS = {
    'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}
_VERBS = dict(train='train', val='validate', test='test')


def check_config(cfg: Config, training: bool) -> list[str]:
    """Look for mistakes that would cause failures later: files, backbone and head options, labels, annotations.

    Args:
        cfg: a complete config; its task library is registered.
        training: check what training and validation use; otherwise what testing uses.

    Returns:
        Messages for the log, one line each.

    Raises:
        InputError: the first mistake, in one line.
    """
    return [*check_settings(cfg, training), *check_data(cfg, training)]


def check_settings(cfg: Config, training: bool) -> list[str]:
    """The part of `check_config` that needs no data and no weights: quick, for every process to do."""
    refuse_old_config(cfg)
    model = bare_model(cfg.model)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        notes = unread_keys(cfg)
        check_model(cfg.model)
        if training:
            notes += check_schedules(cfg)
        for split in _splits(training):
            name = f'{split}_dataloader'
            if isinstance(cfg.get(name), dict):
                notes += check_loader(name, cfg[name]) + check_shared_memory(name, cfg[name])
                notes += folds_of_some_classes(name, cfg[name])
                if split != 'train' and 'module' not in cfg.model:  # which merges them
                    notes += several_versions(name, cfg[name])
                for place, dataset in _datasets(cfg, split).items():
                    check_names(place, dataset)
                    _check_class_count(place, dataset, model)
                    notes += unread_settings(place, dataset, preprocessor_of(cfg))
                    notes += random_steps(place, dataset) if split != 'train' else []
        last = _splits(training)[-1]
        if knows_its_classes(model):
            notes += check_same_classes(_datasets(cfg, 'train'), _datasets(cfg, last))
        notes += _second_preprocessor(cfg)
        names = 'train_dataloader', f'{last}_dataloader'
        notes += same_files(cfg.get(names[0]), cfg.get(names[1]), names)
    return notes


def check_groups(cfg: Config, training: bool) -> None:
    """Check that options that mmengine's Runner needs together are given together.

    Raises:
        InputError: a loader, an evaluator or a loop's config is missing, or a part of a loader that is used.
    """
    splits = _splits(training)
    for split, parts in _GROUPS.items():
        missing = [name for name in parts if cfg.get(name) is None]
        if missing and (len(missing) < len(parts) or split == splits[0]):
            raise InputError(
                f'the config has no {missing[0]}: to {_VERBS[split]}, mmengine needs {", ".join(parts)}'
            )
        loader = cfg.get(parts[0])
        for key in ('dataset', 'sampler') if split in splits and isinstance(loader, dict) else ():
            if key not in loader:
                raise InputError(f'{parts[0]} has no {key}')


def check_data(cfg: Config, training: bool) -> list[str]:
    """The part of `check_config` that looks into files: once for each machine is enough."""
    # The datasets of a split and its evaluator often use the same file.
    read = functools.lru_cache(maxsize=1)(read_coco)
    folders: dict[str, list[str]] = {}
    model = bare_model(cfg.model)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        notes = check_checkpoints(cfg, training)
        for split in _splits(training):
            parts = []
            for place, inner in _datasets(cfg, split).items():
                part = None
                if check_dataset(place, inner):
                    part = _check_coco(place, inner, model, split, read)
                    notes += part.notes if part else []
                    notes += _check_others(place, cfg, inner, split, folders)
                parts.append(part)
            name = f'{split}_evaluator'
            if split != 'train':
                notes += check_evaluator(name, cfg.get(name), parts, read)
        trained = _training_folders(cfg) if folders and not training else {}
        if _limit('test', model) is not None:
            check_same_folders(trained | folders)
            check_same_labels(_folder_labels(cfg, ('train', _splits(training)[-1])))
        if not training and knows_its_classes(model):
            lines = [
                other_positions(place, names, model)
                for place, names in folders.items()
                if names not in trained.values()
            ]
            notes += [line for line in lines if line]
    return notes


def check_checkpoints(cfg: Config, training: bool) -> list[str]:
    """Check the files that weights are to come from, and say if none are given.

    Raises:
        InputError: a file is missing, or training cannot start from it.
    """
    wanted = {'load_from': cfg.get('load_from')}
    notes = []
    if training:
        pretrained = {
            f'{place}.checkpoint': part.get('checkpoint')
            for place, part in parts_below('model', cfg.model)
            if type_name(part) in ('Pretrained', 'PretrainedInit') and place.endswith('init_cfg')
        }
        wanted |= pretrained
        if 'teacher' in cfg.model and _is_ours('model', cfg.model):
            wanted['model.teacher'] = teacher_of(cfg.model)
        pre_training = cfg.get('default_scope') == 'mmpretrain' and not pretrained
        meant = cfg.get('from_scratch') or pre_training
        backbone = cfg.model.get('backbone')
        # Other backbones may have been published like that.
        if not any(wanted.values()) and not meant and _is_ours('model.backbone', backbone):
            init = backbone.get('init_cfg')
            typed = isinstance(init, dict) and 'type' in init
            notes.append(
                'training starts from random weights, but published results start from ImageNet weights (if it is '
                'meant, from_scratch=True): --cfg-options '
                + ('' if typed else 'model.backbone.init_cfg.type=Pretrained ')
                + 'model.backbone.init_cfg.checkpoint=FILE'
            )
    for place, path in wanted.items():
        if path and names_file(path) and not Path(local_file(path)).is_file():
            raise InputError(f'{place}: no such checkpoint: {path}')
    start = wanted['load_from']
    if training and start and names_file(start) and not cfg.get('resume'):
        check_start(cfg.model, start)
    return notes


def _training_folders(cfg: Config) -> dict[str, list[str]]:
    """The class folders that a classifier was trained on, if they are on this machine."""
    found = {}
    for place, inner in _datasets(cfg, 'train').items():
        try:
            if names := class_folders(build_lazily(place, inner)):
                found[place] = names
        except InputError:
            continue  # testing does not need it
    return found


def _folder_labels(cfg: Config, splits: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """What `labels_by_folder` finds in the datasets of some splits that are on this machine."""
    found = {}
    for split in reversed(splits):  # evaluation first: most datasets there have no such folders
        for place, inner in _datasets(cfg, split).items():
            if not base_named(registered(DATASETS, place, inner), 'CustomDataset', 'mmpretrain'):
                continue
            with contextlib.suppress(InputError, OSError):  # training data, not needed for testing
                if labels := labels_by_folder(build_lazily(place, inner)):
                    found[place] = labels
        if not found:
            return {}
    return dict(reversed(found.items()))


def _limit(place: str, model: dict) -> int | None:
    """How many classes a dataset's labels may be of; None if unknown, or for a retriever, tested on others."""
    retrieves = type_name(model).endswith('Retriever') and not place.startswith('train')
    return None if retrieves else number_of_classes(model)


def knows_its_classes(model: dict) -> bool:
    """Whether a model's outputs are the classes that it was trained on, rather than words or features."""
    model = bare_model(model)
    words = any('language' in key or 'text' in key for key in model)
    return not words and not type_name(model).endswith('Retriever')


def _datasets(cfg: Config, split: str) -> dict[str, dict]:
    """The configs of a split's datasets by their places."""
    loader = cfg.get(f'{split}_dataloader')
    dataset = loader.get('dataset') if isinstance(loader, dict) else None
    return dict(datasets_of(f'{split}_dataloader.dataset', dataset))


def _splits(training: bool) -> tuple[str, ...]:
    return ('train', 'val') if training else ('test',)


def _is_ours(place: str, part: Any) -> bool:
    """Whether a part of a model is of a class of ours; it may be missing, or a name for the model alone."""
    config = isinstance(part, dict) and bool(part)
    return config and registered(MODELS, place, part).__module__.startswith('fan_mm.')


def preprocessor_of(cfg: Config) -> Any:
    """Config of the data preprocessor: the model's own, else the one beside it."""
    return bare_model(cfg.model).get('data_preprocessor') or cfg.get('data_preprocessor')


def _second_preprocessor(cfg: Config) -> list[str]:
    """A line for the log if settings beside the model's own data_preprocessor differ from it: nobody reads them."""
    own, other = bare_model(cfg.model).get('data_preprocessor'), cfg.get('data_preprocessor')
    if not isinstance(own, dict) or not isinstance(other, dict):
        return []
    names = ('mean', 'std', 'to_rgb', 'bgr_to_rgb')
    differ = [n for n in names if _listed(own.get(n)) != _listed(other.get(n))]
    if not differ:
        return []
    return [
        f'data_preprocessor.{differ[0]} is {other.get(differ[0])}, but not used: model.data_preprocessor, which '
        f'counts, has {own.get(differ[0])}'
    ]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _check_class_count(place: str, dataset: dict, model: dict) -> None:
    """Check that heads know every class of a dataset: on a GPU its labels fail far from here."""
    cls = registered(DATASETS, place, dataset)
    classes = classes_of(place, dataset)
    if classes is None:
        return
    for key in ('decode_head', 'auxiliary_head'):
        for head_place, head in parts_of(model, key):
            number = head.get('num_classes')
            if type_name(head) == 'STDCHead' or (len(classes) == 2 and _is_binary(head)):
                continue  # the first head learns edges of the labels
            if number and number < len(classes):
                raise InputError(
                    f'{place} has {len(classes)} classes, but {head_place}.num_classes is {number}: set '
                    'that, or metainfo.classes of the datasets'
                )
    if reads_as_coco(cls):
        check_classes_of_heads(place, classes, model)
    by_folders = base_named(cls, 'CustomDataset', 'mmpretrain') and not dataset.get('ann_file')
    if base_named(cls, 'BaseDataset', 'mmpretrain') and not by_folders:
        check_number_of_classes(place, dataset, classes, _limit(place, model))


def _is_binary(head: dict) -> bool:
    """Whether mmseg takes one output of a head, beyond a threshold, for the second of two classes."""
    losses = head.get('loss_decode')
    losses = losses if isinstance(losses, list | tuple) else [losses or {}]
    softmax = any(
        type_name(loss) in ('', 'CrossEntropyLoss') and not loss.get('use_sigmoid')
        for loss in losses
        if isinstance(loss, dict)
    )
    return head.get('num_classes') == 1 and head.get('out_channels') in (None, 1) and not softmax


def _check_coco(place: str, dataset: dict, model: dict, split: str, read: Callable) -> Any:
    """Check a dataset that mmdet reads as COCO's; others read files in their own ways."""
    classes = classes_of(place, dataset)
    readable = reads_as_coco(registered(DATASETS, place, dataset)) and dataset.get('ann_file')
    if not readable or classes is None:
        return None
    return check_coco(place, dataset, classes, model, split, read)


def _check_others(
    place: str, cfg: Config, dataset: dict, split: str, folders: dict[str, list[str]]
) -> list[str]:
    """Build a dataset without reading it, and look into labels of mmseg, folders of mmpretrain, VOC's files."""
    built = build_lazily(place, dataset)
    if reads_label_pictures(type(built)):
        return check_labels(place, dataset, built, label_readers(cfg, split))
    if reads_as_voc(type(built)):
        return check_voc(place, built, dataset.get('indices'), dataset.get('pipeline'))
    model = bare_model(cfg.model)
    scored = any(map(measures, metrics_of(cfg.get(f'{split}_evaluator'))))
    lowest = 0 if split == 'train' or scored else -1  # -1 stands for a label that is withheld
    names = class_folders(built)
    notes = []
    if split == 'test':
        notes += background_first(place, len(classes_of(place, dataset) or names), model)
    if base_named(type(built), 'CustomDataset', 'mmpretrain'):
        if names:
            folders[place] = names
        return notes + check_images(place, built, _limit(place, model), lowest)
    if not read_by_libraries(place, dataset):
        return notes  # labels may be changed there
    cls = registered(DATASETS, place, dataset)
    with said_in_one_line(place, dataset):
        if reads_json(type(built)) and _classifies(model):
            check_class_labels(place, built, _limit(place, model), lowest)
        if inherits(cls, 'MultiTaskDataset', 'mmpretrain', 'load_data_list', 'parse_data_info'):
            check_task_labels(place, DATASETS.build(dict(dataset, pipeline=[])), _task_heads(model))
    return notes


def _task_heads(model: dict) -> dict[str, dict]:
    """The heads of an mmpretrain MultiTaskHead by their tasks, those that predict classes."""
    heads = (model.get('head') or {}).get('task_heads') or {}
    return {task: head for task, head in heads.items() if _classifies({'head': head})}


def _classifies(model: dict) -> bool:
    """Whether a model's head, if it has one, is of mmpretrain's whose labels are numbers of classes."""
    head = model.get('head')
    if not isinstance(head, dict):
        return True
    cls = registered(MODELS, 'model.head', head)
    known = any(base_named(cls, name, 'mmpretrain') for name in ('ClsHead', 'MultiLabelClsHead'))
    return known and not base_named(cls, 'RegressionHead', 'mmpretrain')
