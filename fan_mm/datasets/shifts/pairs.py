"""Images and label maps, recognised by the names of files and folders, and paired."""

import filecmp
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fan_mm.datasets.shifts.label_maps import LABEL_MAPS
from fan_mm.datasets.shifts.paths import files_below, listed_names, nearest
from fan_mm.datasets.shifts.record import Condition, ShiftSet
from fan_mm.errors import InputError


class Named(NamedTuple):
    """What the names of a file and of its folders say.

    Attributes:
        key: the same for an image and its label.
        encodings: of a label: what its values can be read as; () for an image.
        split: '' where they do not say.
        condition: '' where they do not say.
        copy: tells images with one key apart: one Cityscapes scene in three fogs.
        rank: of several files of one image or label, the lowest counts.
    """

    key: str
    encodings: tuple[str, ...] = ()
    split: str = ''
    condition: str = ''
    copy: str = ''
    rank: int = 0


_ENCODINGS = {
    '': (),
    'labelids': ('label_ids',),
    'labeltrainids': ('train_ids',),
    'labellevel3ids': ('idd_level3',),
    'labelcstrainids': ('idd_train_ids',),
}


def encodings_of(match: re.Match) -> tuple[str, ...]:
    """The encoding that the group ``kind`` of a file's name means, in any case; () for an image."""
    return _ENCODINGS[(match.groupdict().get('kind') or '').lower()]


def by_folder(
    parts: Sequence[str],
    folders: Mapping[str, tuple[str, ...] | None],
    splits: Sequence[str] = (),
) -> Named | None:
    """A file of a set whose images and labels have the same names, in different folders.

    Args:
        parts: of its path.
        folders: name of a folder, in lower case -> encodings of the labels in it; () for images, None for
            what is neither. Of several labels of an image the first folder's counts.
        splits: names of folders.
    """
    folder = nearest(parts, folders)
    encodings = folders.get(folder)
    key, suffix = os.path.splitext(parts[-1])
    if encodings is None or suffix.lower() not in (
        '.png',
        *(() if encodings else ('.jpg', '.jpeg')),
    ):
        return None
    rank = list(folders).index(folder)
    return Named(key=key, encodings=encodings, split=nearest(parts, splits), rank=rank)


@dataclass(frozen=True)
class Subset:
    """A split that is no folder of its own.

    Attributes:
        folders: the folders' splits it is taken from; () for all.
        list_file: names its images; '' for all.
        or_labelled: without the list file, its images are those that have a label.
    """

    folders: tuple[str, ...] = ()
    list_file: str = ''
    or_labelled: bool = False


class _File(NamedTuple):
    parts: tuple[str, ...]
    path: Path
    named: Named


@dataclass(frozen=True, kw_only=True)
class SegmentationSet(ShiftSet):
    """A set of images with label maps.

    Attributes:
        encodings: of labels that are read, the preferred first.
        on_request: further ones, read only where the user names them.
        recognise: what a file is, from the parts of its path below the folder; None if it is neither image
            nor label.
        subsets: the splits that are no folder of their own.
        labels_from: 'Cityscapes' where the set has no labels of its own.
        suffixes_mix: whether releases of the set have different image formats.
        make_labels: how to make the label maps that a download lacks, for messages.
        list_conditions: a file's name, and what reads key -> condition from it; for images whose folders
            do not name a condition.
    """

    encodings: tuple[str, ...] = ('train_ids', 'label_ids')
    on_request: tuple[str, ...] = ()
    recognise: Callable[[Sequence[str]], Named | None]
    subsets: Mapping[str, Subset] = field(default_factory=dict)
    labels_from: str = ''
    suffixes_mix: bool = False
    make_labels: str = ''
    list_conditions: tuple[str, Callable[[Path], Mapping[str, str]]] | None = None

    def _find(
        self, folder: Path, split: str, labels: Path | None, encoding: str | None
    ) -> tuple[Condition, ...]:
        return _Search(self, folder, split, labels, encoding).conditions()

    def dataset(self, condition: Condition) -> dict[str, Any]:
        split = condition.split
        if split not in self.splits and os.path.isfile(split):
            split = os.path.abspath(split)  # a list is found from wherever the dataset is built
        config: dict[str, Any] = dict(
            type='ShiftDataset',
            shift=self.name,
            data_root=os.path.abspath(condition.folder),
            split=split,
            conditions=[condition.name],
            encoding=condition.encoding or None,
        )
        if condition.labels_folder is not None:
            config['data_prefix'] = dict(seg_map_path=os.path.abspath(condition.labels_folder))
        return config


