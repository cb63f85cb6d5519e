"""A pinhole camera over a street that may bend.

World coordinates are metres: x to the right, y up from the ground, z forward along the street.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEAR = 0.6  # distance in metres of the plane at which shapes are clipped
SHIFT = 4  # fractional bits of the coordinates given to OpenCV: 1/16 pixel


@dataclass(frozen=True)
class Camera:
    """Maps world points to pixels.

    Attributes:
        height, width: size of the image in pixels.
        focal: focal length in pixels.
        horizon: row of the horizon in pixels.
        eye: height of the camera above the ground in metres.
        yaw: angle between the camera and the street in radians, positive to the right.
        bend: curvature of the street in 1/m; a point at distance z moves by ``bend * z**2`` sideways.
    """

    height: int
    width: int
    focal: float
    horizon: float
    eye: float
    yaw: float = 0.0
    bend: float = 0.0

    @cached_property
    def _axes(self) -> np.ndarray:
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])

    def turn(self, direction: np.ndarray) -> np.ndarray:
        """A world direction ``(..., 3)`` as seen by the camera; the bend does not concern it."""
        return direction @ self._axes

    def view(self, points: np.ndarray) -> np.ndarray:
        """World points to camera coordinates (right, up, forward), both ``(..., 3)`` in metres."""
        points = points - (0.0, self.eye, 0.0)
        if self.bend:
            points[..., 0] += self.bend * points[..., 2] ** 2
        return points @ self._axes

    def pixels(self, view: np.ndarray) -> np.ndarray:
        """Camera coordinates ``(..., 3)`` before the near plane to pixels ``(..., 2)``.

        Pixel centres have whole numbers, as OpenCV draws.
        """
        pixels = view[..., :2] * (self.focal, -self.focal)
        pixels /= view[..., 2:]
        pixels += (self.width / 2 - 0.5, self.horizon - 0.5)
        return pixels

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """Right ``(1, W)`` and up ``(H, 1)`` per metre forward of what each pixel sees, float32."""
        right = (np.arange(self.width) + 0.5 - self.width / 2) / self.focal
        up = (self.horizon - 0.5 - np.arange(self.height)) / self.focal
        return right.astype(np.float32)[None], up.astype(np.float32)[:, None]

    def ground(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World x and z of the ground seen by pixels below the horizon (the inverse of the above)."""
        depth = self.focal * self.eye / (rows + 0.5 - self.horizon)
        side = (columns + 0.5 - self.width / 2) * depth / self.focal
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        z = depth * cos - side * sin
        return side * cos + depth * sin - self.bend * z * z, z


def subpixel(points: np.ndarray) -> np.ndarray:
    """Pixels ``(..., 2)`` to OpenCV's fixed-point integers, of `SHIFT` bits."""
    return np.rint(points * float(1 << SHIFT)).astype(np.int32)


def clip_near(view: np.ndarray) -> np.ndarray:
    """Cut a polygon ``(n, 3)`` in camera coordinates at the near plane (Sutherland-Hodgman)."""
    inside = view[:, 2] >= NEAR
    if inside.all():
        return view
    kept = []
    for i in range(len(view)):
        a, b = view[i - 1], view[i]
        if inside[i - 1] != inside[i]:
            kept.append(a + (b - a) * ((NEAR - a[2]) / (b[2] - a[2])))
        if inside[i]:
            kept.append(b)
    return np.array(kept).reshape(-1, 3)
