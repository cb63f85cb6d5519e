"""Annotations in VOC's XML files: are they and their pictures there, and do they name the classes."""

import os.path as osp
import xml.etree.ElementTree as ET
from typing import Any

from mmengine.fileio import list_from_file

from fan_mm.engine.checks.datasets import chosen
from fan_mm.engine.checks.files import missing_file, visible
from fan_mm.engine.config.registered import base_named
from fan_mm.errors import InputError

_FILES = 40  # of each split, evenly spread, are looked into


def reads_as_voc(cls: type) -> bool:
    """Whether a dataset's class reads annotations as mmdet's ``XMLDataset``, which it may extend."""
    base = base_named(cls, 'XMLDataset', 'mmdet')
    names = ('load_data_list', 'parse_data_info', '_parse_instance_info')
    return base is not None and all(getattr(cls, name) is getattr(base, name) for name in names)


def check_voc(place: str, dataset: Any, indices: Any = None) -> None:
    """Check a dataset that mmdet would read in full, silently leaving out objects of other names.

    Args:
        place: where the dataset stands in the config.
        dataset: mmdet's ``XMLDataset`` or derived from it, built lazily.
        indices: those of its samples that are kept; None for all.

    Raises:
        InputError: it lists nothing, a file is missing or no XML, or no object has a class of it.
    """
    listed = chosen(list_from_file(dataset.ann_file), indices)
    if not listed:
        raise InputError(f'{place} is empty: {dataset.ann_file} lists nothing')
    root = dataset.sub_data_root
    pictures = [osp.join(root, dataset.img_subdir, f'{name}.jpg') for name in listed]
    files = [osp.join(root, dataset.ann_subdir, f'{name}.xml') for name in listed]
    for what, paths in (('image', pictures), ('annotation file', files)):
        missing, more = missing_file(paths)
        if missing:
            others = f' and {more} more' if more else ''
            raise InputError(
                f'{place}: no {what} {visible(missing)}{others}, which {dataset.ann_file} lists'
            )
    some = files[:: max(1, len(files) // _FILES)]
    names = {name for file in some for name in _names_in(place, file)}
    classes = dataset.metainfo['classes']
    if names and names.isdisjoint(classes):
        raise InputError(
            f'{place}: the objects in the {len(some)} annotation files looked into are {_few(names)}, '
            f'but the classes {_few(classes)}: set metainfo.classes'
        )


def _names_in(place: str, file: str) -> set[str]:
    try:
        return {entry.findtext('name', '') for entry in ET.parse(file).getroot().findall('object')}
    except ET.ParseError as error:
        raise InputError(f'{place}: {file} is no XML: {error}') from None


def _few(names: Any) -> str:
    names = sorted(names) if isinstance(names, set) else list(names)
    return ', '.join(map(repr, names[:3])) + (', ...' if len(names) > 3 else '')
