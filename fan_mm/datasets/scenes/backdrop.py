"""Sky and skyline: what lies behind everything that stands in a scene."""

import numpy as np

from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.painter import Painter
from fan_mm.datasets.scenes.prop import hsv
from fan_mm.datasets.scenes.surface import Surface
from fan_mm.datasets.scenes.texture import noise, tiled

_CLOUD_LAYER = 40.0  # texels of the cloud texture per unit of distance in the layer of clouds


def draw_sky(painter: Painter, rng: np.random.Generator) -> None:
    """A gradient, clouds flattened towards the horizon, and the glow around a low sun."""
    camera, light = painter.camera, painter.light
    painter.begin(Label.SKY)
    painter.entities[:] = len(painter.labels) - 1
    rows = int(np.clip(camera.horizon + 2, 2, camera.height))
    up = np.clip((camera.horizon - np.arange(rows)) / camera.focal, 0.004, None)[:, None, None]
    blend = np.clip(up * 2.4, 0, 1) ** 0.7
    sky = light.horizon * (1 - blend) + light.zenith * blend
    sky = np.repeat(sky.astype(np.float32), camera.width, axis=1)

    distance = _CLOUD_LAYER * 0.35 / (up[..., 0] + 0.06)
    across = np.arange(camera.width) / camera.focal * distance * 1.6
    texture = noise(rng, 256, 256, int(rng.integers(2, 5)), 5)
    clouds = tiled(texture, across + 60, np.broadcast_to(distance, across.shape))[..., None]
    cover = np.clip((clouds + 2.6 * light.clouds - 1.3) * 0.8, 0, 1) * np.clip(up * 14, 0, 1)
    white = light.horizon * 0.55 + 0.45 * (light.ambient * 0.6 + light.sunlight * 0.75)
    sky += (white * (1.0 - 0.12 * np.clip(clouds, 0, 2)) - sky) * (0.85 * cover)

    if light.sun[2] > 0 and not light.overcast:
        x, y = camera.pixels(camera.turn(light.sun))
        dx, dy = np.arange(camera.width) - x, np.arange(rows)[:, None] - y
        glow = np.exp(-np.hypot(dx, dy) / (0.12 * camera.width))[..., None]
        sky += glow * light.sunlight * 0.5
    painter.image[:rows] = np.clip(sky * 255, 0, 255)


def draw_skyline(painter: Painter, rng: np.random.Generator, green: bool) -> None:
    """Far houses and woods along the horizon."""
    x = -260.0
    while x < 260.0:
        wide, z = rng.uniform(8, 40), rng.uniform(130, 200)
        if rng.uniform() < (0.75 if green else 0.4):
            painter.begin(Label.VEGETATION)
            colour = hsv(rng.uniform(0.2, 0.36), rng.uniform(0.25, 0.5), rng.uniform(0.25, 0.45))
            crest = zip(np.linspace(x, x + wide, 9), rng.uniform(5, 13, 9), strict=True)
            painter.polygon([(x, 0, z), *((a, y, z) for a, y in crest), (x + wide, 0, z)], colour)
        else:
            painter.begin(Label.BUILDING)
            height = rng.uniform(7, 26)
            colour = hsv(rng.uniform(0, 0.15), rng.uniform(0.05, 0.35), rng.uniform(0.4, 0.75))
            front = Surface(painter, (x, 0, z), (1, 0, 0), wide, (0, 0, -1))
            front.band(0, height, colour, detail=False)
            lefts, lows = np.meshgrid(np.arange(1.5, wide - 2, 4), np.arange(2, height - 2, 4))
            front.rectangles(lefts.ravel(), lows.ravel(), 2.0, 2.0, colour * 0.6)
        x += wide * rng.uniform(0.5, 0.9)
