"""The depth of each pixel, and what shines by itself: drawn along with an image."""

import math

import cv2
import numpy as np

from fan_mm.datasets.scenes.camera import SHIFT, Camera

_EDGE_ON = 1e-6  # of a plane through the eye, whose distance is not one of each pixel


class Relief:
    """Layers beside a painter's image, filled with the same shapes.

    Attributes:
        nearness: ``(H, W)`` float32, 1 / depth along the optical axis in 1/m; 0 where nothing is.
        glow: ``(H, W)`` uint8, 255 where light comes from the thing itself.

    Args:
        camera: of the image.
    """

    def __init__(self, camera: Camera) -> None:
        self.nearness = np.zeros((camera.height, camera.width), np.float32)
        self.glow = np.zeros((camera.height, camera.width), np.uint8)
        self._right, self._up = camera.rays()

    @property
    def distance(self) -> np.ndarray:
        """Metres from the eye ``(H, W)`` float32; infinite where nothing is."""
        with np.errstate(divide='ignore'):
            return np.sqrt(1 + self._right**2 + self._up**2) / self.nearness

    @property
    def points(self) -> np.ndarray:
        """Where what is seen lies ``(H, W, 3)``: right, up, forward in metres, at most 1 km away."""
        depth = 1 / np.maximum(self.nearness, 1e-3)
        return np.stack([self._right * depth, self._up * depth, depth], axis=-1)

    def shine(self, contours: list[np.ndarray], glow: bool) -> None:
        """Note of contours whether they shine."""
        cv2.fillPoly(self.glow, contours, 255 * glow, cv2.LINE_AA, SHIFT)

    def fill(self, contours: list[np.ndarray], view: np.ndarray | float) -> None:
        """Put a surface into contours.

        Args:
            contours: fixed-point pixels.
            view: corners ``(n, 3)`` of a plane polygon in camera coordinates, or one depth in metres.
        """
        height, width = self.nearness.shape
        points = np.concatenate([np.reshape(c, (-1, 2)) for c in contours]) / (1 << SHIFT)
        x0, y0 = np.floor(points.min(axis=0)).astype(int) - 1
        x1, y1 = np.ceil(points.max(axis=0)).astype(int) + 2
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if x0 >= x1 or y0 >= y1:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        corner = np.array([x0, y0]) << SHIFT
        shifted = [np.asarray(c - corner, np.int32) for c in contours]
        cv2.fillPoly(mask, shifted, 1, cv2.LINE_8, SHIFT)
        region, seen = self.nearness[y0:y1, x0:x1], mask > 0
        region[seen] = self._nearness(view, np.s_[y0:y1, x0:x1], seen)

    def disc(self, centre: tuple[int, int], radius: int, depth: float | None, glow: bool) -> None:
        """A disc of fixed-point pixels; without a depth it lies on what is there."""
        cv2.circle(self.glow, centre, radius, 255 * glow, -1, cv2.LINE_AA, SHIFT)
        if depth is not None:
            cv2.circle(self.nearness, centre, radius, 1 / depth, -1, cv2.LINE_8, SHIFT)

    def _nearness(
        self, view: np.ndarray | float, part: tuple, seen: np.ndarray
    ) -> np.ndarray | float:
        """1 / depth of a surface at the pixels that are seen of it."""
        if isinstance(view, float):
            return 1 / view
        near, far = 1 / view[:, 2].min(), 1 / view[:, 2].max()
        following = np.roll(view, -1, axis=0)
        normal = np.cross(view, following).sum(axis=0)  # Newell
        offset = float(normal @ view.mean(axis=0))
        size = math.sqrt(normal @ normal)
        if abs(offset) <= _EDGE_ON * size:
            return (near + far) / 2
        rows, columns = part
        right, up = np.broadcast_arrays(self._right[:, columns], self._up[rows])
        plane = (normal[0] * right[seen] + normal[1] * up[seen] + normal[2]) / offset
        return np.clip(plane, far, near)
