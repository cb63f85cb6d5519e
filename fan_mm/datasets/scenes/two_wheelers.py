"""Bicycles and motorcycles, with and without riders.

Points are (right, up, forward) in metres from the ground below the middle.
"""

import numpy as np

from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.painter import Frame, Painter, Points, Shade
from fan_mm.datasets.scenes.people import draw_person, riding
from fan_mm.datasets.scenes.prop import Prop, circle, cuboid, paint, standing

_TYRE, _BLACK = np.array([0.07, 0.07, 0.08]), np.array([0.1, 0.1, 0.11])
_CHROME = np.array([0.55, 0.55, 0.57])


def _draw_bicycle(painter: Painter, rng: np.random.Generator, frame: Frame) -> None:
    """A bicycle: two wheels, a diamond frame, saddle and handlebar."""
    colour, basket = paint(rng), rng.uniform() < 0.35
    painter.begin(Label.BICYCLE)
    for axle in (-0.52, 0.52):
        rim = np.insert(circle(0.34, 18, (0.34, axle)), 0, 0.0, axis=1)
        painter.ring(frame.place(rim), 0.05, _TYRE)
        painter.bar(frame, [[0, 0.04, axle], [0, 0.66, axle]], 0.025, (0.3, 0.3, 0.31))
        painter.bar(frame, [[0, 0.34, axle - 0.3], [0, 0.34, axle + 0.3]], 0.01, (0.5,) * 3)
        painter.bar(frame, [[0, 0.68, axle - 0.2], [0, 0.74, axle]], 0.03, colour * 0.8)
    crank, seat, head = (0, 0.3, -0.05), (0, 0.88, -0.2), (0, 0.85, 0.36)
    hub, fork = (0, 0.34, -0.52), (0, 0.34, 0.52)
    diamond = [(crank, seat), (crank, head), (seat, head), (crank, hub), (hub, seat), (head, fork)]
    for ends in diamond:
        painter.bar(frame, ends, 0.03, colour)
    painter.limb(frame.place([[0, 0.95, -0.32], [0, 0.95, -0.08]]), 0.06, 0.04, _BLACK)
    painter.bar(frame, [[0, 0.85, 0.36], [0, 1.02, 0.36]], 0.025, _BLACK)
    painter.bar(frame, [[-0.27, 1.03, 0.34], [0.27, 1.03, 0.34]], 0.025, _BLACK)
    if basket:
        painter.hull(
            frame.place(cuboid((-0.17, 0.8, 0.45), (0.17, 1.02, 0.75))), (0.35, 0.27, 0.18)
        )


def _draw_motorcycle(painter: Painter, rng: np.random.Generator, frame: Frame) -> None:
    """A motorcycle or scooter: fat wheels, tank, engine, seat, fork and lamp."""
    colour, scooter = paint(rng), rng.uniform() < 0.35
    painter.begin(Label.MOTORCYCLE)

    def block(outline: Points, half: float, albedo: Shade) -> None:
        z, y = np.asarray(outline, float).T
        sides = [np.stack([np.full(len(z), x), y, z], axis=1) for x in (-half, half)]
        painter.hull(frame.place(np.concatenate(sides)), albedo)

    radius = 0.24 if scooter else 0.32
    for axle in (-0.68, 0.68):
        block(circle(radius, 14, (axle, radius)), 0.07, _TYRE)
        for side in (-1, 1):
            hub = np.insert(circle(radius * 0.55, 10, (radius, axle)), 0, side * 0.072, axis=1)
            painter.face(frame, hub, _CHROME, (side, 0, 0), detail=True)
    if scooter:
        block([(-0.75, 0.2), (0.35, 0.2), (0.4, 0.32), (-0.1, 0.75), (-0.85, 0.75)], 0.2, colour)
        block([(0.35, 0.25), (0.62, 0.95), (0.5, 0.95), (0.25, 0.3)], 0.2, colour * 0.9)
    else:
        block([(-0.3, 0.2), (0.3, 0.2), (0.35, 0.6), (-0.35, 0.6)], 0.17, (0.28, 0.28, 0.3))
        block([(-0.1, 0.62), (0.42, 0.66), (0.3, 0.95), (-0.05, 0.9)], 0.17, colour)
        block([(-0.4, 0.62), (-0.85, 0.72), (-0.8, 0.92), (-0.3, 0.78)], 0.12, colour)
        painter.limb(
            frame.place([[0.2, 0.3, -0.1], [0.2, 0.42, -0.8]]), 0.05, 0.06, (0.6, 0.6, 0.62)
        )
    block([(-0.75, 0.74), (0.0, 0.74), (0.0, 0.84), (-0.75, 0.86)], 0.14, _BLACK)
    for x in (-0.1, 0.1):
        painter.bar(frame, [[x, radius, 0.68], [x, 0.95, 0.45]], 0.03, _CHROME)
    painter.bar(frame, [[-0.36, 1.02, 0.38], [0.36, 1.02, 0.38]], 0.03, _BLACK)
    if np.cos(frame.heading) < 0:
        painter.ball(
            frame.place([0, 0.88, 0.58]), 0.1, (0.95, 0.94, 0.86), glow=painter.light.lamps
        )
    else:
        painter.ball(frame.place([0, 0.82, -0.86]), 0.06, (0.75, 0.06, 0.05), glow=True)
        painter.box(frame, (0.5, -0.98), (0.62, -0.96), 0.1, (0.9, 0.9, 0.85))


def parked_bicycle(rng: np.random.Generator, frame: Frame) -> Prop:
    """A bicycle without its rider."""
    return standing(frame, 0.28, 1.7, 1.05, lambda painter: _draw_bicycle(painter, rng, frame))


def parked_motorcycle(rng: np.random.Generator, frame: Frame) -> Prop:
    """A motorcycle without its rider."""
    return standing(frame, 0.35, 2.0, 1.05, lambda painter: _draw_motorcycle(painter, rng, frame))


def cyclist(rng: np.random.Generator, frame: Frame) -> Prop:
    """A rider on a bicycle: two entities."""
    helmeted = rng.uniform() < 0.5
    joints = riding(0.95, rng.uniform(0.15, 0.4), (0.25, 1.05, 0.34), rng.uniform(-0.16, 0.16))

    def draw(painter: Painter) -> None:
        _draw_bicycle(painter, rng, frame)
        painter.begin(Label.RIDER)
        draw_person(painter, rng, frame, joints, paint(rng) if helmeted else None)

    return standing(frame, 0.3, 1.7, 1.75, draw)


def motorcyclist(rng: np.random.Generator, frame: Frame) -> Prop:
    """A rider on a motorcycle: two entities."""
    joints = riding(0.82, rng.uniform(0.1, 0.3), (0.33, 1.02, 0.36), 0.02)

    def draw(painter: Painter) -> None:
        _draw_motorcycle(painter, rng, frame)
        painter.begin(Label.RIDER)
        draw_person(painter, rng, frame, joints, paint(rng))

    return standing(frame, 0.38, 2.0, 1.65, draw)
