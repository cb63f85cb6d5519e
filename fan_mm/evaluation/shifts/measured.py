"""The results of one real condition: its record, its images, and its statistics as they are stored."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fan_mm.corruptions import image_key
from fan_mm.evaluation.average_precision import Matches
from fan_mm.evaluation.bootstrap import RESAMPLED
from fan_mm.evaluation.cell_dataset import sample_infos
from fan_mm.evaluation.cells import CellRecord
from fan_mm.evaluation.identity import file_size
from fan_mm.evaluation.shifts.pooling import ShiftCell


@dataclass(frozen=True)
class Measured:
    """The results of one condition.

    Attributes:
        cell: the condition.
        record: its scores.
        total: number of its images, evaluated or not.
        unlabelled: names of images left out because they have no label.
        keys: ``(N,)`` names of the images evaluated.
        scenes: ``(N,)`` names of their scenes; images of the same scene are resampled together.
        statistics: see `fan_mm.evaluation.shifts.pooling`; None without.
        sha256: hash of the images and labels evaluated.
        calibration: ``(N, V, SIZE)`` sums as in `fan_mm.evaluation.calibration.measures`; None if not
            measured.
        audit: audit of its sweep.
        settings: settings of its metric, see `fan_mm.evaluation.results.build_results`.
    """

    cell: ShiftCell
    record: CellRecord
    total: int
    unlabelled: tuple[str, ...] = ()
    keys: np.ndarray | None = None
    scenes: np.ndarray | None = None
    statistics: np.ndarray | Mapping[str, Matches] | None = None
    sha256: str | None = None
    calibration: np.ndarray | None = None
    audit: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None


class Pictures(NamedTuple):
    """The images of a cell.

    Attributes:
        keys: ``(N,)`` names of the images.
        scenes: ``(N,)`` names of their scenes. Images with the same label file show the same scene, such as
            one street in three densities of fog.
        sha256: hash of names, file sizes and, for boxes, labels; independent of the dataset class.
    """

    keys: np.ndarray
    scenes: np.ndarray
    sha256: str


def pictures_of(cell: ShiftCell, dataset: Any, samples: Sequence[int]) -> Pictures:
    """The images of a cell's dataset, of mmengine's kind: those of some indices."""
    infos = sample_infos(dataset, samples)
    keys = [image_key(info['img_path']) for info in infos]
    # COCO-O's domains have folders, and may have files, with the same names, but no scene in common.
    scenes = [
        image_key(info['seg_map_path']) if info.get('seg_map_path') else f'{cell}/{key}'
        for info, key in zip(infos, keys, strict=True)
    ]
    content = [
        (
            key,
            file_size(info['img_path']),
            file_size(info.get('seg_map_path')),
            info.get('instances'),
        )
        for key, info in zip(keys, infos, strict=True)
    ]
    digest = hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()
    return Pictures(np.array(keys), np.array(scenes), digest)


def scenes_of(measured: Iterable[Measured]) -> dict[ShiftCell, np.ndarray]:
    """The scenes of cells with statistics."""
    found = {}
    for m in measured:
        assert m.scenes is not None
        found[m.cell] = m.scenes
    return found


def arrays_of(
    kind: str, measured: Iterable[Measured], content: Mapping[ShiftCell, np.ndarray]
) -> dict[str, np.ndarray] | None:
    """The content of per_image.npz or calibration.npz; None without statistics.

    Args:
        kind: 'iou' or 'calibration', with statistics per image as content; or 'resampled', with draws.
        measured: the cells with statistics.
        content: content of these cells and, for 'resampled', also of ``(set, 'pooled')``.
    """
    what = 'draws' if kind == RESAMPLED else 'sums'
    arrays = {f'{what}/{"/".join(cell)}': array for cell, array in content.items()}
    for m in measured:
        name = '/'.join(m.cell)
        assert m.keys is not None and m.scenes is not None  # cells with statistics have both
        arrays[f'keys/{name}'], arrays[f'scenes/{name}'] = m.keys, m.scenes
    return {'kind': np.array(kind), **arrays} if arrays else None
