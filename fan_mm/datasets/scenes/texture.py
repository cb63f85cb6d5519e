"""Random textures."""

import cv2
import numpy as np


def noise(
    rng: np.random.Generator, height: int, width: int, cells: int, octaves: int
) -> np.ndarray:
    """Smooth noise ``(height, width)`` float32 of about unit deviation.

    Args:
        rng: source of randomness.
        height: in pixels.
        width: in pixels.
        cells: random values across the width in the coarsest octave.
        octaves: each has twice the cells of the one before and 0.6 of its amplitude.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        across = max(2, min(cells << octave, width))
        down = max(2, min(round(across * height / width), height))
        grid = rng.standard_normal((down, across), np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    return total


def tiled(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sample a tile, repeated without end, at positions ``x`` and ``y`` of equal shape (in texels)."""
    rows, columns = tile.shape
    x, y = (x % columns).astype(np.float32), (y % rows).astype(np.float32)
    return cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
