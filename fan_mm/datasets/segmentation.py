"""Images with label maps as samples for mmseg's transforms, without importing mmseg.

mmseg's own ``BaseSegDataset`` cannot be extended by what ``import fan_mm`` registers: that must not need
mmseg. What its transforms and metrics read of a dataset is here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset

from fan_mm.errors import InputError

IGNORED = 255  # what mmseg's heads, transforms and metrics leave out


class SegmentationDataset(BaseDataset):
    """Pairs of an image and its labels; values that are no class are read as 255.

    A subclass has ``METAINFO`` with classes and palette, perhaps ``VOID``, and says in `pairs` which files
    belong together. As with mmseg's datasets, ``metainfo=dict(classes=[...])`` chooses some of the classes,
    in any order; the others are ignored then.

    Args:
        lazy_init: do not list the files yet.
        kwargs: of mmengine's ``BaseDataset``; ``data_prefix`` has ``img_path`` and ``seg_map_path``.

    Raises:
        InputError: a class that this dataset has not.
    """

    VOID: Sequence[int] = ()
    ignore_index = IGNORED
    reduce_zero_label = False
    img_suffix = seg_map_suffix = '.png'  # for messages about missing files

    def __init__(self, *args: Any, lazy_init: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, lazy_init=True, **kwargs)
        known = self.METAINFO['classes']
        classes = tuple(self._metainfo['classes'])
        if unknown := [name for name in classes if name not in known]:
            raise InputError(
                f'{type(self).__name__} has no class {unknown[0]!r}; it has {", ".join(known)}'
            )
        places = {name: index for index, name in enumerate(classes)}
        labels = dict(enumerate(places.get(name, IGNORED) for name in known))
        chosen = labels if classes != known else None
        self.label_map: dict[int, int] | None = (chosen or {}) | dict.fromkeys(self.VOID, IGNORED)
        colours = dict(zip(known, self.METAINFO['palette'], strict=True))
        self._metainfo.update(
            classes=classes,
            palette=[colours[name] for name in classes],
            label_map=chosen,  # as mmseg's datasets have it
            reduce_zero_label=self.reduce_zero_label,
        )
        if not lazy_init:
            self.full_init()

    def pairs(self) -> Iterator[tuple[Path, Path]]:
        """Each image with the path that its labels have."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        """Samples in the order of `pairs`, as ``BaseSegDataset`` makes them."""
        return [
            dict(
                img_path=str(image),
                seg_map_path=str(labels),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for image, labels in self.pairs()
        ]
