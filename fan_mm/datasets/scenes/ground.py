"""The ground: land, sidewalks, the road with its markings, and the shadows that fall on it."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from fan_mm.datasets.scenes.camera import NEAR, SHIFT, subpixel
from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.painter import Painter, Shade
from fan_mm.datasets.scenes.plan import Side, Street
from fan_mm.datasets.scenes.prop import Prop, hsv
from fan_mm.datasets.scenes.texture import noise, tiled

_UP = (0.0, 1.0, 0.0)
_END = 260.0
# Where long bands of ground are cut, in metres, so that they bend and fade with the distance.
_STEPS = np.array([0.0, 1.5, 3, 4.5, 6.5, 9, 12, 16, 22, 30, 42, 60, 90, 140, _END])
_PAVED = 26.0  # metres of sidewalk on which single stones are drawn


class _Ground:
    """Flat shapes on the ground, given by their extents (x0, x1, z0, z1) in metres."""

    def __init__(self, painter: Painter) -> None:
        self.painter = painter

    def strip(
        self,
        x0: float,
        x1: float,
        albedo: Shade,
        z0: float = 0.0,
        z1: float = _END,
        *,
        detail: bool = False,
    ) -> None:
        """A long band along the street."""
        for a, b in pairwise([z0, *_STEPS[(z0 < _STEPS) & (z1 > _STEPS)], z1]):
            self.area(x0, x1, a, b, albedo, detail=detail)

    def area(
        self, x0: float, x1: float, z0: float, z1: float, albedo: Shade, *, detail: bool = False
    ) -> None:
        """A rectangle."""
        corners = [(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)]
        self.painter.polygon(corners, albedo, _UP, detail=detail)

    def joints(
        self,
        x0: float | np.ndarray,
        x1: float | np.ndarray,
        z0: float | np.ndarray,
        z1: float | np.ndarray,
        albedo: Shade,
    ) -> None:
        """Many thin rectangles at once; the extents are broadcast against each other."""
        x0, x1, z0, z1 = np.broadcast_arrays(*np.atleast_1d(x0, x1, z0, z1))
        x, z = np.stack([x0, x1, x1, x0], axis=-1), np.stack([z0, z0, z1, z1], axis=-1)
        self.painter.patches(np.stack([x, 0.0 * x, z], axis=-1), albedo, _UP, smallest=0.25)


def draw_ground(painter: Painter, rng: np.random.Generator, street: Street) -> None:
    """The land, verges, sidewalks, and the road with everything that is painted on it."""
    ground = _Ground(painter)
    asphalt = np.full(3, rng.uniform(0.26, 0.46)) + rng.normal(0, 0.012, 3)
    stone = np.full(3, rng.uniform(0.42, 0.68)) * (1 + rng.normal(0, 0.03, 3))
    if rng.uniform() < 0.25:
        stone = hsv(rng.uniform(0.0, 0.08), rng.uniform(0.15, 0.35), rng.uniform(0.4, 0.6))
    grass = hsv(rng.uniform(0.16, 0.30), rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.6))
    if rng.uniform() < 0.2:
        grass = hsv(rng.uniform(0.08, 0.12), rng.uniform(0.25, 0.45), rng.uniform(0.4, 0.6))
    painter.begin(Label.SIDEWALK if street.urban else Label.TERRAIN)
    ground.strip(-300, 300, stone * 0.95 if street.urban else grass)
    for side in street.sides:
        _draw_side(ground, side, stone, grass)
    left, right = (side.at(side.kerb) for side in street.sides)
    painter.begin(Label.ROAD)
    ground.strip(left, right, asphalt)
    if street.junction is not None:
        ground.area(-200, 200, *street.junction, asphalt)
    for _ in range(rng.integers(0, 6)):  # repairs, manholes, stains
        x, z = rng.uniform(left + 1, right - 1), rng.uniform(2, 30)
        half, deep, shade = rng.uniform(0.2, 1.1), rng.uniform(0.3, 5), rng.uniform(0.72, 1.12)
        ground.area(
            max(x - half, left), min(x + half, right), z, z + deep, asphalt * shade, detail=True
        )
    _draw_markings(ground, rng, street)
    if street.rails is not None:
        for x in (street.rails - 0.72, street.rails + 0.72):
            ground.strip(x - 0.12, x + 0.12, asphalt * 0.7, detail=True)
            ground.strip(x - 0.035, x + 0.035, (0.6, 0.6, 0.62), detail=True)
    _draw_kerbs(ground, street, stone * 1.22, asphalt * 0.72)


def _draw_side(ground: _Ground, side: Side, stone: np.ndarray, grass: np.ndarray) -> None:
    """Grass strips and the sidewalk with its paving stones."""
    for inner, outer in ((side.verge, side.front), (side.kerb, side.walk)):
        if outer > inner:
            ground.painter.begin(Label.TERRAIN)
            ground.strip(side.at(inner), side.at(outer), grass)
    ground.painter.begin(Label.SIDEWALK)
    ground.strip(side.at(side.walk), side.at(side.verge), stone)
    rows, columns = np.arange(0.8, _PAVED, 0.9), np.arange(side.walk + 0.8, side.verge, 0.8)
    ground.joints(side.at(side.walk), side.at(side.verge), rows, rows + 0.035, stone * 0.8)
    x, z = (grid.ravel() for grid in np.meshgrid(columns, np.arange(0.8, _PAVED, 3.0)))
    ground.joints(side.sign * x, side.sign * (x + 0.03), z, z + 3, stone * 0.82)


def _draw_kerbs(ground: _Ground, street: Street, stone: np.ndarray, gutter: np.ndarray) -> None:
    """Kerb stones and gutters, interrupted by the crossing street."""
    spans = [(0.0, _END)]
    if street.junction is not None:
        spans = [(0.0, street.junction[0]), (street.junction[1], _END)]
    for side in street.sides:
        for span in spans:
            ground.painter.begin(Label.SIDEWALK)
            ground.strip(side.at(side.kerb), side.at(side.kerb + 0.16), stone, *span)
            ground.painter.begin(Label.ROAD)
            ground.strip(side.at(side.kerb - 0.12), side.at(side.kerb), gutter, *span)


def _draw_markings(ground: _Ground, rng: np.random.Generator, street: Street) -> None:
    """Lines between lanes and along the kerbs, arrows, the pedestrian crossing and its stop line."""
    paint = np.array([0.86, 0.86, 0.83]) * rng.uniform(0.8, 1.08)
    if rng.uniform() < 0.12:
        paint = np.array([0.85, 0.68, 0.2])
    gap = (-1.0, -1.0)
    if street.junction is not None:
        gap = (street.junction[0] - 4.5, street.junction[1] + 1.0)

    def line(x: float, half: float, dash: float, pause: float, phase: float) -> None:
        for z in np.arange(-phase, 90.0, dash + pause, float):
            if z + dash > 0 and not (z + dash > gap[0] and z < gap[1]):
                ground.area(x - half, x + half, max(z, 0.0), z + dash, paint, detail=True)

    dash, pause, phase = rng.uniform(2, 4), rng.uniform(3, 7), rng.uniform(0, 6)
    for lane in range(-street.lanes[0] + 1, street.lanes[1]):
        solid = lane == 0 and rng.uniform() < 0.4
        line((lane - 0.5) * street.lane, 0.07, *((6.0, 0.0) if solid else (dash, pause)), phase)
    for side in street.sides:
        if side.parking or rng.uniform() < 0.4:
            line(side.at(side.kerb - (2.3 if side.parking else 0.35)), 0.06, 5.0, 0.0, 0.0)
    if street.zebra is None:
        return
    if rng.uniform() < 0.3:
        for x in np.arange(street.lanes[1]) * street.lane:
            z = max(2.0, street.zebra - rng.uniform(5, 9))
            ground.area(x - 0.08, x + 0.08, z, z + 2.2, paint, detail=True)
            tip = [(x - 0.4, 0, z + 2.0), (x + 0.4, 0, z + 2.0), (x, 0, z + 3.4)]
            ground.painter.polygon(tip, paint, _UP, detail=True)
    left, right = (side.at(side.kerb) for side in street.sides)
    for x in np.arange(left + 0.4, right - 0.4, 1.0, float):
        ground.area(x, x + 0.5, street.zebra, street.zebra + 3.0, paint, detail=True)
    own = (-street.lane / 2, (street.lanes[1] - 0.5) * street.lane)
    ground.area(*own, street.zebra - 1.3, street.zebra - 0.9, paint, detail=True)


def roughen_ground(painter: Painter, rng: np.random.Generator) -> None:
    """Grain and blotches that lie on the ground in perspective."""
    camera = painter.camera
    grain, blotches = rng.standard_normal((256, 256), np.float32), noise(rng, 256, 256, 6, 4)
    top = int(np.clip(camera.horizon + 2, 0, camera.height))
    x, z = camera.ground(np.arange(top, camera.height)[:, None], np.arange(camera.width)[None])
    contrast = 0.045 * tiled(grain, x * 25, z * 14) * np.exp(-z / 12)
    contrast += 0.04 * tiled(blotches, x * 9, z * 5) * np.exp(-z / 40)
    painter.image[top:] = np.clip(painter.image[top:] * (1 + contrast)[..., None], 0, 255)


def draw_shadows(painter: Painter, props: Sequence[Prop]) -> None:
    """Darken the ground where props keep the sun away; under clouds only close to them."""
    camera, light = painter.camera, painter.light
    mask = np.zeros((camera.height, camera.width), np.uint8)
    x, y, z = light.sun
    for prop in props:
        cast = prop.hull[:, [0, 2]] - prop.hull[:, 1:2] * ([x, z] / np.maximum(y, 0.12))
        if light.overcast:
            cast = cast.mean(axis=0) + 1.12 * (cast - cast.mean(axis=0))
        outline = cv2.convexHull(np.clip(cast, -200, 300).astype(np.float32))[:, 0]
        points = np.insert(outline, 1, 0.0, axis=1)
        points[:, 2] = np.maximum(points[:, 2], NEAR + 0.1)
        view = camera.view(points)
        if (view[:, 2] >= NEAR / 2).all():
            cv2.fillPoly(mask, [subpixel(camera.pixels(view))], 255, cv2.LINE_AA, SHIFT)
    size = 2 * max(1, int(light.softness * camera.focal / 12)) + 1
    top = int(np.clip(camera.horizon, 0, camera.height))
    shade = light.shadow / 255 * cv2.blur(mask, (size, size))[top:, :, None].astype(np.float32)
    tint = np.array([1.0, 1.0, 0.9], np.float32)  # lit by the sky alone, the shade is bluer
    painter.image[top:] = np.clip(painter.image[top:] * (1 - shade * tint), 0, 255)
