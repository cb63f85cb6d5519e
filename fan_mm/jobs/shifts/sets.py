"""Which sets of real adverse conditions a command names, and the conditions that their folders hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from fan_mm.config_parts import scope_of
from fan_mm.datasets.shifts import SHIFT_SETS, Condition, ShiftSet
from fan_mm.errors import InputError
from fan_mm.evaluation.shifts.submission import SERVERS

TASKS = {'mmseg': 'segmentation', 'mmdet': 'detection'}


def set_for(name: str, task: str) -> ShiftSet:
    """The set that an option names: of ACDC, with label maps for segmenters or boxes for detectors.

    Raises:
        InputError: there is none for models of this task.
    """
    records = [SHIFT_SETS[n] for n in (name, f'{name}_boxes') if n in SHIFT_SETS]
    if not records:
        raise InputError(f'the dataset must be one of {", ".join(SHIFT_SETS)}, not {name!r}')
    for record in records:
        if record.task == task:
            return record
    models = {'segmentation': 'segmenters', 'detection': 'detectors'}
    raise InputError(
        f'{records[0].title} is for {models[records[0].task]}, but the config is for {models[task]}'
    )


def task_of(cfg: Config) -> str:
    scope = scope_of(cfg)
    if scope not in TASKS:
        raise InputError(
            'real adverse conditions are for segmentation models of the 19 Cityscapes classes '
            f'and for detectors, but the config is for {scope or "another library"}'
        )
    return TASKS[scope]


def find_sets(
    folders: Mapping[str, str],
    task: str,
    splits: Mapping[str, str],
    encodings: Mapping[str, str],
    cityscapes: str | None,
    submission: str | None,
) -> dict[str, tuple[Condition, ...]]:
    """The conditions of every set, by the names of the records.

    Raises:
        InputError: there is none; a split or an encoding is of a set that is not given; as `ShiftSet.find`.
    """
    if not folders:
        raise InputError('nothing to evaluate: give a dataset, such as --acdc DIR')
    for what, given in (('split', splits), ('encoding', encodings)):
        for name in given.keys() - folders.keys():
            option = f'--{name.replace("_", "-")}'
            raise InputError(f'--{what} {name}={given[name]}: give {option} DIR, too')
    found = {}
    for name, folder in folders.items():
        record = set_for(name, task)
        of_cityscapes = getattr(record, 'labels_from', '') == 'Cityscapes'
        conditions = record.find(
            Path(folder).expanduser(),
            splits.get(name),
            Path(cityscapes).expanduser() if cityscapes and of_cityscapes else None,
            encodings.get(name),
        )
        if is_withheld(conditions):
            _check_server(record, conditions[0].split, submission)
        found[record.name] = conditions
    return found


def clean_dataset(
    folders: Mapping[str, str], split: Mapping[str, str], encodings: Mapping[str, str]
) -> dict[str, Any] | None:
    """Config of the dataset that is the clean column: a split of a set, of ACDC the reference images.

    Args:
        folders: set -> folder.
        split: set -> split, one of them at most; None without.
        encodings: of a set's labels.

    Raises:
        InputError: there are several, or it is of a set that is not given, or has no labels.
    """
    if not split:
        return None
    (name, wanted), *others = split.items()
    if others or name not in folders:
        raise InputError(
            f'--clean {name}={wanted}: '
            + (
                'there can only be one clean column'
                if others
                else f'give --{name.replace("_", "-")} DIR, too'
            )
        )
    record = set_for(name, 'segmentation')
    conditions = record.find(Path(folders[name]).expanduser(), wanted, encoding=encodings.get(name))
    if is_withheld(conditions):
        raise InputError(f'--clean {name}={wanted}: {record.title} {wanted} has no labels here')
    return {**record.dataset(conditions[0]), 'conditions': [c.name for c in conditions]}


def is_withheld(conditions: Sequence[Condition]) -> bool:
    """Whether the labels of a split are withheld."""
    return not any(c.labels or c.ann_file for c in conditions)


def _check_server(record: ShiftSet, split: str, submission: str | None) -> None:
    """Check that predictions of a split without labels have somewhere to go."""
    with_labels = next((s for s in record.splits if s not in record.withheld), None)
    other = f'--split {record.name}={with_labels} has labels' if with_labels else ''
    if record.name not in SERVERS or split not in ('test', 'testing'):
        raise InputError(
            f'{record.title} {split} has no labels here, and no server is known for its '
            f'predictions: {other}'
        )
    if not submission:
        raise InputError(
            f'the labels of {record.title} {split} are withheld: --submission DIR writes a submission '
            f'for its server, {other}'
        )
