"""Mistakes in a dataset's config that hold for any library: its class, its arguments, its files."""

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS, MODELS, TRANSFORMS

from fan_mm.config_parts import steps_of, type_name
from fan_mm.engine.checks.backends import check_decoder, check_storage
from fan_mm.engine.checks.files import is_local, is_remote
from fan_mm.engine.config.registered import (
    LIBRARIES,
    base_named,
    bases,
    inherits,
    is_known,
    package,
    registered,
    said_in_one_line,
)
from fan_mm.errors import InputError

_NORMALIZE = ('Normalize', 'TensorNormalize', 'torchvision/Normalize')


def check_names(place: str, dataset: dict) -> None:
    """Check what a dataset's config says, whether or not its files are there.

    Raises:
        InputError: the class, a transform or a backend is not registered; or the classes are a single string,
            which the libraries would split into letters.
    """
    registered(DATASETS, place, dataset)
    metainfo = dataset.get('metainfo') or {}
    classes = metainfo.get('classes')
    if classes is None and 'CLASSES' in metainfo:
        raise InputError(f'{place}.metainfo: CLASSES is not used; write classes')
    if isinstance(classes, str) and not Path(classes).expanduser().is_file():
        raise InputError(
            f"{place}.metainfo.classes is the text {classes!r}: it must be a list, such as ['{classes}'], or "
            'a file with one name per line'
        )
    check_storage(place, dataset)
    check_steps(f'{place}.pipeline', dataset.get('pipeline'))


def check_steps(place: str, pipeline: Any) -> None:
    """Check that the transforms of a pipeline's config have names of classes, and can read files.

    Raises:
        InputError: a transform, or the backend that it reads with, is not registered.
    """
    for index, step in enumerate(steps_of(pipeline)):
        if isinstance(step, dict):
            where = f'{place}, transform {index + 1}'
            cls = registered(TRANSFORMS, where, step)
            check_storage(where, step)
            check_decoder(where, cls, step)


def classes_of(place: str, dataset: dict) -> tuple[str, ...] | None:
    """The names of a dataset's classes in the order of their labels, as its config or its class says.

    None if neither defines them, or if their file is missing.

    Raises:
        InputError: the file of class names has an empty line, which the libraries would count as a class.
    """
    cls = registered(DATASETS, place, dataset)
    classes = (dataset.get('metainfo') or {}).get('classes')
    if not classes and base_named(cls, 'BaseDataset', 'mmpretrain'):
        classes = dataset.get('classes')  # its datasets take them as an argument, too
    classes = classes or (getattr(cls, 'METAINFO', None) or {}).get('classes')
    if isinstance(classes, str):
        file = Path(classes).expanduser()
        classes = list_from_file(file) if file.is_file() else None
        empty = [number for number, name in enumerate(classes or (), 1) if not name.strip()]
        if empty:
            raise InputError(
                f'{place}: line {empty[0]} of {file} is empty, and would be a class without a name: remove it'
            )
    return tuple(classes) if isinstance(classes, list | tuple) else None


def unread_settings(place: str, dataset: dict, preprocessor: Any) -> list[str]:
    """Lines for the log about what mmcv 1.x read in a dataset's config, or is done elsewhere now."""
    notes = []
    cls = registered(DATASETS, place, dataset)
    if (dataset.get('metainfo') or {}).get('label_map') and base_named(
        cls, 'BaseSegDataset', 'mmseg'
    ):
        notes.append(
            f'{place}.metainfo.label_map is not used: mmseg maps labels by the names in metainfo.classes only'
        )
    steps = [step for step in steps_of(dataset.get('pipeline')) if isinstance(step, dict)]
    names = [type_name(step) for step in steps]
    if _normalises(preprocessor) and any(name in _NORMALIZE for name in names):
        notes.append(
            f'{place}.pipeline has Normalize, and data_preprocessor a mean: images are normalised twice'
        )
    elif _is_of_unit_range(preprocessor) and _gives_bytes(place, steps):
        notes.append(
            f'data_preprocessor: mean {preprocessor["mean"]} and std {preprocessor["std"]} are of values from '
            f'0 to 1, but {place}.pipeline gives 0 to 255: multiply both by 255'
        )
    elif 'torchvision/ToTensor' in names and _is_of_bytes(preprocessor):
        notes.append(
            f'data_preprocessor: mean {preprocessor["mean"]} is of values from 0 to 255, but ToTensor in '
            f'{place}.pipeline gives 0 to 1: divide mean and std by 255'
        )
    return notes


def _normalises(preprocessor: Any) -> bool:
    """Whether a data preprocessor changes values: not by a mean of 0 and a deviation of 1."""
    if not isinstance(preprocessor, dict) or preprocessor.get('mean') is None:
        return False
    std = preprocessor.get('std')
    return bool(np.any(preprocessor['mean']) or (std is not None and np.any(np.not_equal(std, 1))))


def _is_of_unit_range(preprocessor: Any) -> bool:
    """Whether mean and deviation, read by a library, are those of values from 0 to 1, as torchvision's."""
    settings = preprocessor if isinstance(preprocessor, dict) else {}
    mean, std = settings.get('mean'), settings.get('std')
    if mean is None or std is None or not np.size(mean) or not np.size(std):
        return False
    if not _is_of_libraries(settings):
        return False  # it may scale to [0, 1] itself
    return bool(0 < np.max(mean) <= 1 and np.max(std) < 1)


def _is_of_bytes(preprocessor: Any) -> bool:
    """Whether a mean, read by a library, is that of values from 0 to 255."""
    mean = preprocessor.get('mean') if isinstance(preprocessor, dict) else None
    return mean is not None and _is_of_libraries(preprocessor) and bool(np.max(mean) > 1)


