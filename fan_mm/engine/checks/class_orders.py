"""Classes of training and evaluation: a label is a position among them, so they must agree on it."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import DATASETS

from fan_mm.engine.checks.datasets import classes_of
from fan_mm.engine.classification_checks import plain_name
from fan_mm.engine.config.registered import base_named, reads_label_pictures, registered
from fan_mm.errors import InputError


def check_same_classes(training: Mapping[str, dict], evaluation: Mapping[str, dict]) -> list[str]:
    """Check that evaluated datasets have their classes at the positions that the model has learnt.

    Args:
        training: place -> config of a training dataset; empty if unknown.
        evaluation: place -> config of a validation or test dataset.

    Returns:
        Lines for the log if the difference may be intended, or only names differ.

    Raises:
        InputError: the same classes in another order, so that the labels differ.
    """
    learnt = {
        place: classes
        for place, dataset in training.items()
        if (classes := classes_of(place, dataset))
    }
    notes: list[str] = []
    if not learnt:
        return notes
    for place, dataset in evaluation.items():
        classes = classes_of(place, dataset)
        moved = {where: _moved(classes or (), known) for where, known in learnt.items()}
        if not classes or not all(moved.values()):
            continue
        where, name = next(iter(moved.items()))
        known = learnt[where]
        text = (
            f'{place} has class {name!r} at position {classes.index(name)}, {where} at '
            f'{known.index(name)}: labels are positions'
        )
        if set(classes) == set(known) and _labels_by_name(place, dataset):
            raise InputError(
                f'{text}, and classes would be confused: list them in one order, in metainfo.classes '
                'and in annotation files'
            )
        notes.append(text)
    return notes


def metainfo_in(checkpoint: object) -> dict[str, Any]:
    """What a checkpoint says of the dataset that it was trained on, such as 'classes'; empty if nothing.

    Nothing, too, if it was trained on several datasets with classes of their own.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    if not isinstance(meta, Mapping):
        return {}
    told = meta.get('dataset_meta')
    if not isinstance(told, Mapping):  # mmcv 1.x
        told = {key: meta[key] for key in ('CLASSES', 'PALETTE') if meta.get(key)}
    return {str(key).lower(): value for key, value in told.items()}


def names_in(checkpoint: object) -> tuple[str, ...] | None:
    """The classes that a checkpoint says it was trained on, in the order of its outputs; None without any."""
    names = metainfo_in(checkpoint).get('classes')
    return tuple(map(str, names)) if isinstance(names, list | tuple) else None


def other_order(checkpoint: object, source: str, metainfo: object) -> list[str]:
    """Compare the classes that a checkpoint was trained on with those that it is tested on.

    Args:
        checkpoint: content of the file.
        source: the file, for the message.
        metainfo: metainfo of the test dataset; a list if it joins several with different classes.

    Returns:
        A line for the log if a class has another position, because possibly only the names differ.
    """
    learnt = names_in(checkpoint)
    classes = metainfo.get('classes') if isinstance(metainfo, Mapping) else None
    if not learnt or not isinstance(classes, list | tuple):
        return []
    name = _moved(classes, learnt)
    if name is None:
        return []
    return [
        f'{source} was trained with class {name!r} at position {learnt.index(name)}, but the test dataset '
        f'has it at {list(classes).index(name)}: labels are positions, so scores are wrong unless only the '
        'names differ'
    ]


def differing(own: Sequence[str], wanted: Sequence[str]) -> int | None:
    """The first position at which two lists of classes have different classes; None if they agree.

    Names are compared without case, spaces and punctuation. To allow for synonyms, lists also agree if no name
    is at another position and at most half of the names are missing in the second list.

    Args:
        own: names in the order of the labels.
        wanted: names to compare with, of the same number.
    """
    names, theirs = ([plain_name(str(name)) for name in given] for given in (own, wanted))
    pairs = enumerate(zip(names, theirs, strict=True))
    moved = next((i for i, (name, there) in pairs if name != there and name in theirs), None)
    if moved is not None:
        return moved
    unknown = [i for i, name in enumerate(names) if name not in theirs]
    return unknown[0] if 2 * len(unknown) > len(names) else None


def _moved(classes: Sequence[str], learnt: Sequence[str]) -> str | None:
    """The first class whose position differs; None if there is none."""
    known = set(learnt)  # names may be repeated: two of ImageNet's classes have the same one
    there = set(enumerate(learnt))
    return next((n for i, n in enumerate(classes) if n in known and (i, n) not in there), None)


def _labels_by_name(place: str, dataset: dict) -> bool:
    """Whether a dataset makes labels of its classes' names: mmdet's do, and mmseg's and ours of known classes."""
    cls = registered(DATASETS, place, dataset)
    if reads_label_pictures(cls):
        return bool((getattr(cls, 'METAINFO', None) or {}).get('classes'))
    return base_named(cls, 'BaseDetDataset', 'mmdet') is not None
