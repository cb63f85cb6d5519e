"""Classes of training and evaluation: a label is a position among them, so they must agree on it."""

from collections.abc import Mapping, Sequence

from mmengine.registry import DATASETS

from fan_mm.engine.checks.datasets import classes_of
from fan_mm.engine.config.registered import base_named, reads_label_pictures, registered
from fan_mm.errors import InputError


def check_same_classes(training: Mapping[str, dict], evaluation: Mapping[str, dict]) -> list[str]:
    """Check that what is evaluated has its classes at the positions that a model has learnt.

    Args:
        training: configs of the training's datasets by their places; none where it is not known.
        evaluation: those of a validation or a test.

    Returns:
        Lines for the log where it may be meant, or only names are exchanged.

    Raises:
        InputError: the same classes in another order, which the labels follow.
    """
    learnt = {
        place: classes
        for place, dataset in training.items()
        if (classes := classes_of(place, dataset))
    }
    notes = []
    for place, dataset in evaluation.items():
        classes = classes_of(place, dataset)
        moved = {where: _moved(classes or (), known) for where, known in learnt.items()}
        if not classes or not all(moved.values()):
            continue
        where, name = next(iter(moved.items()), (None, None))
        if where is None:
            continue
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


def _moved(classes: Sequence[str], learnt: Sequence[str]) -> str | None:
    """The first class that has another position; None if there is none."""
    places = {name: index for index, name in enumerate(learnt)}
    return next((n for i, n in enumerate(classes) if places.get(n, i) != i), None)


def _labels_by_name(place: str, dataset: dict) -> bool:
    """Whether a dataset makes labels of its classes' names: mmdet's do, and mmseg's and ours of known classes."""
    cls = registered(DATASETS, place, dataset)
    if reads_label_pictures(cls):
        return bool((getattr(cls, 'METAINFO', None) or {}).get('classes'))
    return base_named(cls, 'BaseDetDataset', 'mmdet') is not None