def _is_of_libraries(preprocessor: dict) -> bool:
    return 'type' not in preprocessor or is_known(
        registered(MODELS, 'data_preprocessor', preprocessor)
    )


def _gives_bytes(place: str, steps: Sequence[dict]) -> bool:
    """Whether a library's transforms alone load images with 8 bits per channel: they do not scale them to 1."""
    loaders = [step for step in steps if type_name(step) == 'LoadImageFromFile']
    whole = [
        step.get('color_type') == 'unchanged' or step.get('imdecode_backend') == 'tifffile'
        for step in loaders
    ]
    scaled = any(
        word in type_name(step) for step in steps for word in ('ToTensor', 'Dtype', 'Albu')
    )
    if not loaders or any(whole) or scaled:
        return False
    return read_by_libraries(place, dict(pipeline=steps))


def read_by_libraries(place: str, dataset: dict) -> bool:
    """Whether all transforms of a dataset's pipeline are of the task libraries, which take labels as they are."""
    steps = [step for step in steps_of(dataset.get('pipeline')) if isinstance(step, dict)]
    return all(is_known(registered(TRANSFORMS, f'{place}.pipeline', step)) for step in steps)


def check_dataset(place: str, dataset: dict) -> bool:
    """Check that a dataset's folders and its annotation file are there.

    Returns:
        Whether the files are on this machine and can be inspected.

    Raises:
        InputError: a file or folder is missing, or several are given for a class that takes one.
    """
    cls = registered(DATASETS, place, dataset)
    _refuse_several(place, dataset, cls)
    root = dataset.get('data_root') or ''
    if not is_local(dataset, str(root)):
        return False
    parameters = inspect.signature(cls).parameters
    if 'download' in parameters and dataset.get('download', True):
        return False  # it downloads missing files
    home = base_named(cls, 'BaseDataset', 'mmpretrain') is not None  # expands ~/
    hint = f'use --cfg-options {place}.data_root=FOLDER'
    if root:
        hint = f'put the dataset at {root}, or {hint}'
    here = True
    for path in _paths(dataset, home):
        if is_remote(path):
            here = False
        elif not Path(path).exists():
            raise InputError(f'{place}: no such file or folder: {path} ({hint})')
    return here


def _refuse_several(place: str, dataset: dict, cls: Any) -> None:
    """Refuse the lists of files and folders that mmdet 2.x and mmseg 0.x took, and mmpretrain's one folder."""
    for name in ('__init__', '_join_prefix'):
        if package(getattr(cls, name, None)) not in LIBRARIES:
            return  # a user's own class may accept them
    prefixes = dataset.get('data_prefix')
    of_mmseg = base_named(cls, 'BaseSegDataset', 'mmseg')
    key = 'img_path' if of_mmseg else 'img' if base_named(cls, 'BaseDetDataset', 'mmdet') else None
    if key and prefixes and isinstance(prefixes, str):  # many mmpretrain datasets take a string
        raise InputError(
            f'{place}.data_prefix is the text {prefixes!r}, but {cls.__name__} takes a dict, such as '
            f'dict({key}={prefixes!r})'
        )
    plain = inherits(cls, 'BaseSegDataset', 'mmseg', 'load_data_list')  # others may read more
    if plain and prefixes and 'img_path' not in prefixes:
        raise InputError(
            f'{place}.data_prefix has {", ".join(prefixes)}, but {cls.__name__} takes img_path and seg_map_path'
        )
    paths = {key: dataset.get(key) for key in ('data_root', 'ann_file')}
    if isinstance(prefixes, dict):
        paths |= {f'data_prefix.{key}': value for key, value in prefixes.items()}
    for key, value in paths.items():
        if isinstance(value, list | tuple):
            raise InputError(
                f'{place}.{key} is a list, but {cls.__name__} takes one: join several datasets with '
                "dict(type='ConcatDataset', datasets=[...])"
            )


def build_lazily(place: str, dataset: dict) -> Any:
    """Build a dataset without its transforms and, where its class can do that, without its annotations.

    Returns:
        The dataset; None if its class has no way to be built without reading everything.

    Raises:
        InputError: the class rejects its arguments.
    """
    cls = registered(DATASETS, place, dataset)
    if not {'pipeline', 'lazy_init'} <= set(_parameters(cls)):
        return None
    try:
        return DATASETS.build(dict(dataset, pipeline=[], lazy_init=True))
    except Exception:  # an error of the class, or lazy building is not supported
        with said_in_one_line(place, dataset):
            DATASETS.build(dataset)
        return None


def chosen(items: list, indices: int | Sequence[int] | None) -> list:
    """The samples that mmengine's datasets keep for ``indices``: the first ones, the last (below 0), or these."""
    if indices is None:
        return items
    if isinstance(indices, int):
        return items[:indices] if indices >= 0 else items[indices:]
    return [items[index] for index in indices if -len(items) <= index < len(items)]


def _parameters(cls: Any) -> Iterator[str]:
    """The arguments of a class, those passed on to its bases too."""
    for base in bases(cls):
        if '__init__' in vars(base):
            parameters = inspect.signature(vars(base)['__init__']).parameters.values()
            yield from (p.name for p in parameters)
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                return


def _paths(dataset: dict, home: bool) -> Iterator[str]:
    """The paths that a dataset reads: its root, the folders of its prefixes, its annotation file."""
    root = dataset.get('data_root') or ''
    if root:
        yield root
    prefixes = dataset.get('data_prefix') or {}
    prefixes = list(prefixes.values()) if isinstance(prefixes, dict) else [prefixes]
    for path in [*prefixes, dataset.get('ann_file')]:
        if path and isinstance(path, str):
            local = Path(path).expanduser() if home else path
            yield path if is_remote(path) else str(Path(root, local))
