"""Walls, fences and guard rails along the street."""

import numpy as np

from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.painter import Painter
from fan_mm.datasets.scenes.prop import Prop, beside_street, circle, hsv, metal, paint, pick
from fan_mm.datasets.scenes.surface import Surface

# Metres of a barrier, from its near end, on which joints and bars are drawn one by one.
_DETAILED = 25.0


def fence(rng: np.random.Generator, x: float, z0: float, z1: float, facing: int) -> Prop:
    """A fence of bars, planks or mesh, or a guard rail, from z0 to z1; the street is to its ``facing`` (-1, 1)."""
    kind = pick(rng, ('bars', 'planks', 'mesh', 'rail'), (0.4, 0.25, 0.15, 0.2))
    height = {'bars': 1.7, 'planks': 1.9, 'mesh': 2.6, 'rail': 0.9}[kind] * rng.uniform(0.85, 1.15)
    colour = np.array([0.5, 0.36, 0.22]) * rng.uniform(0.6, 1.3) if kind == 'planks' else metal(rng)
    if rng.uniform() < 0.2:
        colour = np.full(3, 0.9)

    def draw(painter: Painter) -> None:
        painter.begin(Label.FENCE)
        front = Surface.beside_street(painter, x, z0, z1, facing)
        near = min(front.length, _DETAILED)
        low = 0.35 if kind == 'rail' else 0.0
        with painter.translucent({'bars': 0.3, 'mesh': 0.45}.get(kind, 1.0)):
            front.band(low, height, colour, detail=False)
        if kind == 'bars':
            front.rectangles(
                np.arange(0, near, 0.22), 0.08, 0.05, height - 0.08, colour, smallest=0.35
            )
            front.band(0.15, 0.21, colour)
            front.band(height - 0.12, height - 0.06, colour)
        elif kind == 'planks':
            front.rectangles(
                np.arange(0, near, 0.3), 0.0, 0.04, height, colour * 0.5, smallest=0.35
            )
            front.band(height - 0.2, height - 0.12, colour * 0.75)
        elif kind == 'mesh':
            front.rectangles(np.arange(0, near, 0.3), 0.0, 0.02, height, colour, smallest=0.2)
            for y in np.arange(0.2, height, 0.3, float):
                front.band(y, y + 0.02, colour)
        else:
            front.band(0.55, 0.6, colour * 0.7)
        if kind != 'planks':
            posts = np.arange(0, front.length, 3.0 if kind == 'rail' else 2.0)
            front.rectangles(posts, 0.0, 0.09, height, colour * 0.8, smallest=0.35)

    return beside_street(x - 0.05, x + 0.05, z0, z1, height, draw)


def wall(rng: np.random.Generator, x: float, z0: float, z1: float, facing: int) -> Prop:
    """A free-standing wall of concrete panels, bricks or stones, with a coping and graffiti; see `fence`."""
    kind = pick(rng, ('concrete', 'brick', 'stone'))
    height = rng.uniform(1.4, 4.0)
    if kind == 'concrete':
        colour = np.full(3, rng.uniform(0.45, 0.75))
    elif kind == 'brick':
        colour = hsv(rng.uniform(0.0, 0.06), rng.uniform(0.4, 0.65), rng.uniform(0.4, 0.65))
    else:
        colour = hsv(rng.uniform(0.07, 0.14), rng.uniform(0.08, 0.3), rng.uniform(0.4, 0.7))
    back = x - facing * 0.35
    joint = colour * 0.7

    def draw(painter: Painter) -> None:
        painter.begin(Label.WALL)
        end = [(x, 0, z0), (back, 0, z0), (back, height, z0), (x, height, z0)]
        painter.polygon(end, colour, (0.0, 0.0, -1.0))
        front = Surface.beside_street(painter, x, z0, z1, facing)
        front.band(0.0, height, colour, detail=False)
        near = min(front.length, _DETAILED)
        if kind == 'concrete':
            front.rectangles(
                np.arange(0, front.length, 2.5), 0.0, 0.05, height, joint, smallest=0.3
            )
            front.band(height * 0.5, height * 0.5 + 0.03, joint)
        else:
            row, long = (0.16, 0.5) if kind == 'brick' else (0.38, 0.9)
            for i, y in enumerate(np.arange(row, height, row, float)):
                front.band(y, y + 0.03, joint)
                joints = np.arange(i % 2 * long / 2, near, long)
                front.rectangles(joints, y - row, 0.03, row, joint, smallest=0.3)
        front.band(height - 0.14, height, colour * 1.25)
        for _ in range(rng.integers(0, 4)):
            place = rng.uniform(0, front.length), rng.uniform(0.4, height - 0.5)
            tag = circle(1.0, 7) * rng.uniform(0.4, 1.1, (7, 1)) * (1.0, 0.4) + place
            painter.patches(front.points(tag)[None], paint(rng), front.normal)

    return beside_street(x, back, z0, z1, height, draw)
