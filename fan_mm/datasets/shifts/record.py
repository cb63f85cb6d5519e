"""Data sets of real adverse conditions: what one is, and the register of all.

A set is one record in a module of this folder: its name, how its files are recognised by their names,
how its labels are encoded, its conditions, its protocol and the sources of these facts.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from re import Pattern
from typing import Any

from fan_mm.datasets.shifts.label_maps import LABEL_MAPS
from fan_mm.errors import InputError


@dataclass(frozen=True)
class Condition:
    """The images of one condition, as found in a folder, each once.

    Attributes:
        name: 'fog', 'night', 'beta_0.02', 'rain/night'; 'all' where a set has none.
        split: of the set, such as 'val', or a list file.
        folder: in which the set was found.
        images: their paths, sorted, or in the order of a list.
        labels: of the images, in their order; empty where they are withheld, and for detection.
        encoding: of the labels, a name in ``LABEL_MAPS``; '' where there are none, and for detection.
        unlabelled: images that were left out for want of a label.
        labels_folder: where else labels were looked for: Cityscapes, for datasets derived from it.
        notes: remarks for the report on how the files were found.
        ann_file: detection: the file with the boxes.
        image_root: detection: what the file's names are relative to.
        masks: detection: whether each object of the file has a mask, too.
    """

    name: str
    split: str
    folder: Path
    images: tuple[Path, ...]
    labels: tuple[Path, ...] = ()
    encoding: str = ''
    unlabelled: tuple[Path, ...] = ()
    labels_folder: Path | None = None
    notes: tuple[str, ...] = ()
    ann_file: Path | None = None
    image_root: Path | None = None
    masks: bool = False

    @property
    def scored(self) -> tuple[int, ...]:
        """The trainIds that these labels can hold (IDD level 3: 17 of 19); others are not scored."""
        return LABEL_MAPS[self.encoding].scored if self.encoding else ()


@dataclass(frozen=True, kw_only=True)
class ShiftSet:
    """A data set, as a record.

    Attributes:
        name: 'dark_zurich'; its option is ``--dark-zurich``.
        title: 'Dark Zurich'.
        task: 'segmentation' (19 Cityscapes classes) or 'detection'.
        dataset_type: what a training config reads it with: a name in mmengine's, mmseg's or mmdet's
            ``DATASETS``.
        splits: the default first.
        withheld: splits whose labels only a server has.
        conditions: names in the order of tables; others that folders show follow.
        splits_differ: whether not every split has all conditions.
        singly: whether papers use one condition alone as well as all together.
        counts: split -> how many images with labels it has as published: of each condition, or, where only
            that is known, of all together.
        weather: condition -> 'fog', 'night', 'rain', 'snow' or 'clear', if it is exactly one of them.
        files: the layout expected, in a line, for messages.
        protocol: what published scores are, in words; what is not known of it, and what is our own.
        source: where this record's facts are from.
        licence: in words.
        marks: pattern of the paths that only files of this set have, by which a folder of another set,
            given by mistake, is recognised.
    """

    name: str
    title: str
    task: str = 'segmentation'
    dataset_type: str
    splits: tuple[str, ...]
    withheld: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ('all',)
    splits_differ: bool = False
    singly: bool = False
    counts: Mapping[str, Mapping[str, int] | int] = field(default_factory=dict)
    weather: Mapping[str, str] = field(default_factory=dict)
    files: str
    protocol: str
    source: str
    licence: str
    marks: Pattern[str]

    @property
    def option(self) -> str:
        """The option of the command line that names the set's folder: of ACDC one for labels and boxes."""
        return '--' + self.name.removesuffix('_boxes').replace('_', '-')

    @property
    def choice(self) -> str:
        """The name of a set in options that choose something of it: ``--split acdc=train``."""
        return self.option.removeprefix('--')

    def find(
        self,
        folder: str | os.PathLike,
        split: str | None = None,
        labels: str | os.PathLike | None = None,
        encoding: str | None = None,
    ) -> tuple[Condition, ...]:
        """Find the set's files, in whatever nesting people have them.

        Args:
            folder: anywhere above the files.
            split: one of `splits`, or a list of names (``*.txt``, anywhere or below ``folder``); None for
                the default.
            labels: where labels are, if not below ``folder``: Cityscapes, for datasets derived from it; or
                the files with boxes.
            encoding: of the labels, where a set leaves a choice (Mapillary's maps).

        Returns:
            The conditions that are there, in the order of `conditions`.

        Raises:
            InputError: no such folder or split, another set's folder, no labels, or a mixture; a line.
        """
        where = Path(labels) if labels else None
        return self._find(Path(folder), self.split_of(split), where, encoding)

    def _find(
        self, folder: Path, split: str, labels: Path | None, encoding: str | None
    ) -> tuple[Condition, ...]:
        raise NotImplementedError

    def dataset(self, condition: Condition) -> dict[str, Any]:
        """The config of a dataset that reads a condition as it was found, without its pipeline."""
        raise NotImplementedError

    def lacking(self, found: Sequence[Condition]) -> list[str]:
        """The conditions of a split that are missing in a folder; none for a list of names."""
        names = {condition.name for condition in found}
        if (
            self.splits_differ
            or (self.singly and len(names) == 1)
            or found[0].split not in self.splits
            or not names & {*self.conditions}
        ):
            return []
        return [name for name in self.conditions if name not in names]

    def published(self, found: Sequence[Condition]) -> dict[str, int]:
        """The published numbers of images of some conditions of a split, and of 'all' of them, where known."""
        counts = self.counts.get(found[0].split, {})
        if isinstance(counts, int):
            return {} if self.lacking(found) else {'all': counts}
        names = [condition.name for condition in found]
        if names == ['all']:
            return {'all': sum(counts.values())} if counts else {}
        known = {name: counts[name] for name in names if name in counts}
        return {**known, 'all': sum(known.values())} if len(known) == len(names) else known

    def split_of(self, split: str | None) -> str:
        """The split that is meant.

        Raises:
            InputError: the set has none of this name.
        """
        split = split or self.splits[0]
        lists = self.task == 'segmentation'  # can be read in part; a file with boxes is whole
        if split not in self.splits and not (lists and split.endswith('.txt')):
            raise InputError(
                f'{self.title} has no split {split!r}: choose from {", ".join(self.splits)}'
                f'{", or a list of names (*.txt)" if lists else ""}'
            )
        return split

    def refuse(self, folder: Path, files: list[tuple[str, ...]]) -> None:
        """Say that a folder has no images of the set, and which set it looks like.

        Raises:
            InputError: always.
        """
        paths = ['/'.join(parts) for parts in files]
        other = next((s for s in others(self) if any(map(s.marks.search, paths))), None)
        looks = f'; it looks like {other.title} ({other.option})' if other else ''
        raise InputError(f'{folder} has no images of {self.title}; expected: {self.files}{looks}')

    def refuse_mixture(self, folder: Path, pictures: list[tuple[str, ...]]) -> None:
        """Refuse a folder where images of another set would be taken for this one's.

        Raises:
            InputError: one is there.
        """
        rivals = others(self)
        for parts in pictures:
            path = '/'.join(parts)
            if self.marks.search(path):
                continue
            for other in rivals:
                if other.marks.search(path):
                    raise InputError(
                        f'{folder} is not {self.title}: {path} belongs to {other.title} ({other.option})'
                    )


SHIFT_SETS: dict[str, ShiftSet] = {}


def add(record: ShiftSet) -> ShiftSet:
    """Add a set to the register."""
    if record.name in SHIFT_SETS:
        raise KeyError(f'{record.name} already exists')
    SHIFT_SETS[record.name] = record
    return record


def others(record: ShiftSet) -> list[ShiftSet]:
    """The other sets, except those that share its files (ACDC's boxes, ACDC's label maps)."""
    return [s for s in SHIFT_SETS.values() if s.marks.pattern != record.marks.pattern]
