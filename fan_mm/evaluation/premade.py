"""Corrupted images that somebody generated, read in the place of the clean ones.

``tools/make_corrupted_dataset.py``, the official scripts and Hendrycks's ImageNet-C write
``ROOT/<corruption>/<severity>/...`` or ``ROOT/<corruption>_<severity>/...`` (`fan_mm.datasets.corrupted`);
below that lies the same tree as below the clean images' folder. How many folders of the clean path
belong to that tree is found by looking. Where ImageNet's clean images lie in one folder, with a list
of labels beside them, the class folders of ImageNet-C are found by the files' names.
"""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from mmcv.transforms import BaseTransform

from fan_mm.datasets.corrupted import LAYOUTS
from fan_mm.datasets.corrupted.manifest import MANIFEST, read_manifest
from fan_mm.errors import InputError
from fan_mm.evaluation.cells import Cell

_SUFFIXES = ('.png', '.jpg', '.jpeg', '.JPEG', '.JPG', '.PNG')
_CELL_FOLDERS = tuple(dict.fromkeys(layout.cell for layout in LAYOUTS.values()))


@dataclass(frozen=True)
class PremadeImages:
    """A folder of corrupted images.

    Attributes:
        root: the folder.
        cell_folder: folder of a cell below it, such as '{corruption}/{severity}'.
        depth: how many of the last parts of a clean image's path its copy has, the file name included.
        class_folders: folder of a copy below its cell, by file name without suffix, if the clean
            images have no class folders.
    """

    root: Path
    cell_folder: str
    depth: int
    class_folders: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def find(
        cls, root: str | os.PathLike, cells: Sequence[Cell], clean_paths: Sequence[str]
    ) -> 'PremadeImages':
        """Recognise the layout below ``root`` and check that every image of every cell is there.

        Args:
            root: the folder.
            cells: the corrupted cells that will be read.
            clean_paths: paths of all clean images that will be evaluated.

        Raises:
            InputError: no known layout, or images are missing; says which.
        """
        root = Path(root)
        for cell in cells:
            for cell_folder in _CELL_FOLDERS:
                for depth in range(1, len(PurePath(clean_paths[0]).parts)):
                    candidate = cls(root, cell_folder, depth)
                    if candidate.path(cell, clean_paths[0]) is not None:
                        candidate.check(cells, clean_paths)
                        return candidate
        for cell in cells:
            for cell_folder in _CELL_FOLDERS:
                folder = cls(root, cell_folder, 1).folder(cell)
                candidate = cls(root, cell_folder, 1, _class_folders(folder, clean_paths))
                if candidate.class_folders:
                    candidate.check(cells, clean_paths)
                    return candidate
        first = cells[0]
        expected = ' or '.join(
            str(root / folder.format(corruption=first.corruption, severity=first.severity))
            for folder in _CELL_FOLDERS
        )
        raise InputError(
            f'{root} has no copy of {PurePath(clean_paths[0]).name} for {first}: expected it below '
            f'{expected}; generate it with tools/make_corrupted_dataset.py'
        )

    def folder(self, cell: Cell) -> Path:
        """Folder of a cell."""
        return self.root / self.cell_folder.format(
            corruption=cell.corruption, severity=cell.severity
        )

    def path(self, cell: Cell, clean_path: str) -> Path | None:
        """The corrupted copy of an image, whatever its suffix; None if there is none."""
        copy = self.folder(cell) / self._below(clean_path)
        candidates = (copy.with_suffix(suffix) for suffix in (copy.suffix, *_SUFFIXES))
        return next((path for path in candidates if path.exists()), None)

    def _below(self, clean_path: str) -> PurePath:
        """Path of an image's copy below the folder of a cell."""
        path = PurePath(*PurePath(clean_path).parts[-self.depth :])
        return PurePath(self.class_folders.get(path.stem, ''), path)

    def check(self, cells: Sequence[Cell], clean_paths: Sequence[str]) -> None:
        """Raise InputError unless every image of every cell is there (listing each folder once)."""
        wanted: dict[PurePath, set[str]] = {}
        for path in clean_paths:
            below = self._below(path)
            wanted.setdefault(below.parent, set()).add(below.stem)
        for cell in cells:
            for parent, stems in wanted.items():
                folder = self.folder(cell) / parent
                there = (
                    {PurePath(name).stem for name in os.listdir(folder)} if folder.is_dir() else ()
                )
                missing = stems.difference(there)
                if missing:
                    raise InputError(
                        f'{folder} lacks {len(missing)} of {len(stems)} images of {cell}, such as '
                        f'{min(missing)}: generate them with tools/make_corrupted_dataset.py, or '
                        'leave the cell out'
                    )

    def check_labels(self, clean_paths: Sequence[str], labels: Sequence[int | None]) -> None:
        """Compare the labels of clean images without class folders with the class folders of their copies.

        A list of labels in another order of classes than ImageNet's gives a wrong score in silence.

        Args:
            clean_paths: of the clean images.
            labels: of the same images.

        Raises:
            InputError: a class folder has copies of images of two labels, or the labels do not follow
                the order of the folders, which are WordNet ids.
        """
        if not self.class_folders or not all(isinstance(label, int) for label in labels):
            return
        label_of: dict[str, int] = {}
        for path, label in zip(clean_paths, labels, strict=True):
            folder = self._below(path).parent.name
            if label_of.setdefault(folder, label) != label:
                raise InputError(
                    f'{path} has label {label}, but its copy lies in {folder} with those of label '
                    f'{label_of[folder]}: the list of labels is of other images'
                )
        folders = sorted(label_of)
        if len(set(label_of.values())) < len(folders):
            return  # labels of coarser classes, in whatever order
        if not all(re.fullmatch(r'n\d{8}', folder) for folder in folders):
            return
        for before, after in itertools.pairwise(folders):
            if label_of[before] > label_of[after]:
                raise InputError(
                    f'{before} has label {label_of[before]} and {after} {label_of[after]}: the list of '
                    'labels beside the clean images has another order of classes than the WordNet '
                    "ids' (ImageNet's, in which models are trained)"
                )

    def protocol(self) -> dict[str, Any]:
        """How they were made: 'seed', 'channel_order', 'corruption_version'; None where not known.

        Known of folders with a ``manifest.json`` of ``tools/make_corrupted_dataset.py``.
        """
        manifest = self._manifest() or {'options': {}}
        options = manifest['options']
        return {
            'seed': options.get('seed'),
            'channel_order': options.get('channel_order'),
            'corruption_version': manifest.get('corruption_version'),
        }

    def identity(self) -> str:
        """Short text that tells one generated set from another: of its manifest, else its path.

        How far the generator has got does not matter.
        """
        manifest = self._manifest()
        if manifest is None:
            return str(self.root.resolve())
        deciding = {name: manifest[name] for name in ('corruption_version', 'versions', 'sources')}
        options = {name: v for name, v in manifest['options'].items() if name != 'cells'}
        text = json.dumps({**deciding, 'options': options}, sort_keys=True)
        return f'generated, {hashlib.sha256(text.encode()).hexdigest()[:16]}'

    def _manifest(self) -> dict | None:
        return read_manifest(self.root) if (self.root / MANIFEST).exists() else None


