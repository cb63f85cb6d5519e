"""Mistakes in a config, found in seconds before a training job starts rather than hours into it."""

import difflib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope, Registry
from torch import nn

from fan_mm.config_parts import datasets_of, type_name
from fan_mm.engine.classification_checks import check_class_folders, teacher_of
from fan_mm.engine.detection_checks import check_coco, check_evaluators
from fan_mm.engine.weights import check_start
from fan_mm.errors import InputError

TRAINING_LOADERS = ('train_dataloader', 'val_dataloader')
TEST_LOADERS = ('test_dataloader',)
_HEADS = ('decode_head', 'auxiliary_head', 'head')
_NECKS_OF_ALL_OUTPUTS = ('FPN', 'PAFPN', 'ChannelMapper', 'SimpleFeaturePyramid')
LABEL_FILES = 3  # of each split, evenly spread, are looked into


def check_config(cfg: Config, training: bool) -> list[str]:
    """Look for what would fail later: files, backbone and head options, labels.

    Args:
        cfg: a whole config; its task library is registered.
        training: check what training and validation use; otherwise what testing uses.

    Returns:
        Remarks for the log, a line each.

    Raises:
        InputError: the first mistake, in one line.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        notes = check_checkpoints(cfg, training)
        check_model(cfg.model)
        for name in TRAINING_LOADERS if training else TEST_LOADERS:
            if cfg.get(name):
                for place, dataset in datasets_of(f'{name}.dataset', cfg[name].get('dataset')):
                    check_dataset(place, dataset)
                    _check_class_count(place, dataset, cfg.model)
                    _check_detection(place, dataset, cfg.model, name.partition('_')[0])
        check_evaluators(cfg, ('val_evaluator',) if training else ('test_evaluator',))
    return notes


def check_checkpoints(cfg: Config, training: bool) -> list[str]:
    """Check the files that weights are to come from, and say if none are given.

    Raises:
        InputError: a file is missing, or is none to start from.
    """
    wanted = {'load_from': cfg.get('load_from')}
    notes = []
    if training:
        pretrained = dict(_pretrained('model', cfg.model))
        wanted |= pretrained
        if 'teacher' in cfg.model:
            wanted['model.teacher'] = teacher_of(cfg.model)
        pre_training = cfg.get('default_scope') == 'mmpretrain' and not pretrained
        if not any(wanted.values()) and not pre_training:
            notes.append(
                'training starts from random weights, while published results start from ImageNet: '
                '--cfg-options model.backbone.init_cfg.checkpoint=FILE'
            )
    for place, path in wanted.items():
        if path and not _remote(path) and not Path(path).expanduser().is_file():
            raise InputError(f'{place}: no such checkpoint: {path}')
    start = wanted['load_from']
    if training and start and not _remote(start) and not cfg.get('resume'):
        check_start(cfg.model, start)
    return notes


def check_model(model: dict) -> None:
    """Build the model's FAN backbone and compare its outputs with what neck and heads expect.

    Models with another backbone are left to their own library, but for names that nobody has.

    Raises:
        InputError: the backbone's options, channels that do not fit, maps for a head of vectors.
    """
    model = model.get('module', model)  # test-time augmentation wraps the model
    for key in ('neck', *_HEADS):
        for place, part in _parts(model, key):
            _registered(MODELS, place, part)
    backbone = model.get('backbone')
    if not isinstance(backbone, dict):
        return
    cls = _registered(MODELS, 'model.backbone', backbone)
    if not cls.__module__.startswith('fan_mm.'):
        return
    if model.get('pretrained'):
        raise InputError(
            f'model.pretrained ({model["pretrained"]}) is for another backbone: set '
            'model.pretrained=None, and model.backbone.init_cfg for weights of this one'
        )
    _check_arguments(cls, backbone)
    built: nn.Module = MODELS.build(dict(backbone, init_cfg=None))
    channels = list(built.out_channels)
    name = f'{cls.__name__} ({len(channels)} outputs of {channels} channels)'

    neck = model.get('neck')
    if isinstance(neck, dict) and 'in_channels' in neck:
        _check_neck(neck, channels, name)
        return
    if isinstance(model.get('head'), dict):
        _check_pooling(cls.__name__, built.out_type, neck, model['head'])
    if neck and not (isinstance(neck, dict) and type_name(neck).endswith('Pooling')):
        return  # one or several that may give heads other channels
    for key in _HEADS:
        for place, head in _parts(model, key):
            if 'in_channels' in head:
                several = isinstance(head['in_channels'], list | tuple)
                index = head.get('in_index', list(range(len(channels))) if several else -1)
                _compare(
                    f'{place}.in_channels',
                    head['in_channels'],
                    _select(place, channels, index, name),
                    name,
                )


def _parts(model: dict, key: str) -> Iterator[tuple[str, dict]]:
    """The configs under a key of a model, which may be one or several, each with its place."""
    parts = model.get(key)
    several = isinstance(parts, list | tuple)
    for index, part in enumerate(parts if several else [parts]):
        if isinstance(part, dict):
            yield f'model.{key}.{index}' if several else f'model.{key}', part


def _check_neck(neck: dict, channels: list[int], name: str) -> None:
    """Compare a neck's input with the backbone's outputs, as strictly as the neck is known."""
    expected = neck['in_channels']
    if not isinstance(expected, list | tuple):
        _compare('model.neck.in_channels', expected, channels[-1], name)
    elif type_name(neck) in _NECKS_OF_ALL_OUTPUTS or not set(expected) <= set(channels):
        # others may take some of the outputs only, or from the deepest on
        _compare('model.neck.in_channels', expected, channels, name)


def _check_arguments(cls: type, backbone: dict) -> None:
    """Check that a backbone of ours, whose classes pass options on, has every argument."""
    known = set()
    for base in cls.__mro__:
        if base.__module__.startswith('fan_mm.') and '__init__' in vars(base):
            parameters = list(inspect.signature(base).parameters.values())
            known |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    for name in backbone.keys() - known - {'type'}:
        near = difflib.get_close_matches(name, known, 1)
        hint = f'did you mean {near[0]}?' if near else f'it has {", ".join(sorted(known))}'
        raise InputError(f'model.backbone: {backbone["type"]} has no argument {name}; {hint}')


def _check_pooling(name: str, out_type: str, neck: dict | None, head: dict) -> None:
    """Check that a classifier's head gets a vector of each image, once."""
    pools = isinstance(neck, dict) and type_name(neck).endswith('Pooling')
    if out_type == 'raw' and type_name(head).endswith('ClsHead'):
        raise InputError(
            f'model.head takes a vector of each image, and {name} gives all tokens: set '
            "model.backbone.out_type='cls_token' ('avg_featmap' where there is no class token)"
        )
    if out_type == 'featmap' and neck is None:
        raise InputError(
            f'model.head takes a vector of each image, and {name} gives maps: set '
            "model.backbone.out_type='cls_token' ('avg_featmap' where there is no class token), or "
            "model.neck=dict(type='GlobalAveragePooling')"
        )
    if out_type != 'featmap' and pools:
        raise InputError(
            f'model.neck pools maps, and {name} gives none with out_type={out_type!r}: set '
            'model.neck=None'
        )


