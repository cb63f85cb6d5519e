"""Upright surfaces with things painted on them: facades, walls, fences."""

from itertools import pairwise

import numpy as np

from fan_mm.datasets.scenes.painter import Painter, Points, Shade

# Length in metres of the pieces into which long bands are cut, so that a bent street bends them.
_PIECE = 6.0


class Surface:
    """An upright rectangle; points on it are (along, up) in metres from its lower corner.

    Args:
        painter: draws it.
        corner: world point of the lower corner.
        along: horizontal unit vector from that corner to the other one.
        length: metres between the two.
        normal: unit vector to the side that is seen.
    """

    def __init__(
        self,
        painter: Painter,
        corner: Points,
        along: Points,
        length: float,
        normal: Points,
    ) -> None:
        self.painter = painter
        self.corner = np.asarray(corner, float)
        self.along = np.asarray(along, float)
        self.length = length
        self.normal = np.asarray(normal, float)

    @classmethod
    def beside_street(
        cls, painter: Painter, x: float, z0: float, z1: float, facing: int
    ) -> 'Surface':
        """One that stands at x from z0 to z1 and faces -x or +x."""
        return cls(painter, (x, 0, z0), (0, 0, 1), z1 - z0, (facing, 0, 0))

    def points(self, outline: Points) -> np.ndarray:
        """Points ``(..., 2)`` on the surface to world points ``(..., 3)``."""
        outline = np.asarray(outline, float)
        return self.corner + outline[..., :1] * self.along + outline[..., 1:] * [0.0, 1.0, 0.0]

    def band(self, low: float, high: float, albedo: Shade, *, detail: bool = True) -> None:
        """A horizontal band over the whole length."""
        for a, b in pairwise(np.linspace(0, self.length, max(2, int(self.length / _PIECE) + 1))):
            points = self.points([(a, low), (b, low), (b, high), (a, high)])
            self.painter.polygon(points, albedo, self.normal, detail=detail)

    def rectangles(
        self,
        lefts: Points,
        lows: Points | float,
        wide: float,
        high: float,
        albedo: Shade,
        *,
        glow: bool = False,
        smallest: float = 0.9,
    ) -> None:
        """Equal details with the given lower left corners; see `Painter.patches`."""
        lefts, lows = np.broadcast_arrays(np.asarray(lefts, float), np.asarray(lows, float))
        if lefts.size:
            along = np.stack([lefts, lefts + wide, lefts + wide, lefts], axis=-1)
            up = np.stack([lows, lows, lows + high, lows + high], axis=-1)
            quads = self.points(np.stack([along, up], axis=-1))
            self.painter.patches(quads, albedo, self.normal, glow=glow, smallest=smallest)
