"""Labels of any encoding as trainIds, mapped as they are read."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from fan_mm.datasets.segmentation import IGNORED
from fan_mm.datasets.shifts.label_maps import LABEL_MAPS, LabelMap
from fan_mm.errors import InputError

_WRONG = 254  # of the tables here: a value that an encoding does not have
_HOLD_TRANSFORMS = ('transforms', 'subroutines')  # keys and attributes of mmcv's wrappers


@TRANSFORMS.register_module()
class LoadTrainIds(BaseTransform):
    """Loads labels and maps them to trainIds; the datasets of this folder insert it into their pipelines.

    Required keys: ``seg_map_path``, ``label_encoding`` (a name in ``LABEL_MAPS``) and, for panoptic files,
    ``segments`` (segment id -> category). Sets ``gt_seg_map``, uint8 ``(H, W)``. A sample without
    ``seg_map_path``, whose labels are withheld, stays as it is.

    Args:
        loader: mmseg's ``LoadAnnotations`` or a subclass, or its config.
        order: the label of each trainId (19), for models of some of the classes; None for trainIds.

    Raises:
        InputError: at a label that its encoding does not have.
    """

    def __init__(self, loader: dict | BaseTransform, order: Sequence[int] | None = None) -> None:
        self.loader = TRANSFORMS.build(loader) if isinstance(loader, dict) else loader
        self.order = (
            None if order is None else np.array([*order, *range(len(order), 256)], np.uint8)
        )

    def transform(self, results: dict) -> dict | None:
        """Load and map the labels."""
        if 'seg_map_path' not in results:
            return results
        results = self.loader(results)
        labels = results['gt_seg_map']
        if 'segments' in results:
            labels = categories_of(labels, results['segments'], results['seg_map_path'])
        labels = train_ids_of(labels, results['label_encoding'], results['seg_map_path'])
        results['gt_seg_map'] = labels if self.order is None else cv2.LUT(labels, self.order)
        return results

    def __repr__(self) -> str:
        """For logs of the pipeline."""
        return f'{type(self).__name__}(loader={self.loader})'


def train_ids_of(labels: np.ndarray, encoding: str, path: str) -> np.ndarray:
    """The trainIds of labels ``(H, W)``, uint8, of an encoding, a name in ``LABEL_MAPS``.

    Raises:
        InputError: they are a colour image, or hold a value that the encoding does not have.
    """
    label_map = LABEL_MAPS[encoding]
    if labels.ndim != 2:
        raise InputError(f'{path} is a colour image, but {label_map.title} are expected')
    table = np.where(label_map.illegal, _WRONG, label_map.table).astype(np.uint8)
    mapped = cv2.LUT(labels, table)
    if (mapped == _WRONG).any():
        values = np.unique(labels)
        wrong = values[label_map.illegal[values]].tolist()
        raise InputError(
            f'{path} has the label {wrong[0]}, which {label_map.title} do not have'
            f'{_other_reading(values.tolist(), label_map)}'
        )
    return mapped


def categories_of(segments: np.ndarray, category: Mapping[int, int], path: str) -> np.ndarray:
    """The category of each pixel of a panoptic image, 255 where it has none.

    Args:
        segments: uint8 ``(H, W, 3)``, blue first, of which R + 256 G + 65536 B is a segment's id.
        category: of each segment.
        path: of the file, for the error's line.

    Raises:
        InputError: it is no colour image, or has a segment that the JSON file does not list.
    """
    if segments.ndim != 3 or segments.shape[2] < 3:
        raise InputError(f'{path} is not a panoptic image: it has no colours')
    blue, green, red = np.moveaxis(segments[..., :3].astype(np.int32), -1, 0)
    ids, places = np.unique(red + 256 * green + 65536 * blue, return_inverse=True)
    unknown = [i for i in ids.tolist() if i and i not in category]
    if unknown:
        raise InputError(f'{path} has segment {unknown[0]}, which panoptic.json does not list')
    table = np.array([category.get(i, IGNORED) for i in ids.tolist()], np.uint8)
    return table[places].reshape(segments.shape[:2])


def doubt(values: Iterable[int], encoding: str) -> str | None:
    """Why values probably have another encoding, though this one allows them; None if there is no reason.

    TrainIds under another name: what every street has (sky, vegetation, cars) has ids beyond 18 in each
    other encoding.

    Args:
        values: of several files.
        encoding: a name in ``LABEL_MAPS``.
    """
    values, train_ids = set(values), LABEL_MAPS['train_ids']
    if LABEL_MAPS[encoding].train_ids == train_ids.train_ids or not values - {IGNORED}:
        return None
    if not values <= train_ids.legal:
        return None
    return (
        f'contain no value above 18 except 255: they look like trainIds, but would be read as '
        f'{LABEL_MAPS[encoding].title}'
    )


def _other_reading(values: Iterable[int], label_map: LabelMap) -> str:
    """What else the values of a file could be."""
    fits = (m.title for m in LABEL_MAPS.values() if m is not label_map and m.legal >= set(values))
    title = next(fits, None)
    return f'; are they {title}?' if title else ': is it an image of colours or instances?'


def mapping(step: Any, order: Sequence[int] | None) -> Any:
    """A pipeline, or a step of one, in which everything that loads labels also maps them to trainIds.

    Args:
        step: a transform as a config or built, which may hold others, or a list of transforms; not changed.
        order: of `LoadTrainIds`.
    """
    if isinstance(step, list | tuple):
        return [mapping(inner, order) for inner in step]
    is_config = isinstance(step, dict)
    kind = step.get('type') if is_config else type(step)
    if isinstance(kind, str):
        with TRANSFORMS.switch_scope_and_registry(step.get('_scope_')) as registry:
            kind = registry.get(kind)
    # by name: mmseg is not imported for it
    if any(base.__name__ == 'LoadAnnotations' for base in getattr(kind, '__mro__', ())):
        return LoadTrainIds(step, order)
    if getattr(kind, '__name__', '').startswith('Albu'):
        return step  # which holds transforms of another library
    parts = step if is_config else getattr(step, '__dict__', {})
    inner = {name: mapping(parts[name], order) for name in _HOLD_TRANSFORMS if name in parts}
    if is_config:
        return {**step, **inner}
    if inner != {name: parts[name] for name in inner}:
        step = copy.copy(step)
        vars(step).update(inner)
    return step