def check_dataset(place: str, dataset: dict) -> None:
    """Check one dataset's folders and, for mmseg, that it has images and labels are class indices.

    Args:
        place: where the dataset stands in the config, for the error's line.
        dataset: its config.

    Raises:
        InputError: a folder or file is missing, the dataset is empty, or a label is out of range.
    """
    if (dataset.get('backend_args') or {}).get('backend', 'local') != 'local':
        return
    root = dataset.get('data_root') or ''
    hint = f'put the dataset at {root}, or say --cfg-options {place}.data_root=FOLDER'
    cls = _registered(DATASETS, place, dataset)
    if 'download' in inspect.signature(cls).parameters and dataset.get('download', True):
        return  # it fetches what is not there
    for path in _dataset_paths(dataset):
        if not _remote(path) and not Path(path).exists():
            raise InputError(f'{place}: no such file or folder: {path} ({hint})')
    if any(base.__name__ == 'BaseSegDataset' for base in cls.__mro__):
        _check_labels(place, DATASETS.build(dict(dataset, pipeline=[], lazy_init=True)))
    elif any(base.__name__ == 'CustomDataset' for base in cls.__mro__):
        check_class_folders(place, cls, dataset)


def _check_class_count(place: str, dataset: dict, model: dict) -> None:
    """Check that mmseg's heads know every class of a dataset: on a GPU its labels fail far from here."""
    cls = _registered(DATASETS, place, dataset)
    classes = (dataset.get('metainfo') or {}).get('classes') or getattr(cls, 'METAINFO', {}).get(
        'classes'
    )
    for key in ('decode_head', 'auxiliary_head'):
        for head_place, head in _parts(model.get('module', model), key):
            number = head.get('num_classes')
            if number and isinstance(classes, list | tuple) and number < len(classes):
                raise InputError(
                    f'{place} has {len(classes)} classes, but {head_place}.num_classes is {number}: set '
                    'that, or metainfo.classes of the datasets'
                )


