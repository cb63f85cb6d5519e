"""Images of one object each in the layout of ImageNet: a folder for every class."""

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from fan_mm.datasets.scenes.buildings import building
from fan_mm.datasets.scenes.camera import Camera
from fan_mm.datasets.scenes.light import random_light
from fan_mm.datasets.scenes.painter import Frame, Painter
from fan_mm.datasets.scenes.people import person
from fan_mm.datasets.scenes.plan import random_street
from fan_mm.datasets.scenes.plants import hedge, tree
from fan_mm.datasets.scenes.prop import Prop
from fan_mm.datasets.scenes.scene import paint_street, photograph
from fan_mm.datasets.scenes.signals import sign_post, traffic_light
from fan_mm.datasets.scenes.storage import FIRST_SCENE, claim_folder, image_bytes, run_jobs
from fan_mm.datasets.scenes.two_wheelers import parked_bicycle, parked_motorcycle
from fan_mm.datasets.scenes.vehicles import bus, car, tram, truck
from fan_mm.errors import InputError
from fan_mm.fileio import write_whole

# class (and folder) -> what makes the thing, its height in metres, how far it may turn (radians)
_THINGS: dict[str, tuple[Callable[[np.random.Generator, Frame], Prop], float, float]] = {
    'bicycle': (parked_bicycle, 1.1, np.pi),
    'bus': (bus, 3.1, np.pi),
    'car': (car, 1.5, np.pi),
    'motorcycle': (parked_motorcycle, 1.2, np.pi),
    'person': (person, 1.75, np.pi),
    'traffic_light': (
        lambda rng, frame: traffic_light(rng, frame, 0.0, int(rng.integers(3))),
        3.3,
        0.6,
    ),
    'traffic_sign': (sign_post, 2.8, 0.6),
    'tram': (tram, 3.4, np.pi),
    'tree': (tree, 6.0, np.pi),
    'truck': (truck, 3.4, np.pi),
}
# In the order of their labels, which is the alphabet's, as mmpretrain sorts them.
IMAGENET_CLASSES = tuple(_THINGS)

_QUALITY = 92


def render_thing(height: int, width: int, seed: int, index: int) -> np.ndarray:
    """Render image number ``index`` of the endless series ``seed``.

    One thing of class ``index % 10`` stands on a street, turned at random, near
    enough to fill between a third and most of the image.

    Args:
        height: in pixels, at least 64.
        width: in pixels, at least 64.
        seed: non-negative seed of the series.
        index: non-negative number within it.

    Returns:
        ``(height, width, 3)`` uint8 RGB; the same arguments always give the same bytes.
    """
    rng = np.random.default_rng([seed, index])
    size = min(height, width)
    make, tall, turn = _THINGS[IMAGENET_CLASSES[index % len(_THINGS)]]
    light, street = random_light(rng), random_street(rng)
    focal, heading = size * rng.uniform(0.95, 1.25), rng.uniform(-turn, turn)

    def put(x: float, z: float) -> Prop:
        return make(np.random.default_rng([seed, index, 1]), Frame(x, z, heading))

    thing = put(0.0, 0.0)
    (left, near), (right, far) = thing.low, thing.high
    extent = max(tall, 0.8 * (right - left))
    distance = focal * extent / (size * rng.uniform(0.45, 0.85)) + (far - near) / 2
    thing = put(rng.uniform(-0.12, 0.12) * distance, distance)
    eye = rng.uniform(1.2, 1.8)
    horizon = height * rng.uniform(0.45, 0.55) + focal * (tall / 2 - eye) / distance
    horizon = float(np.clip(horizon, 0.25 * height, 0.85 * height))
    camera = Camera(height, width, focal, horizon, eye)
    props = [thing, *_surroundings(rng, thing.high[1] + 1.0, distance)]
    painter = Painter(camera, light)
    paint_street(painter, rng, street, props)
    labels = np.array(painter.labels, np.uint8)[painter.entities]
    return photograph(rng, painter.image, labels, light.lamps)


def _surroundings(rng: np.random.Generator, begin: float, distance: float) -> list[Prop]:
    """What stands behind the thing, on one side, both or none: a house or a hedge."""
    props = []
    for sign in (-1, 1):
        x = sign * rng.uniform(0.25, 0.6) * distance + sign * 2
        end = begin + rng.uniform(8, 25)
        kind = rng.uniform()
        if kind < 0.45:
            props.append(building(rng, x, begin, end, sign))
        elif kind < 0.7:
            props.append(hedge(rng, x, begin, end, -sign))
    return props


def write_imagenet(
    root: str | os.PathLike,
    size: tuple[int, int] = (128, 128),
    train: int = 2000,
    val: int = 400,
    seed: int = 0,
    jobs: int | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda images, total: images,
) -> int:
    """Write a toy ImageNet; existing files are kept, so an interrupted run can be continued.

    Args:
        root: the dataset's folder. Images go to ``{train,val}/CLASS/CLASS_NUMBER.jpg``.
        size: height and width in pixels.
        train: number of training images, equally many for each of the ten classes.
        val: number of validation images, likewise.
        seed: non-negative; the same options give the same bytes.
        jobs: number of rendering processes; None for one per core.
        progress: wraps the loop over images, given their number, to show the progress.

    Returns:
        The number of images newly written.

    Raises:
        InputError: options out of range, or the folder contains something else.
    """
    classes = len(IMAGENET_CLASSES)
    if train % classes or val % classes:
        raise InputError(f'train and val must be multiples of {classes}, the number of classes')
    root = Path(root)
    counts = claim_folder(root, size, train, val, seed, layout='imagenet')
    missing = []
    for split, count in counts.items():
        for number in range(count):
            name = IMAGENET_CLASSES[number % classes]
            path = root / split / name / f'{name}_{number:06d}.jpg'
            if not path.is_file():
                missing.append((FIRST_SCENE[split] + number, path))
    write = functools.partial(_write_image, size, seed)
    for _ in progress(run_jobs(write, missing, jobs), len(missing)):
        pass
    return len(missing)


def _write_image(size: tuple[int, int], seed: int, job: tuple[int, Path]) -> None:
    index, path = job
    write_whole(path, image_bytes(render_thing(*size, seed, index), '.jpg', _QUALITY))
