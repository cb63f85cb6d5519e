"""Images with boxes: a COCO file for each condition, and the folder that its names are relative to."""

import filecmp
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from re import Pattern
from typing import Any

from fan_mm.datasets.shifts.paths import files_below
from fan_mm.datasets.shifts.record import Condition, ShiftSet
from fan_mm.errors import InputError


@dataclass(frozen=True, kw_only=True)
class BoxSet(ShiftSet):
    """A set for detectors.

    Attributes:
        boxes: of a COCO file's path below the folder, with groups ``condition`` and ``split``.
    """

    boxes: Pattern[str]

    def _find(
        self, folder: Path, split: str, labels: Path | None, encoding: str | None
    ) -> tuple[Condition, ...]:
        if encoding:
            raise InputError(f'{self.title}: boxes have no label encodings')
        files = files_below(folder, self.title)
        boxes = self._of_split(folder, files, split)
        if not boxes and labels:
            boxes = self._of_split(labels, files_below(labels, self.title), split)
        if not boxes:
            self._refuse(folder, files, split)
        conditions = []
        for name in [name for name in self.conditions if name in boxes]:
            names, masks = self._content(boxes[name])
            images, root = self._images(folder, files, name, boxes[name], names)
            conditions.append(
                Condition(
                    name=name,
                    split=split,
                    folder=folder,
                    images=images,
                    labels_folder=labels,
                    ann_file=boxes[name],
                    image_root=root,
                    masks=masks,
                )
            )
        return tuple(conditions)

    def dataset(self, condition: Condition) -> dict[str, Any]:
        assert condition.ann_file is not None and condition.image_root is not None
        return dict(
            type=self.dataset_type,
            ann_file=os.path.abspath(condition.ann_file),
            data_prefix=dict(img=os.path.abspath(condition.image_root)),
            test_mode=True,
        )

    def _of_split(
        self, folder: Path, files: Sequence[tuple[str, ...]], split: str
    ) -> dict[str, Path]:
        """Condition -> its COCO file."""
        found: dict[str, Path] = {}
        for parts in files:
            match = self.boxes.search('/'.join(parts))
            if match is None or match['split'] != split:
                continue
            path = Path(folder, *parts)
            first = found.setdefault(match['condition'], path)
            if first != path and not filecmp.cmp(first, path, shallow=False):
                raise InputError(
                    f'{self.title}: {first} and {path} both contain boxes of {match["condition"]}: keep one'
                )
        return found

    def _refuse(self, folder: Path, files: list[tuple[str, ...]], split: str) -> None:
        """Say what is missing: the split, the boxes or everything."""
        matches = [m for parts in files if (m := self.boxes.search('/'.join(parts)))]
        if matches:
            have = ', '.join(sorted({match['split'] for match in matches}))
            raise InputError(
                f'{folder} has no boxes of {self.title}, split {split}; it has {have}: --split '
                f'{self.choice}=SPLIT selects it'
            )
        if any(self.marks.search('/'.join(parts)) for parts in files):
            raise InputError(f'{folder} has no boxes of {self.title}; expected: {self.files}')
        self.refuse(folder, files)

    def _images(
        self,
        folder: Path,
        files: Sequence[tuple[str, ...]],
        condition: str,
        boxes: Path,
        names: Sequence[str],
    ) -> tuple[tuple[Path, ...], Path]:
        """The images that a COCO file names, and the folder that its names are relative to."""
        strange = [n for n in names if {*n.split('/')[:-1]} & {*self.conditions} - {condition}]
        if strange:
            raise InputError(
                f'{boxes} lists {len(strange)} images of other conditions, such as {strange[0]}, a known '
                "error in ACDC's file for rain in the training split: use another split"
            )
        roots: dict[tuple[str, ...], int] = defaultdict(int)
        wanted = {tuple(name.split('/')) for name in names}
        depths = {len(name) for name in wanted}
        for parts in files:
            for depth in depths:
                if parts[-depth:] in wanted and condition in parts:
                    roots[parts[:-depth]] += 1
        root = max(sorted(roots), key=lambda r: (roots[r], -len(r)), default=())
        if roots[root] < len(wanted):
            depth = len(root)
            present = {parts[depth:] for parts in files if parts[:depth] == root}
            missing = sorted('/'.join(name) for name in wanted - present)
            raise InputError(
                f'{boxes} lists {len(missing)} images that are not below {Path(folder, *root)}, such as '
                f'{missing[0]}'
            )
        return tuple(sorted(Path(folder, *root, name) for name in names)), Path(folder, *root)

    def _content(self, boxes: Path) -> tuple[list[str], bool]:
        """The names of the images in a COCO file, and whether each of its objects has a mask."""
        try:
            content = json.loads(boxes.read_bytes())
            names = sorted({image['file_name'] for image in content['images']})
            objects = content.get('annotations') or ()
            masks = bool(objects) and all(found.get('segmentation') for found in objects)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f'{boxes} is not a COCO file: {error!r}') from None
        if not names:
            raise InputError(f'{boxes} lists no images')
        return names, masks
