"""Mistakes in the config of a classifier: class folders, lists of images, the teacher of STL."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.fileio import list_from_file

from fan_mm.config_parts import type_name
from fan_mm.engine.checks.files import evenly, listed_twice, missing_file, refuse_empty
from fan_mm.engine.config.registered import inherits
from fan_mm.errors import InputError
from fan_mm.few_names import few
from fan_mm.fileio import printable
from fan_mm.folders import NO_DATA, files_below
from fan_mm.images import SUFFIXES

_IMAGENET = 1000  # classes
_LISTED = 1000  # number of listed images whose existence is checked


def check_images(place: str, dataset: Any, number: int | None, lowest: int = 0) -> list[str]:
    """Check the class folders or the list of mmpretrain's ``CustomDataset``, built lazily.

    Args:
        place: where the dataset stands in the config.
        dataset: the dataset.
        number: how many classes labels may be of; None for any.
        lowest: the lowest label; -1 in a list of images without labels, of which no score is computed.

    Returns:
        Lines for the log.

    Raises:
        InputError: there are no class folders, too many or too few, or an empty one in training; or a list has a
            line without image and label.
    """
    if not _is_plain(dataset):
        return []
    if dataset.ann_file:
        return _check_list(place, dataset, number, lowest)
    return _check_folders(place, dataset, number)


def class_folders(dataset: Any) -> list[str]:
    """Names of the folders that make a dataset's classes, in the order of the labels; none otherwise."""
    if not _is_plain(dataset) or dataset.ann_file or not os.path.isdir(dataset.img_prefix):
        return []
    return sorted(entry.name for entry in os.scandir(dataset.img_prefix) if entry.is_dir())


def labels_by_folder(dataset: Any) -> dict[str, int]:
    """The label of each folder of a dataset, if these are its classes: of class folders, or of those in a list.

    Empty if, in a list, a folder has several labels or a label occurs in several folders.
    """
    if not _is_plain(dataset):
        return {}
    if not dataset.ann_file:
        return {name: label for label, name in enumerate(class_folders(dataset))}
    found: dict[str, int] = {}
    for line in list_from_file(dataset.ann_file):
        name, _, label = line.strip().rpartition(' ')
        folder = os.path.basename(os.path.dirname(name))
        if (
            not folder
            or not label.isdecimal()
            or found.setdefault(folder, int(label)) != int(label)
        ):
            return {}
    return found if len(set(found.values())) == len(found) else {}


def _is_plain(dataset: Any) -> bool:
    """Whether mmpretrain's ``CustomDataset`` finds a dataset's images and labels."""
    own = inherits(type(dataset), 'CustomDataset', 'mmpretrain', 'load_data_list')
    return own and dataset.with_label


def number_of_classes(model: dict) -> int | None:
    """How many classes a classifier tells apart; None if its config does not say.

    Specified by the head; for networks of other libraries by the model, and for some networks that return scores by
    the backbone.
    """
    for part in (model.get('head'), model, model.get('backbone')):
        given = part if isinstance(part, dict) else {}
        for number in (given.get('num_classes'), given.get('num_labels')):
            if isinstance(number, int) and number > 0:
                return number
    return None


def check_same_folders(folders: Mapping[str, Sequence[str]]) -> None:
    """Check that splits whose folders make the classes have the same ones: labels are their positions.

    Args:
        folders: place of a dataset in the config -> names of its class folders.

    Raises:
        InputError: two splits differ.
    """
    (first, names), *others = folders.items() if folders else [('', ())]
    for place, other in others:
        if list(other) != list(names):
            differ = [*sorted(set(names) - set(other)), *sorted(set(other) - set(names))]
            raise InputError(
                f'{place} has other class folders than {first} ({few(differ)}): labels are their '
                'positions and would be confused'
            )


def check_same_labels(labels: Mapping[str, Mapping[str, int]]) -> None:
    """Check that folders which are classes have the same labels in all splits, by their place or by lists.

    Args:
        labels: place of a dataset in the config -> result of `labels_by_folder`.

    Raises:
        InputError: a folder has another label in another split.
    """
    (first, known), *others = labels.items() if labels else [('', {})]
    for place, other in others:
        for name, label in other.items():
            if known.get(name, label) != label:
                raise InputError(
                    f'{place} gives the images in a folder {name!r} the label {label}, {first} gives it '
                    f'{known[name]}: classes would be confused'
                )