def _check_detection(place: str, dataset: dict, model: dict, split: str) -> None:
    """Check a dataset that is mmdet's `CocoDataset`; its subclasses read files in their own ways."""
    cls = _registered(DATASETS, place, dataset)
    if cls.__name__ != 'CocoDataset':
        return
    path = dataset.get('ann_file') or ''
    local = (dataset.get('backend_args') or {}).get('backend', 'local') == 'local'
    if not path or not local or _remote(path) or _remote(dataset.get('data_root') or ''):
        return
    names = (dataset.get('metainfo') or {}).get('classes') or cls.METAINFO.get('classes')
    if isinstance(names, list | tuple):
        check_coco(place, dataset, tuple(names), model.get('module', model), split)


def _check_labels(place: str, dataset: object) -> None:
    """Check that every image of an mmseg dataset has its label file, and look into a few of them."""
    samples = dataset.load_data_list()
    if not samples:
        folder = dataset.data_prefix.get('img_path')
        raise InputError(f'{place}: no *{dataset.img_suffix} below {folder}')
    paths = [sample['seg_map_path'] for sample in samples if 'seg_map_path' in sample]
    for path in paths:
        if not Path(path).is_file():
            raise InputError(f'{place}: no label file {path}{_train_ids_hint(path)}')
    if dataset.reduce_zero_label or dataset.label_map:
        return  # the file's values are not the class indices
    classes = len(dataset.metainfo['classes'])
    for path in paths[:: max(1, len(paths) // LABEL_FILES)]:
        values = np.unique(mmcv.imread(path, flag='unchanged', backend='pillow'))  # as mmseg
        wrong = values[(values >= classes) & (values != dataset.ignore_index)]
        if wrong.size:
            raise InputError(
                f'{place}: {path} has the label {wrong[0]}, but labels must be class indices '
                f'0..{classes - 1} or {dataset.ignore_index} (ignored){_train_ids_hint(path)}'
            )


def _train_ids_hint(path: str) -> str:
    if 'gtFine' not in path:
        return ''
    return (
        '; trainIds are made by: pip install cityscapesscripts && '
        'CITYSCAPES_DATASET=data/cityscapes csCreateTrainIdLabelImgs'
    )


def _registered(registry: Registry, place: str, cfg: dict) -> type:
    """The class that a config would be built as, in the current scope.

    Raises:
        InputError: nothing of that name is registered, or no name is given.
    """
    if not cfg.get('type'):
        raise InputError(f'{place} has no type')
    if not isinstance(cfg['type'], str):
        return cfg['type']
    with registry.switch_scope_and_registry(None) as scoped:
        cls = scoped.get(cfg['type'])
        known = [*scoped.module_dict, *registry.module_dict]
    if cls is None:
        near = difflib.get_close_matches(cfg['type'], known, 1)
        hint = f'did you mean {near[0]}?' if near else 'custom_imports names the module that has it'
        raise InputError(f'{place}: nothing is registered as {cfg["type"]}; {hint}')
    return cls


def _select(place: str, channels: list[int], in_index: int | list[int], name: str) -> object:
    """The channels of the outputs that a head takes by its ``in_index``."""
    try:
        if isinstance(in_index, int):
            return channels[in_index]
        return [channels[i] for i in in_index]
    except IndexError:
        raise InputError(f'{place}.in_index is {in_index}, but the backbone is {name}') from None


def _compare(place: str, expected: object, given: object, name: str) -> None:
    expected = list(expected) if isinstance(expected, list | tuple) else expected
    if expected != given:
        raise InputError(f'{place} is {expected}, but must be {given}: the backbone is {name}')


def _dataset_paths(dataset: dict) -> Iterator[str]:
    """What a dataset reads: its root, its prefixes' folders, its annotation file."""
    root = dataset.get('data_root') or ''
    if root:
        yield root
    prefixes = dataset.get('data_prefix') or {}
    prefixes = list(prefixes.values()) if isinstance(prefixes, dict) else [prefixes]
    for path in [*prefixes, dataset.get('ann_file')]:
        if path and isinstance(path, str):
            yield path if _remote(path) else str(Path(root, path))


def _pretrained(place: str, node: object) -> Iterator[tuple[str, str | None]]:
    """Every checkpoint that an ``init_cfg`` names, with its place in the config."""
    if isinstance(node, dict):
        if node.get('type') == 'Pretrained' and place.endswith('init_cfg'):
            yield f'{place}.checkpoint', node.get('checkpoint')
        for key, value in node.items():
            yield from _pretrained(f'{place}.{key}', value)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _pretrained(f'{place}.{index}', value)


def _remote(path: str) -> bool:
    """Whether a path is an address (https://, s3://, open-mmlab://, torchvision://, ...)."""
    return re.match(r'\w[\w+.-]*:', path) is not None
