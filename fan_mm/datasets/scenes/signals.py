"""Traffic signs and traffic lights."""

from collections.abc import Sequence

import numpy as np

from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.painter import Frame, Painter, Shade
from fan_mm.datasets.scenes.prop import Prop, circle, metal, pick, rectangle, standing

Layers = Sequence[tuple[np.ndarray, Shade]]  # shapes ``(n, 2)`` about a middle, and their colours

_RED, _WHITE, _BLACK = (0.78, 0.09, 0.1), (0.95, 0.95, 0.95), (0.05, 0.05, 0.05)
_BLUE, _YELLOW, _GREEN = (0.08, 0.25, 0.65), (0.97, 0.80, 0.1), (0.05, 0.42, 0.25)
_LAMPS = ((1.0, 0.12, 0.1), (1.0, 0.72, 0.1), (0.1, 0.95, 0.45))
_TRIANGLE = np.array([(-1.1, -0.75), (1.1, -0.75), (0.0, 1.1)])
_ARROW = np.array([(-0.4, 0.2), (0.4, 0.2), (0.0, 0.7)])
_OCTAGON = circle(1.05, 8) @ np.array([[0.924, 0.383], [-0.383, 0.924]])
# How often a kind of sign is seen, and the shapes of one of radius 1, each over the last; the first is
# its outline.
_SIGNS: dict[str, tuple[float, Layers]] = {
    'ban': (0.13, [(circle(1, 20), _RED), (rectangle(0.6, 0.14), _WHITE)]),
    'limit': (
        0.16,
        [
            (circle(1, 20), _RED),
            (circle(0.76, 18), _WHITE),
            *((rectangle(0.16, 0.35, (x, 0)), _BLACK) for x in (-0.3, 0.3)),
        ],
    ),
    'command': (
        0.14,
        [(circle(1, 20), _BLUE), (rectangle(0.12, 0.55), _WHITE), (_ARROW, _WHITE)],
    ),
    'danger': (
        0.12,
        [(_TRIANGLE, _RED), (_TRIANGLE * 0.62, _WHITE), (rectangle(0.08, 0.28), _BLACK)],
    ),
    'yield': (0.1, [(-_TRIANGLE, _RED), (-_TRIANGLE * 0.62, _WHITE)]),
    'priority': (0.1, [(circle(1.1, 4), _WHITE), (circle(0.8, 4), _YELLOW)]),
    'stop': (0.07, [(_OCTAGON, _RED), (rectangle(0.7, 0.2), _WHITE)]),
    'parking': (
        0.1,
        [
            (rectangle(0.9, 0.9), _BLUE),
            (rectangle(0.12, 0.6, (-0.3, 0)), _WHITE),
            (circle(0.38, 12, (0.08, 0.25)), _WHITE),
        ],
    ),
    'direction': (0.08, []),  # every one is different
}


def _plate(
    painter: Painter, frame: Frame, x: float, y: float, layers: Layers, size: float = 1.0
) -> None:
    """A sign before a post, its middle at local (x, y), facing the frame's backward direction."""
    painter.begin(Label.TRAFFIC_SIGN)
    for number, (outline, colour) in enumerate(layers):
        points = np.insert(outline * size + (x, y), 2, -0.08, axis=1)
        painter.face(frame, points, colour, (0, 0, -1), detail=number > 0)


def _sign(painter: Painter, rng: np.random.Generator, frame: Frame, y: float, r: float) -> None:
    """One sign of about radius r, its middle at height y."""
    kind = pick(rng, tuple(_SIGNS), tuple(weight for weight, _ in _SIGNS.values()))
    layers = _SIGNS[kind][1]
    if kind == 'direction':
        ground, ink = pick(rng, ((_YELLOW, _BLACK), (_WHITE, _BLACK), (_BLUE, _WHITE)))
        rows = [(rectangle(rng.uniform(0.8, 1.5), 0.12, (0, z)), ink) for z in (-0.28, 0.28)]
        layers = [(rectangle(1.8, 0.65), ground), *rows]
    _plate(painter, frame, 0.0, y, layers, r)


