"""Single images of a data set in miniature, each with its files: rendered and written, over all cores."""

import functools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from fan_mm.datasets.scenes.coco import annotate
from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.scene import Scene, render_scene
from fan_mm.datasets.scenes.storage import image_bytes, run_jobs
from fan_mm.datasets.scenes.weather import Weather
from fan_mm.datasets.shifts.label_maps import label_map
from fan_mm.fileio import write_whole

# The value of what is not evaluated, 255 in the other encodings; and of classes without one of their own.
_VOID = {'label_ids': 0, 'wilddash': 0, 'mapillary_a': 65, 'mapillary_v2': 123}
_MERGED = {'idd_level3': {Label.TERRAIN: 3, Label.TRAIN: 12}}  # non-drivable, vehicle fallback
_PLAIN = Weather()


@dataclass(frozen=True)
class Truth:
    """A label file of an image.

    Attributes:
        file: its path in the data set.
        encoding: name in ``LABEL_MAPS``; '' for a map of zeros.
        form: 'grey', 'palette' (8-bit indices), or 'panoptic' (segment id = R + 256 G + 65536 B, whose
            class only the file of ``segments`` tells).
        segments: file with the segments of all images.
    """

    file: str
    encoding: str = 'train_ids'
    form: str = 'grey'
    segments: str = ''


@dataclass(frozen=True)
class Boxes:
    """The file with the boxes of an image and others.

    Attributes:
        file: its path in the data set.
        categories: name -> id, as the set has them.
        ids: the category of each of the eight classes of `COCO_CLASSES`.
        name: what the file calls the image.
        withheld: it names the image alone.
    """

    file: str
    categories: Mapping[str, int]
    ids: tuple[int, ...]
    name: str
    withheld: bool = False


@dataclass(frozen=True)
class Shot:
    """An image and what is written of it.

    Attributes:
        image: path in the data set; its suffix is the format.
        scene: number of the scene.
        weather: of the scene.
        truths: its label files.
        boxes: its annotation files.
        reach: as of `render_scene`: a reference shows the same place at a time with other traffic.
        finish: makes another image of the scene's.
        scale: of the set's size.
        written: whether the image is: some sets have labels without one.
    """

    image: str
    scene: int
    weather: Weather = _PLAIN
    truths: tuple[Truth, ...] = ()
    boxes: tuple[Boxes, ...] = ()
    reach: float = math.inf
    finish: Callable[[Scene], np.ndarray] | None = None
    scale: float = 1.0
    written: bool = True

    @property
    def files(self) -> tuple[str, ...]:
        """All that is written of it alone."""
        return (*(self.image,) * self.written, *(truth.file for truth in self.truths))

    @property
    def shared(self) -> set[str]:
        """The files that it shares with others."""
        return {b.file for b in self.boxes} | {t.segments for t in self.truths if t.segments}


def write_shots(
    root: Path,
    shots: Sequence[Shot],
    size: tuple[int, int],
    seed: int,
    jobs: int | None,
    progress: Callable[[Iterable, int], Iterable],
) -> int:
    """Write what is not there of some images; returns how many were rendered."""
    gone = {name for shot in shots for name in shot.shared if not (root / name).is_file()}
    missing = [
        shot
        for shot in shots
        if shot.shared & gone or not all((root / name).is_file() for name in shot.files)
    ]
    write = functools.partial(_write_shot, root, size, seed)
    documents = defaultdict(list)
    for found in progress(run_jobs(write, missing, jobs), len(missing)):
        for file, record in found:
            documents[file].append(record)
    categories = {boxes.file: boxes.categories for shot in shots for boxes in shot.boxes}
    for file in documents.keys() & gone:
        made = _document(documents[file], categories.get(file))
        write_whole(root / file, json.dumps(made))
    return len(missing)


