"""Pictures and label maps, found by the names of files and folders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fan_mm.datasets.shifts.record import Condition, Named, ShiftSet


@dataclass(frozen=True, kw_only=True)
class SegmentationSet(ShiftSet):
    """A set of pictures with label maps.

    Attributes:
        encodings: of labels that are read, the preferred first.
        told: what a file is, from the parts of its path below the folder; None if it is neither picture
            nor label.
        lists: split -> the name of the list file that defines it.
        labels_from: 'Cityscapes' where the set has no labels of its own.
        suffixes_mix: whether releases of the set have different picture formats.
        make_labels: how labels come to be, where a download has none of them.
    """

    encodings: tuple[str, ...]
    told: Callable[[Sequence[str]], Named | None]
    lists: Mapping[str, str] = field(default_factory=dict)
    labels_from: str = ''
    suffixes_mix: bool = False
    make_labels: str = ''

    def find(
        self,
        folder: Path,
        split: str | None = None,
        labels: Path | None = None,
        encoding: str | None = None,
    ) -> tuple[Condition, ...]:
        """See `ShiftSet.find`."""
        raise NotImplementedError

    def dataset(self, condition: Condition) -> dict[str, Any]:
        """See `ShiftSet.dataset`: what it lists is what `find` found."""
        config = dict(
            type='ShiftDataset',
            shift=self.name,
            data_root=str(condition.folder),
            split=condition.split,
            conditions=[condition.name],
            encoding=condition.encoding or None,
        )
        if condition.labels_folder is not None:
            config['data_prefix'] = dict(seg_map_path=str(condition.labels_folder))
        return config
