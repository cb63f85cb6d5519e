"""Existing corrupted images, read instead of the clean ones.

``tools/make_corrupted_dataset.py``, the official scripts and Hendrycks's ImageNet-C write
``ROOT/<corruption>/<severity>/...`` or ``ROOT/<corruption>_<severity>/...`` (`fan_mm.datasets.corrupted`).
If each archive of ImageNet-C was unpacked into its own folder, the path starts with the archive's name
(``ROOT/noise/<corruption>/<severity>/...``). Below, the folder structure is that of the clean images; how many
folders of the clean path belong to it is determined from existing files. If ImageNet's clean images are in one
folder with a list of labels, the class folders of ImageNet-C are found by file name.
"""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from mmcv.transforms import BaseTransform

from fan_mm.corruptions import CORRUPTIONS, GROUPS, HOLD_OUTS, SEVERITIES
from fan_mm.datasets.corrupted import LAYOUTS
from fan_mm.datasets.corrupted.manifest import MANIFEST, read_manifest
from fan_mm.errors import InputError
from fan_mm.evaluation import identity
from fan_mm.evaluation.cells import Cell
from fan_mm.evaluation.samples import spread
from fan_mm.images import SUFFIXES
from fan_mm.picture_files import refuse_cut

_SUFFIXES = tuple(s for suffix in SUFFIXES for s in (suffix, suffix.upper()))
_ARCHIVED = '{archive}/{corruption}/{severity}'  # each of ImageNet-C's archives in its own folder
_CELL_FOLDERS = (*dict.fromkeys(layout.cell for layout in LAYOUTS.values()), _ARCHIVED)
_ARCHIVES = {name: group for group, names in GROUPS.items() for name in names}
_ARCHIVES |= dict.fromkeys(HOLD_OUTS, 'extra')


