"""One street scene from a seed and an index: image, classes, instances."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fan_mm.datasets.scenes.backdrop import draw_sky, draw_skyline
from fan_mm.datasets.scenes.camera import Camera, subpixel
from fan_mm.datasets.scenes.ground import draw_ground, draw_shadows, roughen_ground
from fan_mm.datasets.scenes.labels import THINGS, Label
from fan_mm.datasets.scenes.light import random_light
from fan_mm.datasets.scenes.painter import Painter
from fan_mm.datasets.scenes.plan import Street, random_street
from fan_mm.datasets.scenes.prop import Prop, back_to_front
from fan_mm.datasets.scenes.street import furnish
from fan_mm.datasets.scenes.texture import noise
from fan_mm.datasets.scenes.weather import Weather, dress, light_of

_BONNET = 1.4  # metres before the eye
# multiplicative contrast of leaves, blades and plaster, added to what is drawn in flat colours
_GRAIN = np.zeros(256, np.float32)
_GRAIN[[Label.VEGETATION, Label.TERRAIN, Label.BUILDING]] = 0.17, 0.11, 0.035
_GRAIN[[Label.WALL, Label.FENCE]] = 0.06, 0.05


@dataclass(frozen=True)
class Instance:
    """A thing of which at least one pixel is seen.

    Attributes:
        id: its value in `Scene.entities`; a larger one was drawn later and may cover a smaller.
        label: its class.
    """

    id: int
    label: Label


@dataclass(frozen=True)
class Scene:
    """A rendered scene.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` uint8 trainIds, 255 for what is not evaluated.
        entities: ``(H, W)`` int32; ``scene.entities == instance.id`` is the mask of an instance.
        instances: the visible things, those at the back first.
        distance: ``(H, W)`` float32 metres from the eye, infinite for the sky; None if not asked for.
        focal: focal length in pixels.
    """

    image: np.ndarray
    labels: np.ndarray
    entities: np.ndarray
    instances: tuple[Instance, ...]
    distance: np.ndarray | None
    focal: float


def _random_camera(rng: np.random.Generator, height: int, width: int, zoom: float) -> Camera:
    return Camera(
        height=height,
        width=width,
        focal=width * rng.uniform(0.85, 1.1) * zoom,
        horizon=height * rng.uniform(0.40, 0.50),
        eye=rng.uniform(1.25, 1.75),
        yaw=rng.normal(0, 0.05),
        bend=rng.normal(0, 0.0009) if rng.uniform() < 0.6 else 0.0,
    )


def paint_street(
    painter: Painter, rng: np.random.Generator, street: Street, props: Sequence[Prop]
) -> None:
    """Sky, skyline, ground and shadows, then what stands on the street, the farthest first."""
    draw_sky(painter, rng)
    draw_skyline(painter, rng, not street.urban)
    draw_ground(painter, rng, street)
    roughen_ground(painter, rng)
    draw_shadows(painter, props)
    for prop in back_to_front([prop for prop in props if painter.shows(prop.hull)]):
        prop.draw(painter)


def _bonnet(painter: Painter, rng: np.random.Generator) -> None:
    """The front of the own car at the lower edge of the image, not evaluated."""
    height, width = painter.entities.shape
    painter.begin(Label.IGNORE)
    rise, middle = rng.uniform(0.05, 0.1) * height, width * rng.uniform(0.45, 0.55)
    t = np.linspace(-1, 1, 15)
    top = height - rise * (1 - 0.55 * t**2)
    arch = np.stack([middle + t * width * 0.5, top], axis=1)
    outline = np.concatenate([arch, [[width, height + 9], [-1, height + 9]]])
    colour = 255 * np.array(painter.light.shade([rng.uniform(0.1, 0.5)] * 3, None, 0.0))
    painter.draw([subpixel(outline)], colour, _BONNET)


def photograph(
    rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, dark: bool
) -> np.ndarray:
    """Surface grain, then lens and sensor: slight blur, vignette, exposure and noise."""
    height, width = labels.shape
    pixels = image.astype(np.float32)
    amount = _GRAIN[labels]
    clumps = noise(rng, height, width, max(8, width // 5), 2)
    stains = noise(rng, height, width, 9, 3)
    pixels *= (1 + amount * clumps + 0.02 * stains)[..., None]
    sigma = rng.uniform(0.0, 0.00115) * width
    if sigma > 0.2:
        pixels = cv2.GaussianBlur(pixels, (0, 0), sigma)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    pixels *= (1 - rng.uniform(0, 0.14) * (x * x + y * y) / 2)[..., None]
    exposure = (
        rng.uniform(0.36, 0.50) * (0.7 if dark else 1.0) * 255 / max(float(pixels.mean()), 1.0)
    )
    pixels *= min(max(exposure, 0.85), 1.7)
    grain = rng.standard_normal((height, width), np.float32)
    tint = rng.standard_normal((height, width, 1), np.float32) * np.array(
        [0.35, -0.2, 0.35], np.float32
    )
    pixels += rng.uniform(1.0, 4.5) * (grain[..., None] + tint)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def render_scene(
    height: int,
    width: int,
    seed: int,
    index: int,
    *,
    zoom: float = 1.0,
    reach: float = math.inf,
    weather: Weather | None = None,
) -> Scene:
    """Render scene number ``index`` of the endless series ``seed``.

    Args:
        height: in pixels, at least 32.
        width: in pixels, at least 32.
        seed: non-negative seed of the series.
        index: non-negative number within it.
        zoom: of the lens: factor to the focal length of a car's camera.
        reach: distance in metres up to which there are people and vehicles.
        weather: in which the same street with the same things is seen; the plain one changes no pixel,
            but with any, `Scene.distance` is measured.

    Returns:
        The scene; the same arguments always give the same bytes.
    """
    rng = np.random.default_rng([seed, index])
    camera = _random_camera(rng, height, width, zoom)
    light, street = random_light(rng), random_street(rng)
    props = furnish(rng, street, reach)
    if weather is not None:
        light = light_of(weather, light)
    painter = Painter(camera, light, relief=weather is not None)
    paint_street(painter, rng, street, props)
    if rng.uniform() < 0.3:
        _bonnet(painter, rng)
    labels = np.array(painter.labels, np.uint8)[painter.entities]
    seen = np.flatnonzero(np.bincount(painter.entities.ravel(), minlength=len(painter.labels)))
    instances = tuple(
        Instance(int(i), painter.labels[i]) for i in seen if painter.labels[i] in THINGS
    )
    image, dark = painter.image, light.lamps
    if weather is not None and not weather.plain:
        image = dress(weather, np.random.default_rng([seed, index, 2]), painter, labels)
        dark = weather.hour != 'day'
    return Scene(
        image=photograph(rng, image, labels, dark),
        labels=labels,
        entities=painter.entities,
        instances=instances,
        distance=painter.relief.distance if painter.relief else None,
        focal=camera.focal,
    )
