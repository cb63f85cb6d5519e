"""Houses and blocks along the street."""

from itertools import pairwise

import numpy as np

from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.painter import Painter
from fan_mm.datasets.scenes.prop import Prop, beside_street, hsv, paint, pick
from fan_mm.datasets.scenes.surface import Surface

_STOREY = 3.1
_DEPTH = 12.0


def _masonry(rng: np.random.Generator) -> np.ndarray:
    """Colour of a facade: plaster, brick, sandstone or concrete."""
    kind = pick(rng, ('plaster', 'brick', 'stone', 'concrete'), (0.45, 0.2, 0.2, 0.15))
    if kind == 'plaster':
        return hsv(rng.uniform(0.02, 0.17), rng.uniform(0.05, 0.4), rng.uniform(0.6, 0.9))
    if kind == 'brick':
        return hsv(rng.uniform(0.0, 0.06), rng.uniform(0.35, 0.6), rng.uniform(0.35, 0.6))
    if kind == 'stone':
        return hsv(rng.uniform(0.08, 0.13), rng.uniform(0.15, 0.35), rng.uniform(0.5, 0.75))
    return np.full(3, rng.uniform(0.4, 0.7)) + rng.normal(0, 0.02, 3)


def building(rng: np.random.Generator, x: float, z0: float, z1: float, outward: int) -> Prop:
    """A building of two to seven storeys whose front stands at x, from z0 to z1, 12 m deep to the side ``outward``."""
    facade = _Facade(rng)
    height, far = facade.height, x + outward * _DEPTH

    def draw_roof(painter: Painter) -> None:
        middle, ridge = (x + far) / 2, height + rng.uniform(2.2, 3.6)
        gable = [(x, height, z0), (far, height, z0), (middle, ridge, z0)]
        painter.polygon(gable, facade.wall * 0.96, (0.0, 0.0, -1.0))
        eave, low = x - outward * 0.4, height - 0.2
        for a, b in pairwise(np.linspace(z0, z1, max(2, int((z1 - z0) / 6) + 1))):
            slope = [(eave, low, a), (eave, low, b), (middle, ridge, b), (middle, ridge, a)]
            painter.polygon(slope, facade.roof, (-outward * 0.6, 0.8, 0.0))

    def draw(painter: Painter) -> None:
        painter.begin(Label.BUILDING)
        if facade.house:
            draw_roof(painter)
        # the narrow side that looks at the camera, then the front along the street
        facade.draw(Surface(painter, (x, 0, z0), (outward, 0, 0), _DEPTH, (0, 0, -1)))
        facade.draw(Surface.beside_street(painter, x, z0, z1, -outward))

    return beside_street(x, far, z0, z1, height, draw)


class _Facade:
    """The look of a building, the same on all of its sides.

    Args:
        rng: source of randomness, also where a side is drawn.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.storeys = int(rng.integers(2, 8))
        self.house = self.storeys <= 3 and rng.uniform() < 0.7
        self.height = self.storeys * _STOREY + rng.uniform(0.6, 1.4)
        self.wall, self.trim = _masonry(rng), np.full(3, rng.uniform(0.35, 0.95))
        self.plinth = (
            self.wall * rng.uniform(0.55, 0.85) if rng.uniform() < 0.6 else paint(rng) * 0.8
        )
        self.roof = hsv(rng.uniform(0.0, 0.07), rng.uniform(0.2, 0.6), rng.uniform(0.25, 0.5))
        styles = ('holes', 'bands', 'curtain')
        self.style = 'holes' if self.house else pick(rng, styles, (0.7, 0.18, 0.12))
        self.bay, self.share = rng.uniform(2.2, 4.0), rng.uniform(0.4, 0.62)  # of windows
        self.tall = rng.uniform(1.3, 2.1)
        self.shops = rng.uniform() < 0.5 and not self.house
        self.balconies = rng.uniform() < 0.25 and self.style == 'holes'
        self.ledges = rng.uniform() < 0.5
        self.awnings = [paint(rng) for _ in range(12)]

    def draw(self, front: Surface) -> None:
        """Draw one side."""
        front.band(0, self.height, self.wall, detail=False)
        self._draw_windows(front)
        if self.ledges:
            for y in np.arange(_STOREY, self.height, _STOREY, float):
                front.band(y - 0.08, y + 0.08, self.wall * 0.75)
        self._draw_ground_floor(front)
        front.band(self.height - 0.35, self.height, self.trim * 0.9)

    def _draw_windows(self, front: Surface) -> None:
        rng, trim, light = self.rng, self.trim, front.painter.light
        glass = 0.06 + light.zenith * rng.uniform(0.15, 0.5)
        gap = front.length / max(1, int(front.length / self.bay))
        lefts, floors = np.meshgrid(
            np.arange(0, front.length - gap / 2, gap),
            np.arange(1 if self.shops else 0, self.storeys),
        )
        lefts, lows = lefts.ravel(), floors.ravel() * _STOREY + 0.95
        if self.style == 'bands':
            for low in np.unique(lows):
                front.band(low, low + self.tall, glass)
            front.rectangles(lefts, lows, 0.12, self.tall, self.wall)
            return
        wide, high = gap * self.share, self.tall
        if self.style == 'curtain':
            wide, high, lows = gap * 0.9, _STOREY - 0.4, lows - 0.7
        lefts = lefts + (gap - wide) / 2
        if self.style == 'holes':
            front.rectangles(lefts - 0.12, lows - 0.14, wide + 0.24, high + 0.26, trim)
        lit = rng.uniform(size=len(lefts)) < (0.45 if light.lamps else 0.0)
        curtained = ~lit & (rng.uniform(size=len(lefts)) < 0.3)
        front.rectangles(lefts, lows, wide, high, glass)
        front.rectangles(lefts[curtained], lows[curtained], wide, high, glass * 0.6 + 0.25)
        front.rectangles(lefts[lit], lows[lit], wide, high, (1.0, 0.82, 0.48), glow=True)
        if self.style == 'holes':
            front.rectangles(lefts + wide / 2 - 0.04, lows, 0.08, high, trim)
            front.rectangles(lefts, lows + high * 0.62, wide, 0.07, trim)
        if self.balconies:
            some = (lows > _STOREY) & (rng.uniform(size=len(lows)) < 0.6)
            front.rectangles(lefts[some] - 0.3, lows[some] - 0.45, wide + 0.6, 0.9, trim * 0.6)

    def _draw_ground_floor(self, front: Surface) -> None:
        light = front.painter.light
        if not self.shops:
            front.band(0.0, 0.6, self.plinth)
            door = front.length * self.rng.uniform(0.2, 0.7)
            front.rectangles([door], 0.05, 1.15, 2.25, self.plinth * 0.5)
            return
        front.band(0.0, _STOREY, self.plinth)
        glass = 0.08 + 0.4 * light.zenith
        window = (1.0, 0.86, 0.6) if light.lamps else glass
        wide = front.length / max(1, int(front.length / 5))
        lefts = np.arange(0, front.length - wide / 2, wide)
        for left, awning in zip(lefts, self.awnings, strict=False):
            front.rectangles([left + 0.3], 0.45, wide * 0.62, 2.0, window, glow=light.lamps)
            front.rectangles(
                [left + 0.4 + wide * 0.64], 0.05, min(1.1, wide * 0.22), 2.4, glass * 0.5
            )
            front.rectangles([left + 0.2], 2.5, wide - 0.4, 0.5, awning)