def _class_folders(folder: Path, clean_paths: Sequence[str]) -> dict[str, str]:
    """Class folder of every image that lies in one of ``folder``'s, by its name without suffix.

    Empty if names do not tell the images apart.
    """
    wanted = {PurePath(path).stem for path in clean_paths}
    found: dict[str, str] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        if (folder / name).is_dir():
            stems = wanted.intersection(PurePath(file).stem for file in os.listdir(folder / name))
            if stems & found.keys():
                return {}
            found |= dict.fromkeys(stems, name)
    return found if len(wanted) == len(clean_paths) else {}


class ReadPremade(BaseTransform):
    """Point the sample to its corrupted file, before it is loaded.

    Required and modified key: ``img_path``. ``corruption`` and ``severity`` are set from outside.

    Args:
        images: where the files are.
    """

    def __init__(self, images: PremadeImages) -> None:
        self.images = images
        self.corruption = 'clean'
        self.severity = 0

    def transform(self, results: dict) -> dict:
        """Replace ``results['img_path']``."""
        path = self.images.path(Cell(self.corruption, self.severity), results['img_path'])
        if path is None:
            raise FileNotFoundError(
                f'{self.images.folder(Cell(self.corruption, self.severity))} has no copy of '
                f'{results["img_path"]}'
            )
        results['img_path'] = str(path)
        return results
