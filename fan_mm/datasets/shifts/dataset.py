"""The sets as datasets of training and evaluation configs."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import Compose
from mmengine.registry import DATASETS

from fan_mm.datasets.scenes.labels import CLASSES
from fan_mm.datasets.segmentation import SegmentationDataset
from fan_mm.datasets.shifts.pairs import SegmentationSet
from fan_mm.datasets.shifts.reading import doubt, mapping
from fan_mm.datasets.shifts.record import SHIFT_SETS, Condition
from fan_mm.errors import InputError


@DATASETS.register_module()
class ShiftDataset(SegmentationDataset):
    """Images and labels of a set as `ShiftSet.find` finds them, read as trainIds.

    A class below fixes the set; mmseg's own classes serve for Dark Zurich (``DarkZurichDataset``),
    Nighttime Driving (``NightDrivingDataset``), BDD100K (``BDD100KDataset``) and Cityscapes, in trees that
    they can list. Images without a label are left out; where a split's labels are withheld, samples have
    no ``seg_map_path``.

    Args:
        shift: the set, a name in ``SHIFT_SETS``.
        split: of the set; None for its default.
        conditions: the names of those to read; None for all.
        encoding: of the labels, where the set leaves a choice.
        data_root: the folder with the files, in whatever nesting.
        data_prefix: ``dict(seg_map_path=...)``: where the labels are, if not below ``data_root``, as for
            datasets derived from Cityscapes.
        pipeline: whatever mmseg's datasets take. What loads labels in it makes trainIds of them.
        lazy_init: of mmengine's ``BaseDataset``, as ``kwargs``.
        kwargs: see there.

    Raises:
        InputError: no such set, split, condition or class; as `ShiftSet.find`.
    """

    METAINFO = dict(
        classes=tuple(label.title for label in CLASSES),
        palette=[  # as mmseg's CityscapesDataset has it, with which this can be concatenated
            *([128, 64, 128], [244, 35, 232], [70, 70, 70], [102, 102, 156], [190, 153, 153]),
            *([153, 153, 153], [250, 170, 30], [220, 220, 0], [107, 142, 35], [152, 251, 152]),
            *([70, 130, 180], [220, 20, 60], [255, 0, 0], [0, 0, 142], [0, 0, 70]),
            *([0, 60, 100], [0, 80, 100], [0, 0, 230], [119, 11, 32]),
        ],
    )
    SHIFT = ''

    def __init__(
        self,
        *,
        shift: str = '',
        split: str | None = None,
        conditions: Sequence[str] | None = None,
        encoding: str | None = None,
        data_root: str | None = None,
        data_prefix: Mapping[str, str] | None = None,
        pipeline: Sequence[Any] = (),
        lazy_init: bool = False,
        **kwargs: Any,
    ) -> None:
        record = SHIFT_SETS.get(shift or self.SHIFT)
        if not isinstance(record, SegmentationSet):
            known = [s.name for s in SHIFT_SETS.values() if isinstance(s, SegmentationSet)]
            raise InputError(f'shift must be one of {", ".join(known)}, not {shift!r}')
        self.shift = record
        if not data_root:
            raise InputError(
                f'{type(self).__name__} needs data_root, the folder with {self.shift.title}'
            )
        if kwargs.get('ann_file'):
            raise InputError(
                f'{type(self).__name__}.ann_file is not used: give a list of names as split'
            )
        if set(data_prefix or ()) - {'seg_map_path'}:
            raise InputError(
                f'{type(self).__name__}.data_prefix can only have seg_map_path: images are found below data_root'
            )
        self.split, self.conditions, self.encoding = split, conditions, encoding
        super().__init__(
            data_root=data_root, data_prefix=dict(data_prefix or {}), lazy_init=True, **kwargs
        )
        self.label_map = None  # for mmseg's loader: labels are mapped behind it
        chosen = self._metainfo['label_map']
        self._order = chosen and list(chosen.values())
        self.pipeline = Compose(self.mapped(pipeline))
        if not lazy_init:
            self.full_init()

    def load_data_list(self) -> list[dict]:
        """Samples in the order of conditions and paths, as mmseg's ``BaseSegDataset`` makes them.

        Raises:
            InputError: as `ShiftSet.find`; a wanted condition is not there.
        """
        labels = self.data_prefix.get('seg_map_path')
        found = self.shift.find(self.data_root, self.split, labels, self.encoding)
        names = [condition.name for condition in found]
        wanted = names if self.conditions is None else list(self.conditions)
        for name in wanted:
            if name not in names:
                raise InputError(
                    f'{self.data_root} has no {self.shift.title} of condition {name!r}; it has '
                    f'{", ".join(names)}'
                )
        return [
            s for condition in found if condition.name in wanted for s in self._samples(condition)
        ]

    def mapped(self, loader: Any) -> Any:
        """The transform, or pipeline, that reads labels as this dataset does, with ``loader`` inside."""
        return mapping(loader, self._order)

    def doubt(self, values: Sequence[int], sample: Mapping[str, Any]) -> str | None:
        """Why the values of some label files probably have another encoding than the sample says."""
        return doubt(values, sample['label_encoding'])

    def _samples(self, condition: Condition) -> list[dict]:
        samples = []
        read = functools.cache(_read_panoptic)  # once for all images, anew for each dataset
        labels = condition.labels or (None,) * len(condition.images)
        for image, label in zip(condition.images, labels, strict=True):
            sample: dict[str, Any] = dict(
                img_path=str(image),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            if label is not None:
                sample |= dict(seg_map_path=str(label), label_encoding=condition.encoding)
                if label.parent.name.lower() == 'panoptic':
                    file = label.parent.parent / 'panoptic.json'
                    if label.name not in read(file):
                        raise InputError(f'{file} does not list {label.name}')
                    sample['segments'] = read(file)[label.name]
            samples.append(sample)
        return samples


def _read_panoptic(file: Path) -> dict[str, dict[int, int]]:
    """Name of a label file -> segment id -> category."""
    try:
        annotations = json.loads(file.read_bytes())['annotations']
        return {
            Path(a['file_name']).name: {s['id']: s['category_id'] for s in a['segments_info']}
            for a in annotations
        }
    except OSError as error:
        raise InputError(
            f'{file}: {error.strerror}; it contains the categories of the segments, and comes with panoptic/'
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{file} is not a panoptic file in COCO format: {error!r}') from None


@DATASETS.register_module()
class ACDCDataset(ShiftDataset):
    """ACDC, with reference images in the splits ``train_ref``, ``val_ref``."""

    SHIFT = 'acdc'


@DATASETS.register_module()
class FoggyCityscapesDataset(ShiftDataset):
    """Foggy Cityscapes; the labels are those of Cityscapes: ``data_prefix=dict(seg_map_path=...)``."""

    SHIFT = 'foggy_cityscapes'


@DATASETS.register_module()
class RainCityscapesDataset(ShiftDataset):
    """RainCityscapes; the labels are those of Cityscapes: ``data_prefix=dict(seg_map_path=...)``."""

    SHIFT = 'rain_cityscapes'


@DATASETS.register_module()
class FoggyDrivingDataset(ShiftDataset):
    """Foggy Driving: 33 finely and 68 coarsely labelled images."""

    SHIFT = 'foggy_driving'


@DATASETS.register_module()
class FoggyZurichDataset(ShiftDataset):
    """The labelled images of Foggy Zurich."""

    SHIFT = 'foggy_zurich'


@DATASETS.register_module()
class MUSESDataset(ShiftDataset):
    """The camera's images of MUSES."""

    SHIFT = 'muses'


@DATASETS.register_module()
class IDDDataset(ShiftDataset):
    """IDD I and II, as Cityscapes classes."""

    SHIFT = 'idd'


@DATASETS.register_module()
class WildDash2Dataset(ShiftDataset):
    """The public part of WildDash 2, as Cityscapes classes."""

    SHIFT = 'wilddash'


@DATASETS.register_module()
class MapillaryVistasDataset(ShiftDataset):
    """Mapillary Vistas as Cityscapes classes; mmseg's ``MapillaryDataset_v1`` has its own 66."""

    SHIFT = 'mapillary'
