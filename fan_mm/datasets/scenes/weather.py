"""Weather and hours of a scene: how it is lit, what lies on the ground, what is in the air.

A scene in bad weather is the same street with the same things, so its labels are as exact. Nothing here
is a corruption of `fan_mm.corruptions`: light has sources, fog has the depth of the scene, what falls is
hidden by what stands before it.
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from fan_mm.datasets.scenes.atmosphere import falling, koschmieder
from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.light import Light
from fan_mm.datasets.scenes.night import bloom, lit_by_lamps
from fan_mm.datasets.scenes.painter import Painter
from fan_mm.datasets.scenes.texture import noise, tiled

KINDS = ('clear', 'fog', 'rain', 'snow')
HOURS = ('day', 'twilight', 'night')
_CLEAR_AIR = 1e9  # metres; haze is left to Koschmieder
_LEVELS = {'twilight': (0.30, 0.33, 0.45), 'night': (0.042, 0.044, 0.066)}
_SKIES = {  # at the horizon and above
    'twilight': ((0.44, 0.34, 0.36), (0.13, 0.16, 0.30)),
    'night': ((0.055, 0.05, 0.062), (0.012, 0.014, 0.032)),
}
_GROUND = (Label.ROAD, Label.SIDEWALK, Label.TERRAIN)
_BETAS = {'fog': (0.018, 0.055), 'rain': (0.003, 0.008), 'snow': (0.004, 0.012)}  # 1/m, from, to


@dataclass(frozen=True)
class Weather:
    """What a scene looks like.

    Attributes:
        kind: of `KINDS`.
        hour: of `HOURS`.
    """

    kind: str = 'clear'
    hour: str = 'day'

    @property
    def plain(self) -> bool:
        """Whether a scene stays as it is."""
        return self == Weather()


def light_of(weather: Weather, light: Light) -> Light:
    """The light in which a scene is painted, from that of the same scene in good weather."""
    if weather.plain:
        return light
    return replace(
        light,
        sun=np.array([0.0, 1.0, 0.0]),
        sunlight=np.full(3, 0.08),
        visibility=_CLEAR_AIR,
        softness=0.3,
        **(_under_clouds(weather) if weather.hour == 'day' else _in_the_dark(weather)),
    )


def _under_clouds(weather: Weather) -> dict[str, Any]:
    level = {'fog': 0.76, 'rain': 0.58, 'snow': 0.80}[weather.kind]
    grey = level * np.array([0.985, 1.0, 1.01])
    return dict(
        ambient=grey * (0.98 if weather.kind == 'snow' else 0.92),
        zenith=grey * (1.0 if weather.kind == 'fog' else 0.88),
        horizon=grey,
        clouds=1.0,
        shadow=0.12,
        lamps=weather.kind != 'snow',
    )


def _in_the_dark(weather: Weather) -> dict[str, Any]:
    """Even white light, whose place `lit_by_lamps` takes; the sky alone is painted as it looks."""
    horizon, zenith = np.array(_SKIES[weather.hour])
    if weather.kind != 'clear':
        zenith = horizon = horizon * 0.9
    return dict(
        ambient=np.full(3, 0.9),
        zenith=zenith,
        horizon=horizon,
        clouds=0.0 if weather.hour == 'night' else 0.25 if weather.kind == 'clear' else 1.0,
        shadow=0.0,
        lamps=True,
    )


def dress(
    weather: Weather, rng: np.random.Generator, painter: Painter, labels: np.ndarray
) -> np.ndarray:
    """Turn a painted scene into one of its weather.

    Args:
        weather: not the plain one.
        rng: of the weather alone.
        painter: has painted the scene in `light_of` this weather, with a relief.
        labels: ``(H, W)`` trainIds.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    relief, camera = painter.relief, painter.camera
    assert relief is not None
    image = painter.image.astype(np.float32)
    glow = relief.glow.astype(np.float32)[..., None] / 255
    beta = rng.uniform(*_BETAS[weather.kind]) if weather.kind in _BETAS else 0.0
    if weather.kind == 'snow':
        image = _snowed(rng, image, painter, labels)
    if weather.hour != 'day':
        sky = relief.nearness == 0
        level = np.array(_LEVELS[weather.hour])
        image = lit_by_lamps(image, glow[..., 0], relief.points, sky, level)
    shining = painter.image * glow
    if weather.kind == 'rain':
        image = wet_ground(rng, bloom(image, shining, 0.3, 0.02), painter, labels)
    air = 255 * np.asarray(painter.light.horizon, np.float32)
    if beta:
        clear = np.exp(-np.float32(beta) * relief.distance)[..., None]
        image, shining = koschmieder(image, relief.distance, beta, air), shining * clear**0.5
    if weather.hour == 'night' or weather.kind in ('fog', 'rain'):
        image = bloom(image, shining, 0.9 if weather.hour == 'night' else 0.35, 0.01 + 0.5 * beta)
    if weather.kind in ('rain', 'snow'):
        size, amount = (0.0022, 9.0) if weather.kind == 'rain' else (0.011, 4.0)
        bright = np.maximum(air * 1.25, 255 * np.array([0.30, 0.30, 0.31]))
        image = falling(
            rng, image, relief.distance, camera.focal, weather.kind, size, amount, bright
        )
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _ground(painter: Painter, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which pixels show the ground, and of all rows the metres to the right and ahead."""
    camera = painter.camera
    rows = np.maximum(np.arange(camera.height), camera.horizon + 1)[:, None]
    x, z = camera.ground(rows, np.arange(camera.width)[None])
    return np.isin(labels, _GROUND), x, z


def wet_ground(
    rng: np.random.Generator, image: np.ndarray, painter: Painter, labels: np.ndarray
) -> np.ndarray:
    """Wet ground: darker, and a blurred mirror of what is above it, in puddles more than beside them.

    Args:
        rng: where the puddles are.
        image: ``(H, W, 3)`` float32.
        painter: whose camera sees it.
        labels: ``(H, W)`` trainIds.
    """
    camera = painter.camera
    ground, x, z = _ground(painter, labels)
    height = camera.height
    above = cv2.blur(image, (3, 2 * (height // 24) + 1))
    mirrored = np.clip(2 * camera.horizon - np.arange(height), 0, height - 1).astype(int)
    puddles = tiled(noise(rng, 256, 256, 8, 3), x * 9, z * 4)
    flat = camera.eye / np.maximum(z, 0.5)  # the steeper it is looked at, the less it mirrors
    share = np.clip(0.22 + 0.16 * puddles, 0.08, 0.75) / (1 + 1.5 * np.minimum(flat, 1.0))
    share *= np.where(labels == Label.TERRAIN, 0.15, 1.0)
    share = share.astype(np.float32)[..., None]
    wet = image * 0.72 * (1 - share) + above[mirrored] * share
    return np.where(ground[..., None], wet, image)


def _snowed(
    rng: np.random.Generator, image: np.ndarray, painter: Painter, labels: np.ndarray
) -> np.ndarray:
    """Snow on the ground, less of it where wheels roll, on leaves, and on top of what stands there."""
    height, width = labels.shape
    ground, x, z = _ground(painter, labels)
    patches = tiled(noise(rng, 256, 256, 6, 4), x * 8, z * 4)
    tracks = np.exp(-(((np.abs(x) - 0.8) / 0.35) ** 2)) * (labels == Label.ROAD)
    depth = np.select([labels == Label.ROAD, labels == Label.SIDEWALK], [0.35, 0.75], 1.0)
    cover = np.clip(depth + 0.28 * patches - 0.5 * tracks, 0, 0.97) * ground
    leaves = 0.42 + 0.2 * noise(rng, height, width, max(8, width // 6), 2)
    cover = np.where(labels == Label.VEGETATION, np.clip(leaves, 0, 0.9), cover)
    cover = np.maximum(cover, 0.9 * _tops(painter, labels))[..., None]
    white = 255 * np.asarray(painter.light.ambient, np.float32) * 1.08
    return (image * (1 - cover) + white * cover).astype(np.float32)


def _tops(painter: Painter, labels: np.ndarray) -> np.ndarray:
    """Upper edges of things, where something farther is seen above them: bool ``(H, W)``."""
    assert painter.relief is not None
    nearness, entities = painter.relief.nearness, painter.entities
    rows = np.clip(nearness * painter.camera.focal * 0.09, 1, 40).astype(int)  # 9 cm deep
    above = np.maximum(np.arange(len(labels))[:, None] - rows, 0)
    columns = np.arange(labels.shape[1])[None]
    farther = nearness[above, columns] < 0.8 * nearness
    things = ~np.isin(labels, (*_GROUND, Label.SKY, Label.PERSON, Label.RIDER, Label.VEGETATION))
    return farther & (entities[above, columns] != entities) & things