def sign_post(rng: np.random.Generator, frame: Frame) -> Prop:
    """One or two traffic signs on a post, for those who travel along the frame."""
    colour, height, radius = metal(rng), rng.uniform(2.3, 3.0), 0.36 * rng.uniform(1.0, 1.5)
    count = 1 if rng.uniform() < 0.7 else 2

    def draw(painter: Painter) -> None:
        painter.begin(Label.POLE)
        painter.limb(frame.place([[0, 0, 0], [0, height, 0]]), 0.07, 0.065, colour)
        for i in range(count):
            _sign(painter, rng, frame, height - 0.25 - 2.2 * radius * i, radius)

    return standing(frame, 0.15, 0.2, height, draw)


def gantry_sign(rng: np.random.Generator, frame: Frame, reach: float) -> Prop:
    """A large direction board on an arm over the street (``reach`` metres, left if < 0)."""
    colour, height = metal(rng), 5.3
    ground, ink = pick(rng, ((_BLUE, _WHITE), (_YELLOW, _BLACK), (_GREEN, _WHITE)))
    half, high = rng.uniform(1.0, 1.7), rng.uniform(0.55, 0.9)

    def draw(painter: Painter) -> None:
        painter.begin(Label.POLE)
        foot, top, tip = frame.place([[0, 0, 0], [0, height, 0], [reach, height, 0]])
        painter.limb((foot, top), 0.16, 0.13, colour)
        painter.limb((top, tip), 0.09, 0.07, colour)
        layers = [(rectangle(half, high), ink), (rectangle(half - 0.07, high - 0.07), ground)]
        for row in (-0.5, 0.0, 0.5):
            wide = half * rng.uniform(0.3, 0.6)
            layers.append((rectangle(wide, 0.07, (wide - half * 0.7, row * high)), ink))
        _plate(painter, frame, reach - np.sign(reach) * half * 0.8, height - 0.3, layers)

    return standing(frame, 0.15, 0.3, height, draw)


def _signal(painter: Painter, frame: Frame, x: float, y: float, lit: int, big: float) -> None:
    """A signal head with three lamps, its middle at local (x, y)."""
    painter.begin(Label.TRAFFIC_LIGHT)
    world = frame.place([x, 0.0, 0.0])
    head = Frame(float(world[0]), float(world[2]), frame.heading, big)
    y = y / big
    painter.box(head, (y - 0.5, -0.22), (y + 0.5, 0.06), 0.17, (0.09, 0.1, 0.1))
    for i, colour in enumerate(_LAMPS):
        lamp = np.insert(circle(0.125, 12, (0.0, y + (1 - i) * 0.32)), 2, -0.23, axis=1)
        shown = colour if i == lit else np.array(colour) * 0.18 + 0.05
        painter.face(head, lamp, shown, (0, 0, -1), glow=i == lit, detail=True)


def traffic_light(rng: np.random.Generator, frame: Frame, reach: float, state: int) -> Prop:
    """A signal head on a post; with ``reach`` another one over the street.

    Args:
        rng: source of randomness.
        frame: the post; the heads face the frame's backward direction.
        reach: length of the arm in metres, to the left if negative, 0 for none.
        state: the lit lamp: 0 red, 1 amber, 2 green.
    """
    colour, big = metal(rng), rng.uniform(1.0, 1.35)
    tall = 5.2 if reach else 3.1

    def draw(painter: Painter) -> None:
        painter.begin(Label.POLE)
        foot, top, tip = frame.place([[0, 0, 0], [0, tall, 0], [reach, tall + 0.2, 0]])
        painter.limb((foot, top), 0.1, 0.09, colour)
        if reach:
            painter.limb((top, tip), 0.07, 0.05, colour)
            _signal(painter, frame, reach * 0.95, tall - 0.35, state, big)
        _signal(painter, frame, 0.0, 2.7, state, big)

    return standing(frame, 0.2, 0.4, tall, draw)
