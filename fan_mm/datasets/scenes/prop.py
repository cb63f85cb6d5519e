"""What stands in a scene: a footprint, a shape for its shadow, and how it is drawn."""

import colorsys
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from fan_mm.datasets.scenes.painter import Frame, Painter, Points

_T = TypeVar('_T')


@dataclass(frozen=True)
class Prop:
    """One thing on the ground, ready to be drawn.

    Attributes:
        low, high: corners (x, z) of its footprint's bounding box in metres.
        draw: draws it with a painter, opening its own entities.
        hull: points ``(n, 3)`` around its body; their shadow on the ground is the thing's.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    draw: Callable[[Painter], None]
    hull: np.ndarray

    @cached_property
    def span(self) -> tuple[float, float]:
        """Its range of x / z: what lies beside it in the image cannot cover it."""
        slopes = self.hull[:, 0] / np.maximum(self.hull[:, 2], 0.5)
        return float(slopes.min()), float(slopes.max())

    def hides(self, other: 'Prop') -> bool:
        """Whether this may cover the other, seen by a camera on the street at x = 0."""
        if self.span[1] < other.span[0] or other.span[1] < self.span[0]:
            return False
        if self.high[1] <= other.low[1]:
            return True
        if other.high[1] <= self.low[1]:
            return False
        # side by side along z: the one nearer to the camera's axis covers the other
        if self.high[0] <= other.low[0]:
            return other.low[0] > 0
        if other.high[0] <= self.low[0]:
            return other.high[0] < 0
        return self.low[1] + self.high[1] < other.low[1] + other.high[1]


def back_to_front(props: Sequence[Prop]) -> list[Prop]:
    """Order props so that each comes before those that may cover it."""
    waiting = sorted(props, key=lambda prop: -(prop.low[1] + prop.high[1]))
    ordered = []
    while waiting:
        free = next(
            (p for p in waiting if not any(p.hides(q) for q in waiting if q is not p)),
            waiting[0],
        )
        waiting.remove(free)
        ordered.append(free)
    return ordered


def cuboid(low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """The eight corners ``(8, 3)`` of a box between two opposite ones."""
    return np.array(list(itertools.product(*zip(low, high, strict=True))))


def standing(
    frame: Frame,
    half: float,
    length: float,
    height: float,
    draw: Callable[[Painter], None],
    bottom: float = 0.0,
) -> Prop:
    """A prop whose bounds and shadow are those of an upright box centred on its frame.

    Args:
        frame: its place and direction.
        half: half of its width in local metres.
        length: extent forward in local metres.
        height: its top in local metres.
        draw: see `Prop`.
        bottom: where the box of its shadow begins above the ground, in local metres.
    """
    world = frame.place(cuboid((-half, bottom, -length / 2), (half, height, length / 2)))
    low, high = world.min(axis=0), world.max(axis=0)
    return Prop((low[0], low[2]), (high[0], high[2]), draw, world)


def beside_street(
    x0: float, x1: float, z0: float, z1: float, height: float, draw: Callable[[Painter], None]
) -> Prop:
    """A prop that fills an upright box along the street; x0 may be either side of x1."""
    low, high = min(x0, x1), max(x0, x1)
    return Prop((low, z0), (high, z1), draw, cuboid((low, 0, z0), (high, height, z1)))


def pick(
    rng: np.random.Generator, options: Sequence[_T], weights: Sequence[float] | None = None
) -> _T:
    """One of the options, by their weights if given."""
    if weights is None:
        return options[int(rng.integers(len(options)))]
    total = np.cumsum(weights)
    return options[int(np.searchsorted(total, rng.uniform(0, total[-1]), side='right'))]


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """An RGB colour ``(3,)`` in 0 to 1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def paint(rng: np.random.Generator) -> np.ndarray:
    """A vehicle's or garment's colour: greys more often than bright ones."""
    if rng.uniform() < 0.5:
        return np.full(3, rng.uniform(0.06, 0.92)) + rng.normal(0, 0.015, 3)
    return hsv(rng.uniform(), rng.uniform(0.45, 0.95), rng.uniform(0.25, 0.95))


def metal(rng: np.random.Generator) -> np.ndarray:
    """Colour of posts and rails: greys, dark green, rust."""
    tones = (
        (0.45, 0.46, 0.47),
        (0.62, 0.63, 0.64),
        (0.2, 0.22, 0.22),
        (0.16, 0.26, 0.2),
        (0.5, 0.42, 0.33),
    )
    return np.array(pick(rng, tones)) * rng.uniform(0.8, 1.15)


def rectangle(half: float, high: float, centre: Points = (0.0, 0.0)) -> np.ndarray:
    """Corners ``(4, 2)`` of a rectangle, from its half width and half height."""
    return np.array([(-half, -high), (half, -high), (half, high), (-half, high)]) + np.asarray(
        centre
    )


def circle(radius: float, points: int = 16, centre: Points = (0.0, 0.0)) -> np.ndarray:
    """Points ``(n, 2)`` around a circle."""
    angle = np.arange(points) * (2 * np.pi / points)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1) + np.asarray(centre)