@dataclass(frozen=True)
class PremadeImages:
    """A folder of corrupted images.

    Attributes:
        root: the folder.
        cell_folder: folder of a cell relative to ``root``, such as '{corruption}/{severity}'.
        depth: number of last parts that a clean image's path shares with its copy, including the file
            name.
        above: parts of the clean folder that corresponds to a cell's folder; images below it share all
            following parts of their path with their copies, whatever their number.
        class_folders: file name without suffix -> folder of the copy in its cell, if the clean images
            have no class folders.
    """

    root: Path
    cell_folder: str
    depth: int
    above: tuple[str, ...] = ()
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
            InputError: no known layout, or images are missing; the message names them.
        """
        root = Path(root)
        refused = []
        for candidate in cls._candidates(root, cells, clean_paths):
            try:
                candidate.check(cells, clean_paths)
            except InputError as error:
                refused.append(error)
            else:
                return candidate
        if refused:
            raise refused[0]
        first = cells[0]
        expected = ' or '.join(
            str(cls(root, cell_folder, 1).folder(first)) for cell_folder in _CELL_FOLDERS
        )
        raise InputError(
            f'{root} has no copy of {PurePath(clean_paths[0]).name} for {first}: expected it below '
            f'{expected}; generate it with tools/make_corrupted_dataset.py'
        )

    @classmethod
    def _candidates(
        cls, root: Path, cells: Sequence[Cell], clean_paths: Sequence[str]
    ) -> Iterator['PremadeImages']:
        """The layouts in which the first clean image has a copy for some cell."""
        tried = set()
        parts = PurePath(clean_paths[0]).parts
        depths = range(1, len(parts))
        for cell, cell_folder, depth in itertools.product(cells, _CELL_FOLDERS, depths):
            candidate = cls(root, cell_folder, depth, parts[:-depth])
            if (cell_folder, depth) not in tried and candidate.path(cell, clean_paths[0]):
                tried.add((cell_folder, depth))
                yield candidate
        if tried:
            return
        for cell, cell_folder in itertools.product(cells, _CELL_FOLDERS):
            folder = cls(root, cell_folder, 1).folder(cell)
            if class_folders := _class_folders(folder, clean_paths):
                yield cls(root, cell_folder, 1, class_folders=class_folders)
                return

    def folder(self, cell: Cell) -> Path:
        """Folder of a cell."""
        return self.root / self.cell_folder.format(
            archive=_ARCHIVES.get(cell.corruption),
            corruption=cell.corruption,
            severity=cell.severity,
        )

    def path(self, cell: Cell, clean_path: str) -> Path | None:
        """The corrupted copy of an image, whatever its suffix; None if there is none."""
        copy = self.folder(cell) / self._below(clean_path)
        candidates = (copy.with_suffix(suffix) for suffix in (copy.suffix, *_SUFFIXES))
        return next((path for path in candidates if path.exists()), None)

    def _below(self, clean_path: str) -> PurePath:
        """Path of an image's copy below the folder of a cell."""
        parts = PurePath(clean_path).parts
        known = self.above and parts[: len(self.above)] == self.above
        path = PurePath(*parts[len(self.above) if known else -self.depth :])
        return PurePath(self.class_folders.get(path.stem, ''), path)

    def check(self, cells: Sequence[Cell], clean_paths: Sequence[str]) -> None:
        """Raise InputError unless every image of every cell has a copy of its own.

        Every folder is listed only once, and files are opened only if their names require it.
        """
        self._check_severities({cell.corruption for cell in cells})
        wanted: dict[PurePath, dict[str, str]] = {}  # folder -> name -> clean image
        for path in clean_paths:
            below = self._below(path)
            names = wanted.setdefault(below.parent, {})
            if not _same(names.setdefault(below.name, path), path):
                raise _shared(names[below.name], path, self.folder(cells[0]) / below)
        alike = {parent: _alike(names) for parent, names in wanted.items()}
        stems = {
            parent: {os.path.splitext(name)[0] for name in names}
            for parent, names in wanted.items()
        }
        for cell in cells:
            listed: dict[tuple[int, int], PurePath] = {}  # to detect links to the same folder
            for parent in wanted:
                folder = self.folder(cell) / parent
                self._check_folder(cell, folder, stems[parent])
                for group in alike[parent]:
                    self._check_apart(cell, [wanted[parent][name] for name in group])
                place = os.stat(folder)
                other = listed.setdefault((place.st_dev, place.st_ino), parent)
                if other != parent and (both := stems[other] & stems[parent]):
                    pair = [_of_stem(wanted[p], min(both)) for p in (other, parent)]
                    self._check_apart(cell, pair)

    def _check_severities(self, corruptions: Iterable[str]) -> None:
        """Raise InputError where folders count from 0, as in ``for severity in range(5)``: each is one too strong."""
        for name in sorted(corruptions):
            folders = [self.folder(Cell(name, severity)) for severity in (0, *SEVERITIES)]
            if [folder.is_dir() for folder in folders] == [True] * 5 + [False]:
                raise InputError(
                    f'{folders[0]} to {folders[4].name} are there, but not {folders[5].name}: severities are 1 to 5; '
                    f'if 0 is severity 1, rename the folders, else remove {folders[0].name}'
                )

    def _check_folder(self, cell: Cell, folder: Path, stems: set[str]) -> None:
        there = (
            {os.path.splitext(name)[0] for name in os.listdir(folder)} if folder.is_dir() else set()
        )
        missing = stems - there
        if missing:
            raise InputError(
                f'{folder} lacks {len(missing)} of {len(stems)} images of {cell}, such as '
                f'{min(missing)}: generate them with tools/make_corrupted_dataset.py, or '
                'leave the cell out'
            )

    def _check_apart(self, cell: Cell, clean_paths: Sequence[str]) -> None:
        """Raise InputError where clean images of similar names would read one copy."""
        copies = {path: self.path(cell, path) for path in clean_paths}
        for (first, copy), (second, other) in itertools.combinations(copies.items(), 2):
            if copy and other and os.path.samefile(copy, other) and not _same(first, second):
                raise _shared(first, second, copy)

    def check_labels(self, clean_paths: Sequence[str], labels: Sequence[int | None]) -> None:
        """Compare the labels of clean images without class folders with the class folders of their copies.

        Labels in another class order than ImageNet's would silently give a wrong score.

        Raises:
            InputError: a class folder has copies of images of two labels, or the labels do not follow
                the order of the folders, which are WordNet ids.
        """
        numbers = [label for label in labels if isinstance(label, int)]
        if not self.class_folders or len(numbers) < len(labels):
            return
        label_of: dict[str, int] = {}
        for path, label in zip(clean_paths, numbers, strict=True):
            folder = self._below(path).parent.name
            if label_of.setdefault(folder, label) != label:
                raise InputError(
                    f'{path} has label {label}, but its copy is in {folder} with those of label '
                    f'{label_of[folder]}: the list of labels belongs to other images'
                )
        folders = sorted(label_of)
        if len(set(label_of.values())) < len(folders):
            return  # labels of coarser classes, whose order is unknown
        if not all(re.fullmatch(r'n\d{8}', folder) for folder in folders):
            return
        for before, after in itertools.pairwise(folders):
            if label_of[before] > label_of[after]:
                raise InputError(
                    f'{before} has label {label_of[before]} and {after} {label_of[after]}: the list of '
                    'labels next to the clean images has another class order than the WordNet ids (that of '
                    'ImageNet, used by trained models)'
                )

    def protocol(self) -> dict[str, Any]:
        """How they were made: 'seed', 'channel_order', 'corruption_version'; None where not known.

        Known for folders with a ``manifest.json`` of ``tools/make_corrupted_dataset.py``.
        """
        manifest = self._manifest() or {'options': {}}
        options = manifest['options']
        return {
            'seed': options.get('seed'),
            'channel_order': options.get('channel_order'),
            'corruption_version': manifest.get('corruption_version'),
        }

    def check_made(self, asked: Mapping[str, Any]) -> None:
        """Check that the files match the requested options; unknown options are not checked.

        Args:
            asked: requested values of `protocol`; None for any.

        Raises:
            InputError: they were made otherwise.
        """
        made = self.protocol()
        for name, value in asked.items():
            if value is not None and made[name] not in (None, value):
                raise InputError(
                    f'--{name.replace("_", "-")} {value}: the files of {self.root} were made with '
                    f'{made[name]}; leave out the option or the files'
                )

    def origin(self) -> str:
        """Short text on how a set was made: from its manifest, if it has one.

        Does not depend on the progress of the generator.
        """
        manifest = self._manifest()
        if manifest is None:
            return 'files without a manifest'
        deciding = {name: manifest[name] for name in ('corruption_version', 'versions')}
        deciding['sources'] = {n: manifest['sources'][n] for n in ('images', 'sha256')}
        options = {name: v for name, v in manifest['options'].items() if name != 'cells'}
        text = json.dumps({**deciding, 'options': options}, sort_keys=True)
        return f'generated, {hashlib.sha256(text.encode()).hexdigest()[:16]}'

    def identity(self) -> str:
        """Short text that identifies a generated set, wherever it is stored.

        `origin`; without a manifest, also a fingerprint of all files in the folder.
        """
        if self._manifest() is not None:
            return self.origin()
        cells = {str(cell): self.contents(cell) for cell in self._cells()}
        return f'{self.origin()}, {hashlib.sha256(repr(cells).encode()).hexdigest()[:16]}'

    def contents(self, cell: Cell, clean_paths: Sequence[str] | None = None) -> str:
        """Fingerprint of a cell's copies: the names, sizes and bytes of a sample.

        Args:
            cell: the cell.
            clean_paths: paths of the clean images whose copies are included; None for all files.
        """
        if clean_paths is None:
            files = sorted(p for p in self.folder(cell).rglob('*') if p.suffix in _SUFFIXES)
        else:
            chosen = spread(len(clean_paths), identity.SAMPLE)
            files = [path for i in chosen if (path := self.path(cell, clean_paths[i]))]
        return identity.contents_of(files)

    def _cells(self) -> list[Cell]:
        """The cells that have a folder."""
        cells = [Cell(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
        return [cell for cell in cells if self.folder(cell).is_dir()]

    def _manifest(self) -> dict | None:
        return read_manifest(self.root) if (self.root / MANIFEST).exists() else None


def _alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of several names that differ in suffix or case alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(os.path.splitext(name)[0].casefold(), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _of_stem(names: Mapping[str, str], stem: str) -> str:
    """The clean image whose name without suffix is ``stem``."""
    return next(path for name, path in names.items() if os.path.splitext(name)[0] == stem)


def _same(first: str, second: str) -> bool:
    """Whether two paths name one image."""
    if first == second or os.path.abspath(first) == os.path.abspath(second):
        return True
    try:
        return os.path.samefile(first, second)
    except OSError:  # on a remote backend
        return False


def _shared(first: str, second: str, copy: PurePath) -> InputError:
    return InputError(
        f'{first} and {second} would both read {copy}, which is the copy of one of them: '
        'generate copies with the same folders as the images, or evaluate them separately'
    )


def _class_folders(folder: Path, clean_paths: Sequence[str]) -> dict[str, str]:
    """Class folder of every image that lies in one of ``folder``'s, by its name without suffix.

    Empty if a name occurs in two of them.

    Raises:
        InputError: names do not tell the clean images apart.
    """
    images: dict[str, str] = {}
    twice = [p for p in clean_paths if not _same(images.setdefault(PurePath(p).stem, p), p)]
    found: dict[str, str] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        if (folder / name).is_dir():
            stems = images.keys() & {PurePath(file).stem for file in os.listdir(folder / name)}
            if stems & found.keys():
                return {}
            found |= dict.fromkeys(stems, name)
    if found and twice:
        one = PurePath(twice[0])
        raise InputError(
            f'{folder} has no copy of {one.name} alone: {images[one.stem]} and {one} would both '
            'read it; images in one folder need distinct names'
        )
    return found


class ReadPremade(BaseTransform):
    """Replace the sample's path by that of its corrupted file, before it is loaded.

    Required and modified key: ``img_path``. ``corruption`` and ``severity`` are set by `CellPipeline`.
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
        refuse_cut(results)
        return results
