"""Data sets of real adverse conditions: what one is, and the register of all.

A set is one record in a module of this folder: its name, how its files are told by their names, how its
labels are encoded, its conditions, its protocol and where this is from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from re import Pattern
from typing import Any, NamedTuple

from fan_mm.datasets.shifts.label_maps import LABEL_MAPS


@dataclass(frozen=True)
class Condition:
    """The pictures of one condition, as found in a folder, each once.

    Attributes:
        name: 'fog', 'night', 'beta_0.02', 'rain/night'; 'all' where a set has none.
        split: of the set, such as 'val'.
        folder: in which the set was found.
        images: sorted paths.
        labels: of the images, in their order; empty where they are withheld, and for detection.
        encoding: of the labels, a name in ``LABEL_MAPS``; '' where there are none, and for detection.
        unlabelled: pictures that were left out for want of a label.
        labels_folder: where else labels were looked for: Cityscapes, for sets made of it.
        notes: what a report has to say of how the files were found.
        ann_file: detection: the file with the boxes.
        image_root: detection: what the file's names are relative to.
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

    @property
    def scored(self) -> tuple[int, ...]:
        """The trainIds that these labels can hold (IDD level 3: 17 of 19); others are not scored."""
        return LABEL_MAPS[self.encoding].scored if self.encoding else ()


class Named(NamedTuple):
    """What the name of a file and of its folders say.

    Attributes:
        key: the same for a picture and its label.
        encodings: of a label: those that its name stands for, the usual first; () for a picture.
        split: '' where they do not say.
        condition: '' where they do not say.
        copy: tells pictures with one key apart: nine files of one Cityscapes scene in three fogs.
        rank: of several files of one picture, those of the lowest count.
    """

    key: str
    encodings: tuple[str, ...] = ()
    split: str = ''
    condition: str = ''
    copy: str = ''
    rank: int = 0


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
        weather: condition -> 'fog', 'night', 'rain', 'snow', 'clear', where it is one of them.
        protocol: what published scores are, in words; what is not known of it, and what is our own.
        source: where this record's facts are from.
        licence: in words.
        marks: of a path in the set that no other set has; tells whose folder was given by mistake.
    """

    name: str
    title: str
    task: str = 'segmentation'
    dataset_type: str
    splits: tuple[str, ...]
    withheld: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ('all',)
    weather: Mapping[str, str] = field(default_factory=dict)
    protocol: str
    source: str
    licence: str
    marks: Pattern[str]

    def find(
        self,
        folder: Path,
        split: str | None = None,
        labels: Path | None = None,
        encoding: str | None = None,
    ) -> tuple[Condition, ...]:
        """Find the set's files, in whatever nesting people have them.

        Args:
            folder: anywhere above the files.
            split: one of `splits`; None for the default.
            labels: where labels are, if not below ``folder``: Cityscapes, for sets made of it.
            encoding: of the labels, where a set leaves a choice (Mapillary's maps).

        Returns:
            The conditions that are there, in the order of `conditions`.

        Raises:
            InputError: no such folder or split, another set's folder, no labels, or a mixture; a line.
        """
        raise NotImplementedError

    def dataset(self, condition: Condition) -> dict[str, Any]:
        """The config of a dataset that reads a condition, without its pipeline."""
        raise NotImplementedError


SHIFT_SETS: dict[str, ShiftSet] = {}


def add(record: ShiftSet) -> ShiftSet:
    """Enter a set into the register."""
    if record.name in SHIFT_SETS:
        raise KeyError(f'{record.name} is there already')
    SHIFT_SETS[record.name] = record
    return record
