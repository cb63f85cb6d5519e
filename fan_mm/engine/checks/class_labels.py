"""Class labels in the JSON files of mmpretrain's datasets: numbers of classes, not one value for each class."""

from collections.abc import Mapping, Sequence
from typing import Any

from fan_mm.engine.config.registered import base_named, inherits
from fan_mm.errors import InputError

_METHODS = ('load_data_list', 'parse_data_info', 'get_data_info', 'prepare_data', '__getitem__')


def reads_json(cls: Any) -> bool:
    """Whether a class is a dataset of mmpretrain's that takes mmengine's list of samples as it is."""
    return base_named(cls, 'BaseDataset', 'mmpretrain') is not None and inherits(
        cls, 'BaseDataset', 'mmengine', *_METHODS
    )


def check_class_labels(place: str, dataset: Any, number: int | None, lowest: int = 0) -> None:
    """Check the labels in a JSON file.

    Args:
        place: where the dataset stands in the config.
        dataset: a lazily built dataset for which `reads_json` is true.
        number: the model's number of classes; None if its config does not specify it, or for a retriever, which
            is tested on other classes.
        lowest: the lowest label; -1 for images without labels, of which no score is computed.

    Raises:
        InputError: a label is not a class, or occurs twice; or labels are lists with a value per class, which
            mmpretrain would interpret as the classes 0 and 1.
    """
    samples = dataset.load_data_list()
    classes = dataset.CLASSES
    known = number or (len(classes) if classes else None)
    found = {
        sample.get('img_path', f'sample {index}'): sample.get('gt_label')
        for index, sample in enumerate(samples)
    }
    _check(f'{place}: {dataset.ann_file}', found, known, lowest)


def check_task_labels(place: str, dataset: Any, heads: Mapping[str, Any]) -> None:
    """Check the labels of each task in a file of mmpretrain's ``MultiTaskDataset``, as `check_class_labels` does.

    Args:
        place: where the dataset stands in the config.
        dataset: the built dataset.
        heads: configs of the tasks' heads.

    Raises:
        InputError: see `check_class_labels`.
    """
    for task, head in heads.items():
        given = {s['img_path']: s['gt_label'] for s in dataset.data_list}
        labels = {path: tasks.get(task) for path, tasks in given.items() if isinstance(tasks, dict)}
        _check(f'{place}: {dataset.ann_file}, task {task}', labels, head.get('num_classes'))


def _check(where: str, labels: Mapping[str, Any], number: int | None, lowest: int = 0) -> None:
    if one := _value_per_class(list(labels.values()), number):
        numbers = [index for index, value in enumerate(one) if value]
        raise InputError(
            f'{where}: gt_label has a value for each class, such as {one}, but mmpretrain takes the numbers of the '
            f'classes that an image has, {numbers}'
        )
    for path, label in labels.items():
        if isinstance(label, list) and (twice := [x for x in label if label.count(x) > 1]):
            raise InputError(
                f'{where}: {path} has the label {twice[0]} more than once, for which mmpretrain makes a target of '
                f'{label.count(twice[0])} that no prediction fulfils: give each class once'
            )
        for value in label if isinstance(label, list) else [label]:
            if isinstance(value, int) and (value < lowest or (number and value >= number)):
                most = f'0..{number - 1}' if number else '0 and above'
                raise InputError(f'{where}: {path} has the label {value}; labels are {most}')


def _value_per_class(labels: Sequence[Any], number: int | None) -> list[int] | None:
    """The first label that cannot be numbers of classes, where each has a 0 or 1 for each class."""
    lists = [label for label in labels if isinstance(label, list)]
    lengths = {len(label) for label in lists}
    if len(lists) < len(labels) or len(lengths) != 1 or (number and lengths != {number}):
        return None
    if any(value not in (0, 1) for label in lists for value in label):
        return None
    return next((label for label in lists if len(set(label)) < len(label)), None)