def other_positions(place: str, names: Sequence[str], model: dict) -> str | None:
    """A line for the log if a model may number the classes differently from their folders.

    This happens if folders are sorted by name: class 10 before class 2, ImageNet's classes by their English names,
    or only some of the classes. It is correct for a model trained on such folders, and silently wrong otherwise.
    """
    number = number_of_classes(model) or _IMAGENET
    wordnet = all(re.match(r'n\d{8}(?!\d)', name) for name in names)
    if wordnet and number == _IMAGENET and len(names) < _IMAGENET:
        return (
            f"{place}: the {len(names)} class folders are a subset of ImageNet's, and labels are positions among "
            f'them: correct for a model trained on this subset; for a model of all {_IMAGENET} classes, add empty '
            'folders for the others'
        )
    if all(name.isdecimal() for name in names):
        meant = [int(name) for name in names]
        if len(names) == number and meant == list(range(1, number + 1)):
            return None  # all classes, counted from 1
    else:
        known = _imagenet_names() if number == _IMAGENET else {}
        meant = [known.get(plain_name(name), -1) for name in names]
        if meant.count(-1) > len(names) // 20:  # such as 'crane_bird'
            return None
    label = next((i for i, m in enumerate(meant) if m not in (i, -1)), None)
    if label is None:
        return None
    return (
        f'{place}: labels are the positions of the class folders sorted by name, so that {names[label]!r} is '
        f'{label}: correct for a model trained on such folders, not for one to which it is {meant[label]}'
    )


def background_first(place: str, classes: int, model: dict) -> list[str]:
    """A line for the log if a model has one class more than ImageNet, of which a dataset has all."""
    if classes != _IMAGENET or number_of_classes(model) != _IMAGENET + 1:
        return []
    return [
        f'{place} has {_IMAGENET} classes, the model {_IMAGENET + 1}: if its class 0 is the background, as in models '
        'of TensorFlow, the labels are one too low and all predictions count as wrong: use a CustomDataset with a '
        'list (ann_file) of the labels plus 1'
    ]


def _imagenet_names() -> dict[str, int]:
    """Plain name -> the first of ImageNet's classes that has it."""
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    names: dict[str, int] = {}
    for index, words in enumerate(IMAGENET_CATEGORIES):
        for name in (words, *words.split(',')):
            names.setdefault(plain_name(name), index)
    return names


def plain_name(name: str) -> str:
    """The name of a class without case, spaces and punctuation."""
    return re.sub(r'[\W_]', '', name.lower())


def teacher_of(model: dict) -> str:
    """The checkpoint of the teacher of an STL student.

    Raises:
        InputError: none is named.
    """
    if not model.get('teacher'):
        raise InputError(
            'model.teacher: an STL student needs a teacher, trained with a *_stl_teacher_* config '
            'or released: --cfg-options model.teacher=FILE'
        )
    return model['teacher']


def _check_folders(place: str, dataset: Any, number: int | None) -> list[str]:
    folder = Path(dataset.img_prefix)
    if not folder.parent.exists():
        return []  # the root is remote
    if not folder.is_dir():
        raise InputError(f'{place}: no folder {folder}, which must contain one folder per class')
    names = class_folders(dataset)
    wanted = dataset.CLASSES
    _check_class_folders(place, folder, names, wanted, number)
    empty, others = _odd_images(place, folder, names, dataset)
    notes = []
    if empty:
        more = f' and {len(empty) - 1} more of the {len(names)} have' if len(empty) > 1 else ' has'
        notes.append(f'{place}: the class folder {folder / empty[0]}{more} no images')
    if others:
        known = ', '.join(sorted(dataset.extensions))
        notes.append(
            f'{place}: {len(others)} images in the class folders are left out (the first is '
            f'{printable(min(others))}): extensions are {known}'
        )
    if wanted is not None and set(wanted) == set(names) and list(wanted) != names:
        notes.append(
            f'{place}.metainfo.classes are the class folders in another order, but labels follow the '
            f'folders sorted by name ({", ".join(names[:3])}, ...): names will be wrong'
        )
    return notes


