"""Mistakes in the config of a classifier: class folders, the teacher of STL."""

import os
from pathlib import Path

from fan_mm.errors import InputError


def check_class_folders(place: str, cls: type, dataset: dict) -> None:
    """Check that every class of an mmpretrain dataset has its folder with at least one image.

    Args:
        place: where the dataset stands in the config.
        cls: its class, mmpretrain's ``CustomDataset`` or derived from it.
        dataset: its config.

    Raises:
        InputError: no class folders, too many or too few, or an empty one.
    """
    options = {key: value for key, value in dataset.items() if key != 'type'}
    built = cls(**options | dict(pipeline=[], lazy_init=True))
    folder = Path(built.img_prefix)
    if built.ann_file or not built.with_label or not folder.parent.exists():
        return  # files and labels are listed, or there are no labels, or the root is remote
    if not folder.is_dir():
        raise InputError(f'{place}: no folder {folder}, which should hold a folder for each class')
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    wanted = built.CLASSES
    if not names:
        raise InputError(f'{place}: no class folders in {folder}; images go to {folder}/CLASS/')
    if wanted is not None and len(wanted) != len(names):
        raise InputError(
            f'{place}: {folder} has {len(names)} class folders, but there are {len(wanted)} '
            "classes: list yours as metainfo=dict(classes=[...]) of every split's dataset, and set "
            f'model.head.num_classes={len(names)}'
        )
    for name in names:
        files = (path for _, _, paths in os.walk(folder / name) for path in paths)
        if not any(built.is_valid_file(path) for path in files):
            raise InputError(f'{place}: the class folder {folder / name} has no images')


def teacher_of(model: dict) -> str:
    """The checkpoint that an STL student is to learn from.

    Raises:
        InputError: none is named.
    """
    if not model.get('teacher'):
        raise InputError(
            'model.teacher: an STL student learns from a teacher, trained by a *_stl_teacher_* '
            'config or released: --cfg-options model.teacher=FILE'
        )
    return model['teacher']
