"""Annotations in VOC's XML files: are they and their images there, and do they name the classes?"""

import os.path as osp
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mmengine.fileio import list_from_file

from fan_mm.engine.checks.datasets import chosen
from fan_mm.engine.checks.files import evenly, listed_twice, refuse_missing, turned_photos
from fan_mm.engine.config.registered import inherits
from fan_mm.errors import InputError
from fan_mm.few_names import few

_FILES = 40  # annotation files checked per split, evenly spaced


def reads_as_voc(cls: type) -> bool:
    """Whether a class reads annotations as mmdet's ``XMLDataset`` or mmpretrain's ``VOC``, which it may extend."""
    methods = ('load_data_list', 'parse_data_info', '_parse_instance_info')
    return inherits(cls, 'XMLDataset', 'mmdet', *methods) or _of_whole_images(cls)


def _of_whole_images(cls: type) -> bool:
    return inherits(cls, 'VOC', 'mmpretrain', 'load_data_list', '_get_labels_from_xml')


def check_voc(place: str, dataset: Any, indices: Any = None, pipeline: Any = None) -> list[str]:
    """Check a dataset that mmdet or mmpretrain would read in full, silently leaving out objects of other names.

    Args:
        place: where the dataset stands in the config.
        dataset: a lazily built dataset for whose class `reads_as_voc` is true.
        indices: indices of the samples that are kept; None for all.
        pipeline: the pipeline in its config.

    Returns:
        Lines for the log about objects that are left out or have reversed boxes, and repeated images.

    Raises:
        InputError: the dataset lists no images, a file is missing or not XML, no object is of the dataset's
            classes, or one of them has no box.
    """
    names_file, *folders = _places(dataset)
    if folders[1] is None:
        return []  # without labels
    refuse_missing(place, 'list', [names_file])
    listed = chosen(list_from_file(names_file), indices)
    if not listed:
        raise InputError(f'{place} is empty: {names_file} contains no names')
    pictures = [osp.join(folders[0], f'{name}.jpg') for name in listed]
    files = [osp.join(folders[1], f'{name}.xml') for name in listed]
    for what, paths in (('image', pictures), ('annotation file', files)):
        refuse_missing(place, what, paths, f', which {names_file} lists')
    some = evenly(files, _FILES)
    found = {file: _objects_in(place, file) for file in some}
    names = {entry.findtext('name', '') for objects in found.values() for entry in objects}
    classes = dataset.metainfo['classes']
    if names and names.isdisjoint(classes) and not _named_anywhere(place, files, classes):
        raise InputError(
            f'{place}: the objects in the annotation files are {_quoted(sorted(names))}, but the classes '
            f'are {_quoted(classes)}: set metainfo.classes'
        )
    notes = [] if place.startswith('train') else listed_twice(f'{place}: {names_file}', listed)
    if not names:
        notes.append(f'{place}: there are no objects in the {len(some)} files checked')
    meant = {name.strip().lower(): name for name in classes}
    near = sorted(n for n in names.difference(classes) if n.strip().lower() in meant)
    if near:
        one = meant[near[0].strip().lower()]
        notes.append(
            f'{place}: objects named {_quoted(near)} are left out: the class is written {one!r}'
        )
    if _of_whole_images(type(dataset)):
        return notes
    notes += turned_photos(place, pictures, pipeline)
    return notes + _odd_objects(place, found, classes)


def _places(dataset: Any) -> tuple[str, Any, Any]:
    """The list of a dataset's names, and the folders of its images and annotations."""
    if _of_whole_images(type(dataset)):
        return dataset.image_set_path, dataset.img_prefix, dataset.ann_prefix
    root = dataset.sub_data_root
    return (
        dataset.ann_file,
        osp.join(root, dataset.img_subdir),
        osp.join(root, dataset.ann_subdir),
    )


def _odd_objects(
    place: str, found: Mapping[str, list[ET.Element]], classes: Collection[str]
) -> list[str]:
    """Lines for the log about the objects of classes in some files: all difficult, or a box in reverse."""
    notes = []
    wanted = [
        entry
        for objects in found.values()
        for entry in objects
        if entry.findtext('name', '') in classes
    ]
    if wanted and all(entry.findtext('difficult', '').strip() == '1' for entry in wanted):
        notes.append(
            f'{place}: all {len(wanted)} objects checked have difficult 1: mmdet leaves them out of training, and '
            'metrics do not count them'
        )
    flat = (
        f'{place}: {file}: an object has {corners}: its corners are swapped'
        for file, objects in found.items()
        for entry in objects
        if entry.findtext('name', '') in classes and (corners := _exchanged(place, file, entry))
    )
    return notes + list(flat)[:1]


def _objects_in(place: str, file: str) -> list[ET.Element]:
    try:
        return ET.parse(file).getroot().findall('object')
    except (ET.ParseError, ValueError, LookupError) as error:  # last two: bad or unknown encoding
        what = 'is not XML' if isinstance(error, ET.ParseError) else 'must be saved as UTF-8'
        raise InputError(f'{place}: {file} {what}: {error}') from None


def _named_anywhere(place: str, files: list[str], classes: Collection[str]) -> bool:
    """Whether any object has one of the classes, which may be rare."""
    return any(
        entry.findtext('name', '') in classes
        for file in files
        for entry in _objects_in(place, file)
    )


def _exchanged(place: str, file: str, entry: ET.Element) -> str:
    """The corners of an object's box if they are swapped; '' if they are not."""
    texts = {side: entry.findtext(f'bndbox/{side}') for side in ('xmin', 'ymin', 'xmax', 'ymax')}
    shown = ', '.join(f'{side} {text}' for side, text in texts.items())
    try:
        left, top, right, bottom = (float(text or '') for text in texts.values())
    except ValueError:
        name = entry.findtext('name')
        raise InputError(
            f'{place}: {file}: the object {name!r} has no bndbox of four numbers ({shown})'
        ) from None
    return '' if right >= left and bottom >= top else shown


def _quoted(names: Iterable[str]) -> str:
    return few(map(repr, names))