def _check_class_folders(
    place: str,
    folder: Path,
    names: Sequence[str],
    wanted: Sequence[str] | None,
    number: int | None,
) -> None:
    """Refuse folders that are no classes, or whose number differs from that of dataset and head."""
    if not names:
        raise InputError(
            f'{place}: no class folders in {folder}; images must be in {folder}/CLASS/'
        )
    for name in names:
        if name.startswith('.') or name in NO_DATA:  # mmpretrain would count them as classes
            raise InputError(
                f'{place}: the folder {folder / name} would count as a class and shift the labels of '
                'the following ones: remove it'
            )
    if wanted is not None and len(wanted) != len(names):
        raise InputError(
            f'{place}: {folder} has {len(names)} class folders, but there are {len(wanted)} '
            'classes: list them as metainfo=dict(classes=[...]) in the dataset of every split, and set '
            f'model.head.num_classes={len(names)}'
        )
    if number is not None and number < len(names):
        raise InputError(
            f'{place}: {folder} has {len(names)} class folders, but the model knows {number} classes'
        )


def _odd_images(
    place: str, folder: Path, names: Sequence[str], dataset: Any
) -> tuple[list[str], list[str]]:
    """Class folders without images, and images whose suffix mmpretrain does not know."""
    empty: list[str] = []
    others: list[str] = []
    for name in names:
        found = False
        for parts in files_below(folder / name):
            valid = dataset.is_valid_file(parts[-1])
            found = found or valid
            if not valid and os.path.splitext(parts[-1])[1].lower() in SUFFIXES:
                others.append('/'.join((name, *parts)))
        if not found:
            if place.startswith('train'):
                raise InputError(f'{place}: the class folder {folder / name} has no images')
            empty.append(name)  # removing it would change the labels of other classes
    if len(empty) == len(names):
        raise InputError(f'{place}: the class folders in {folder} have no images')
    return empty, others


def _check_list(place: str, dataset: Any, number: int | None, lowest: int) -> list[str]:
    """Check the lines 'PICTURE LABEL' of a list, and return remarks for the log."""
    file = Path(dataset.ann_file)
    try:
        lines = list_from_file(
            file
        )  # as mmpretrain: the name of a file may hold other separators of lines
    except UnicodeDecodeError:
        raise InputError(f'{place}: {file} is not text in UTF-8') from None
    if not lines:
        raise InputError(f'{place}: {file} is empty')
    classes = dataset.CLASSES
    limits = [limit for limit in (number, len(classes) if classes else None) if limit]
    names = []
    for index, line in enumerate(lines, 1):
        name, _, label = line.strip().rpartition(' ')
        try:
            value = int(label)
        except ValueError:
            value = None
        if not name or value is None:
            raise InputError(
                f"{place}: line {index} of {file} is {line!r}: it must be 'IMAGE LABEL', with a number as label"
            )
        if value < lowest or (limits and value >= min(limits)):
            most = f'0..{min(limits) - 1}' if limits else '0 and above'
            raise InputError(
                f'{place}: line {index} of {file} has the label {value}; labels are {most}'
            )
        names.append(name)
    some = [Path(dataset.img_prefix, name) for name in evenly(names, _LISTED)]
    missing, _ = missing_file(some)
    if missing:
        raise InputError(f'{place}: no image {printable(missing)}, which {file} lists')
    refuse_empty(place, some)
    return [] if place.startswith('train') else listed_twice(f'{place}: {file}', names)


def check_number_of_classes(
    place: str, cfg: dict, classes: Sequence[str], number: int | None
) -> None:
    """Check that a classifier's head knows every class of a dataset; ``number`` as for `check_images`.

    Raises:
        InputError: it has fewer.
    """
    if number is not None and number < len(classes):
        raise InputError(
            f'{place} ({type_name(cfg)}) has {len(classes)} classes, but the model knows {number}: set '
            'model.head.num_classes, or metainfo.classes of the datasets'
        )