def encode(labels: np.ndarray, entities: np.ndarray, encoding: str) -> np.ndarray:
    """TrainIds ``(H, W)`` as a set's own values, uint8.

    Where an encoding has several values for a class, the things of a scene get them in turn.
    """
    if not encoding:
        return np.zeros_like(labels)
    table = label_map(encoding).table
    encoded = np.full_like(labels, _VOID.get(encoding, 255))
    for train_id in np.unique(labels[labels != Label.IGNORE]):
        values = np.flatnonzero(table == train_id)
        if not len(values):
            values = np.array([_MERGED[encoding][train_id]])
        here = labels == train_id
        encoded[here] = values[entities[here] % len(values)]
    return encoded


def _write_shot(root: Path, size: tuple[int, int], seed: int, shot: Shot) -> list[tuple[str, dict]]:
    """Render an image into its files; returns what belongs into files that it shares."""
    height, width = (round(pixels * shot.scale) for pixels in size)
    scene = render_scene(height, width, seed, shot.scene, reach=shot.reach, weather=shot.weather)

    def entry(name: str) -> dict:
        return dict(id=shot.scene, file_name=name, height=height, width=width)

    if shot.written:
        image = shot.finish(scene) if shot.finish else scene.image
        write_whole(root / shot.image, image_bytes(image, Path(shot.image).suffix))
    found = []
    for truth in shot.truths:
        values = encode(scene.labels, scene.entities, truth.encoding)
        if truth.form == 'panoptic':
            data, segments = _panoptic(values, scene.entities)
            record = dict(file_name=Path(truth.file).name, segments_info=segments)
            found.append((truth.segments, record | dict(image=entry(Path(shot.image).name))))
        else:
            data = _palette(values) if truth.form == 'palette' else image_bytes(values, '.png')
        write_whole(root / truth.file, data)
    for boxes in shot.boxes:
        things = [] if boxes.withheld else annotate(scene)
        for thing in things:
            thing['category_id'] = boxes.ids[thing['category_id'] - 1]
        found.append((boxes.file, dict(image=entry(boxes.name), annotations=things)))
    return found


def _document(records: list[dict], categories: Mapping[str, int] | None) -> dict:
    """A COCO file of boxes, or without categories of panoptic segments."""
    annotations: list[dict] = []
    for record in records:
        image_id = record['image']['id']
        for annotation in record.get('annotations', ()):
            annotations.append(dict(id=len(annotations) + 1, image_id=image_id, **annotation))
        if 'segments_info' in record:
            kept = {key: record[key] for key in ('file_name', 'segments_info')}
            annotations.append(dict(image_id=image_id, **kept))
    if not categories:
        values = {part['category_id'] for a in annotations for part in a['segments_info']}
        categories = {f'class {value}': value for value in sorted(values)}
    return dict(
        info=dict(description='street scenes rendered by fan_mm', version='1.0'),
        images=[record['image'] for record in records],
        annotations=annotations,
        categories=[dict(id=number, name=name) for name, number in categories.items()],
    )


def _panoptic(values: np.ndarray, entities: np.ndarray) -> tuple[bytes, list[dict]]:
    """An image of segment ids, one for each value of each entity, and what they are."""
    pairs, segment = np.unique(entities.astype(np.int64) * 256 + values, return_inverse=True)
    ids = 1 + 257 * np.arange(len(pairs))  # beyond 8 bits, and no class by itself
    areas = np.bincount(segment.ravel())
    segments = [
        dict(id=int(i), category_id=int(pair % 256), iscrowd=0, area=int(area))
        for i, pair, area in zip(ids, pairs, areas, strict=True)
    ]
    coloured = ids[segment.reshape(values.shape)]
    rgb = np.stack([coloured & 255, coloured >> 8 & 255, coloured >> 16], axis=-1)
    return image_bytes(rgb.astype(np.uint8), '.png'), segments


def _palette(values: np.ndarray) -> bytes:
    """A PNG of palette indices, whose colours say nothing."""
    image = Image.fromarray(values)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    image.save(file := BytesIO(), 'PNG')
    return file.getvalue()