class _Search:
    """A search for a set's pairs of images and labels."""

    def __init__(
        self,
        record: SegmentationSet,
        folder: Path,
        split: str,
        labels: Path | None,
        encoding: str | None,
    ) -> None:
        self.set, self.folder, self.split = record, folder, split
        self.labels_folder = labels
        possible = (*record.encodings, *record.on_request)
        if encoding and encoding not in possible:
            raise InputError(
                f'{record.title} can have labels as {", ".join(possible)}, not {encoding!r}'
            )
        self.encodings = (encoding,) if encoding else record.encodings
        self.notes: list[str] = []
        self.files = files_below(folder, record.title)
        named = self._named(folder, self.files)
        self.pictures = [file for file in named if not file.named.encodings]
        if labels is not None:
            where = record.labels_from or record.title
            named = self._named(labels, files_below(labels, f'labels of {where}'))
        self.labels = defaultdict(list)
        for file in named:
            if file.named.encodings:
                self.labels[file.named.key].append(file)

    def conditions(self) -> tuple[Condition, ...]:
        """The set's conditions with their pairs."""
        if not self.pictures:
            self.set.refuse(self.folder, self.files)
        self.set.refuse_mixture(self.folder, [file.parts for file in self.pictures])
        pictures = self._of_split()
        self._refuse_suffixes(pictures)
        self._note_lost_labels()
        pairs, encoding = self._paired(pictures)
        conditions = self._by_condition(pairs)
        for name, found in list(conditions.items()):
            if encoding and not any(label for _, label in found):
                self.notes.append(f'{name}: none of its {len(found)} images has a label')
                del conditions[name]
        return tuple(
            Condition(
                name=name,
                split=self.split,
                folder=self.folder,
                images=tuple(picture.path for picture, label in found if label or not encoding),
                labels=tuple(label.path for _, label in found if label),
                encoding=encoding,
                unlabelled=tuple(
                    picture.path for picture, label in found if encoding and not label
                ),
                labels_folder=self.labels_folder,
                notes=tuple(self.notes),
            )
            for name, found in conditions.items()
        )

    def _named(self, folder: Path, files: Iterable[tuple[str, ...]]) -> list[_File]:
        named = ((parts, self.set.recognise(parts)) for parts in files)
        return [_File(parts, Path(folder, *parts), name) for parts, name in named if name]

    def _of_split(self) -> list[_File]:
        """The images of the split, each once."""
        subset = self.set.subsets.get(self.split, Subset((self.split,)))
        if self.split.endswith('.txt'):
            subset = Subset(list_file=self.split)
        there = {file.named.split for file in self.pictures}
        wanted = set(subset.folders) or there
        pictures = [file for file in self.pictures if file.named.split in wanted]
        if there == {''} and self.split == self.set.splits[0]:
            pictures = self.pictures  # one split is there, and its folder does not say which
        if not pictures:
            have = [s for s in self.set.splits if s in there] or ['none that its folders name']
            raise InputError(
                f'{self.folder} has no images of {self.set.title}, split {self.split}; it has '
                f'{", ".join(have)}: --split {self.set.choice}=SPLIT selects it'
            )
        pictures = self._once(pictures)
        if not subset.list_file:
            return pictures
        list_file = self._list_file(subset.list_file)
        if list_file is not None:
            return self._listed(list_file, pictures)
        if not subset.or_labelled:
            raise InputError(
                f'{self.set.title}, split {self.split}: no list {subset.list_file} below {self.folder}'
            )
        labelled = [file for file in pictures if self._labels_of(file)]
        self.notes.append(f'no list {subset.list_file}: using all {len(labelled)} labelled images')
        return labelled or pictures

    def _list_file(self, name: str) -> Path | None:
        """A list by its path, from here or from any folder below the set's."""
        if Path(name).is_file():
            return Path(name)
        ends = Path(name).parts
        return next((Path(self.folder, *p) for p in self.files if p[-len(ends) :] == ends), None)

    def _listed(self, list_file: Path, pictures: Sequence[_File]) -> list[_File]:
        """The images that a list names, by path or base name, with or without a suffix."""
        by_stem: dict[Any, list[_File]] = defaultdict(list)
        for file in pictures:
            by_stem[file.path.stem].append(file)
            by_stem[file.path.name].append(file)
            by_stem[file.named.key].append(file)
            by_stem[file.named.key, file.named.copy].append(file)
        found: dict[_File, None] = {}
        missing = []
        for line in listed_names(list_file):
            files = self._meant(line, by_stem) or self._meant(line.split()[0], by_stem)
            if not files:
                missing.append(line)
            found |= dict.fromkeys(files)
        if missing:
            raise InputError(
                f'{list_file} lists {len(missing)} images that are not below {self.folder}, such as '
                f'{missing[0]}'
            )
        return list(found)

    def _meant(self, name: str, by_stem: Mapping[Any, Sequence[_File]]) -> list[_File]:
        """The images that a line of a list can mean: those that share the most folders with it."""
        parts = name.replace('\\', '/').split('/')
        files = by_stem.get(parts[-1]) or by_stem.get(Path(parts[-1]).stem)
        if not files and (named := self.set.recognise(parts)):
            files = by_stem.get((named.key, named.copy))
        shared = [_shared(parts, file.parts) for file in files or ()]
        return [f for f, count in zip(files or (), shared, strict=True) if count == max(shared)]

    def _once(self, pictures: Sequence[_File]) -> list[_File]:
        """Each image once, even if it is in several folders or formats."""
        groups = defaultdict(list)
        for file in pictures:
            name = file.named
            groups[name.key, name.copy, name.split, name.condition].append(file)
        # flattened copies beside the images, whose conditions are known
        known = {identity[:-1] for identity in groups if identity[-1]}
        chosen = {
            identity: self._one(files)
            for identity, files in groups.items()
            if identity[-1] or identity[:-1] not in known
        }
        left_out = [f for i, files in groups.items() for f in files if f is not chosen.get(i)]
        if left_out:
            self.notes.append(
                f'{len(left_out)} duplicate copies left out, such as {"/".join(left_out[0].parts)}'
            )
        return sorted(chosen.values(), key=lambda file: file.path)

    def _one(self, files: Sequence[_File]) -> _File:
        """The file to use among files of one name.

        Raises:
            InputError: two of them differ, so that one would have to guess.
        """
        first, *rest = sorted(files, key=_preference)
        for file in rest:
            alike = (file.named.rank, _format(file)) == (first.named.rank, _format(first))
            if alike and _differ(file, first):
                raise InputError(
                    f'{first.path} and {file.path} have the same name but differ: give a folder '
                    f'of {self.set.title} with only one of them'
                )
        return first

    def _labels_of(self, picture: _File) -> dict[str, _File]:
        """Encoding -> label file of an image, from the folders nearest to its own."""
        one, found = picture.named, defaultdict(list)
        for file in self.labels.get(one.key, ()):
            both = ((one.split, file.named.split), (one.condition, file.named.condition))
            if all(a == b or not (a and b) for a, b in both):
                for encoding in file.named.encodings:
                    found[encoding].append((sum(a == b for a, b in both), file))
        return {
            encoding: self._one([file for near, file in files if near == max(n for n, _ in files)])
            for encoding, files in found.items()
        }

    def _refuse_suffixes(self, pictures: Sequence[_File]) -> None:
        formats = Counter(map(_format, pictures)).most_common()
        if len(formats) > 1 and not self.set.suffixes_mix:
            counts = ', '.join(f'{count} {suffix}' for suffix, count in formats)
            raise InputError(
                f'{self.folder}: images of {self.set.title}, split {self.split}, have several formats '
                f'({counts}): keep one'
            )

    def _note_lost_labels(self) -> None:
        """Note labels of the split without an image, as after an interrupted copy."""
        listed = self.split.endswith('.txt') or self.split in self.set.subsets
        if listed or self.labels_folder or self.set.labels_from:
            return  # which have those of others, too
        there = {file.named.key for file in self.pictures}
        lost = {
            key: file
            for key, files in self.labels.items()
            for file in files
            if key not in there and file.named.split in (self.split, '')
        }
        if lost:
            first = '/'.join(min(file.parts for file in lost.values()))
            self.notes.append(f'{len(lost)} labels have no image, such as {first}')

    def _paired(self, pictures: Sequence[_File]) -> tuple[list[tuple[_File, _File | None]], str]:
        """Each image with its label, and the encoding of all; '' where labels are withheld.

        Raises:
            InputError: there are no labels, or no encoding that all have.
        """
        have = [self._labels_of(picture) for picture in pictures]
        counts = Counter(e for of_one in have for e in of_one if e in self.encodings)
        labelled = sum(any(e in of_one for e in self.encodings) for of_one in have)
        if not labelled and {p.named.split for p in pictures} <= {*self.set.withheld}:
            return [(picture, None) for picture in pictures], ''
        if not labelled:
            self._refuse_unlabelled(pictures[0], {e for of_one in have for e in of_one})
        encoding = next((e for e in self.encodings if counts[e] == labelled), None)
        if encoding is None:
            kinds = ', '.join(f'{counts[e]} as {LABEL_MAPS[e].title}' for e in counts)
            raise InputError(
                f'{self.set.title}, split {self.split}: labels are mixed ({kinds}), and no kind covers all '
                f'{labelled}: complete one'
            )
        return [
            (picture, of_one.get(encoding)) for picture, of_one in zip(pictures, have, strict=True)
        ], encoding

    def _refuse_unlabelled(self, picture: _File, others: set[str]) -> None:
        """Say that no image has a label, and what to do."""
        where = self.labels_folder or self.folder
        if others:
            kinds = ', '.join(sorted(others))
            hint = f'there are only labels as {kinds}: read them with --encoding {self.set.choice}=NAME'
        elif self.set.labels_from and self.labels_folder is None:
            hint = f'it uses the labels of {self.set.labels_from}: give --{self.set.labels_from.lower()} DIR'
        else:
            hint = self.set.make_labels or f'expected: {self.set.files}'
        raise InputError(
            f'{self.set.title}, split {self.split}: no labels below {where} for '
            f'{"/".join(picture.parts)} or any other image; {hint}'
        )

    def _by_condition(
        self, pairs: Sequence[tuple[_File, _File | None]]
    ) -> dict[str, list[tuple[_File, _File | None]]]:
        """The pairs by condition: as the picture's folders say, else the label's, else a file."""
        known = self.set.conditions
        listed = self._listed_conditions()
        found = defaultdict(list)
        for picture, label in pairs:
            named = [file.named.condition for file in (picture, label) if file]
            names = [name for name in (*named, listed.get(picture.named.key)) if name]
            name = next((n for n in names if n in known), names[0] if names else '')
            found[name or (known[0] if len(known) == 1 else '')].append((picture, label))
        if lost := found.pop('', None):
            name = 'unknown' if found else 'all'
            self.notes.append(f'{len(lost)} images are not in a folder that names a condition')
            found[name] = lost
        order = {name: place for place, name in enumerate(known)}
        return dict(
            sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))
        )

    def _listed_conditions(self) -> Mapping[str, str]:
        if self.set.list_conditions is None:
            return {}
        name, read = self.set.list_conditions
        return next((read(Path(self.folder, *p)) for p in self.files if p[-1] == name), {})


def _differ(one: _File, other: _File) -> bool:
    """Whether files of one name differ: labels by their bytes; images, which are gigabytes, by their size."""
    if one.named.encodings:
        return not filecmp.cmp(one.path, other.path, shallow=False)
    return one.path.stat().st_size != other.path.stat().st_size


def _format(file: _File) -> str:
    suffix = file.path.suffix.lower()
    return '.jpg' if suffix == '.jpeg' else suffix


def _preference(file: _File) -> tuple:
    """Which of several files of an image counts: lossless, the least nested."""
    return (file.named.rank, _format(file) == '.jpg', len(file.parts), file.parts)


def _shared(one: Sequence[str], two: Sequence[str]) -> int:
    """The number of equal folders of two paths, from the file upwards."""
    count = 0
    for a, b in zip(reversed(one[:-1]), reversed(two[:-1]), strict=False):
        if a != b:
            break
        count += 1
    return count
