"""What is in the air between a scene and the eye: fog by Koschmieder's law, rain and snow that fall."""

import cv2
import numpy as np

from fan_mm.datasets.scenes.camera import SHIFT, subpixel

_NEAREST, _FARTHEST = 1.2, 24.0  # metres between which single drops and flakes are seen
_EXPOSURE = 1 / 120  # seconds in which a drop draws its streak
_SPEEDS = {'rain': 8.0, 'snow': 1.2}  # metres per second downwards


def koschmieder(
    image: np.ndarray, distance: np.ndarray, beta: float, airlight: np.ndarray
) -> np.ndarray:
    """An image through homogeneous fog: ``image * t + airlight * (1 - t)`` with ``t = exp(-beta d)``.

    Args:
        image: ``(H, W, 3)`` without fog.
        distance: ``(H, W)`` metres from the eye, infinite for the sky.
        beta: attenuation coefficient in 1/m; the meteorological visibility is 2.996 / beta.
        airlight: colour ``(3,)`` of fog alone, on the scale of the image.

    Returns:
        ``(H, W, 3)`` float32.
    """
    clear = np.exp(-np.float32(beta) * distance.astype(np.float32))[..., None]
    return image * clear + np.asarray(airlight, np.float32) * (1 - clear)


def falling(
    rng: np.random.Generator,
    image: np.ndarray,
    distance: np.ndarray,
    focal: float,
    kind: str,
    size: float,
    amount: float,
    colour: np.ndarray,
) -> np.ndarray:
    """Drops that draw streaks or flakes, in the volume before the scene; what stands before them hides them.

    Args:
        rng: where they are.
        image: ``(H, W, 3)``, on the scale of 0 to 255.
        distance: ``(H, W)`` metres from the eye.
        focal: focal length in pixels.
        kind: 'rain' or 'snow'.
        size: diameter in metres.
        amount: how many in each cubic metre.
        colour: of them ``(3,)``.

    Returns:
        ``(H, W, 3)`` float32.
    """
    height, width = distance.shape
    volume = height * width / focal**2 * (_FARTHEST**3 - _NEAREST**3) / 3
    count = int(min(amount * volume, 6000))
    share = rng.uniform(size=count)  # as many in each cubic metre, wherever
    depths = np.cbrt(_NEAREST**3 + share * (_FARTHEST**3 - _NEAREST**3))
    columns, rows = rng.uniform(0, width, count), rng.uniform(0, height, count)
    seen = depths < distance[rows.astype(int), columns.astype(int)]
    wind = rng.normal(0, 0.15 if kind == 'rain' else 0.6)
    layer = np.zeros((height, width), np.uint8)
    for i in np.flatnonzero(seen)[np.argsort(-depths[seen])].tolist():
        pixels = size * focal / depths[i]
        fall = _SPEEDS[kind] * _EXPOSURE * focal / depths[i]
        # of what is smaller than a pixel, or drawn out, as much less is seen
        opacity = min(1.0, pixels) * (0.55 if kind == 'rain' else 0.9)
        start = np.array([columns[i], rows[i]])
        _stroke(layer, start, start + [wind * fall, fall], max(pixels, 0.8), round(255 * opacity))
    cover = layer[..., None].astype(np.float32) / 255
    return image * (1 - cover) + np.asarray(colour, np.float32) * cover


def _stroke(layer: np.ndarray, start: np.ndarray, end: np.ndarray, wide: float, value: int) -> None:
    (ax, ay), (bx, by) = subpixel(np.stack([start, end])).tolist()
    if abs(by - ay) < (1 << SHIFT) or wide > np.hypot(bx - ax, by - ay) / (1 << SHIFT):
        radius = max(round(wide / 2 * (1 << SHIFT)), 1 << (SHIFT - 1))
        cv2.circle(layer, (ax, ay), radius, value, -1, cv2.LINE_AA, SHIFT)
    else:
        cv2.line(layer, (ax, ay), (bx, by), value, max(1, round(wide)), cv2.LINE_AA, SHIFT)
