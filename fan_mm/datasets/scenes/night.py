"""Darkness: a scene lit by its own lamps, by the lamps of the own car, and by little from the sky."""

import cv2
import numpy as np

_SOURCES = 40  # so many of the strongest lamps of an image give light
_LEAST = 0.6  # metres from a lamp below which its light does not grow any more
_LARGEST = 0.4  # square metres: largest area of one lamp
_POWER = 9.0  # light at one metre from a lamp of one square metre
# The beam of the head lamps, per metre ahead: half its width and height, and how far below the horizon
# it is brightest.
_BEAM, _DEPTH, _DROP = 0.34, 0.075, 0.055
_REACH = 13.0  # metres at which the beam has a quarter of its light


def lit_by_lamps(
    image: np.ndarray,
    glow: np.ndarray,
    points: np.ndarray,
    sky: np.ndarray,
    level: np.ndarray,
) -> np.ndarray:
    """Light a scene that was painted in even white light.

    Every connected piece of what shines is a lamp, where it stands, of the colour that it has. Light falls
    off with the square of the distance; it passes through things, which keep no shadows here.

    Args:
        image: ``(H, W, 3)`` as painted, 0 to 255.
        glow: ``(H, W)`` from 0 to 1, what shines by itself.
        points: ``(H, W, 3)`` where things are, camera coordinates in metres.
        sky: ``(H, W)`` bool, which was painted as it looks.
        level: light ``(3,)`` from the sky on everything, of 1.

    Returns:
        ``(H, W, 3)`` float32.
    """
    light = np.broadcast_to(np.float32(level), image.shape).copy()
    light += _head_lamps(points)[..., None] * np.array([1.0, 0.97, 0.88], np.float32)
    for place, colour, area in _lamps(image, glow, points):
        away = ((points - place) ** 2).sum(axis=-1, keepdims=True)
        light += colour * (_POWER * area / (away + _LEAST**2))
    shining = np.maximum(glow, sky)[..., None]
    lit = image * np.minimum(light, 1.0)
    return lit * (1 - shining) + image * shining


def bloom(image: np.ndarray, source: np.ndarray, strength: float, spread: float) -> np.ndarray:
    """Halos around what shines.

    Args:
        image: ``(H, W, 3)``.
        source: ``(H, W, 3)`` the light of what shines alone, on the same scale.
        strength: of the halos.
        spread: their size as a share of the picture's width.

    Returns:
        ``(H, W, 3)`` float32.
    """
    image = image.astype(np.float32)
    for share, part in ((1.0, 0.55), (0.3, 0.9)):
        sigma = max(spread * share * image.shape[1], 0.6)
        image = image + strength * part * cv2.GaussianBlur(source, (0, 0), sigma)
    return image


def _head_lamps(points: np.ndarray) -> np.ndarray:
    right, up, forward = np.moveaxis(points, -1, 0)
    across = (right / forward / _BEAM) ** 2
    down = ((up / forward + _DROP) / _DEPTH) ** 2
    return 1.1 * np.exp(-across - down) / (1 + (forward / _REACH) ** 2 * 3)


def _lamps(
    image: np.ndarray, glow: np.ndarray, points: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Place, colour and area in square metres of the strongest lamps."""
    count, pieces, boxes, _ = cv2.connectedComponentsWithStats((glow > 0.5).astype(np.uint8))
    lamps = []
    for piece in range(1, count):
        x, y, wide, high, pixels = boxes[piece]
        part = np.s_[y : y + high, x : x + wide]
        inside = pieces[part] == piece
        place = points[part][inside].mean(axis=0)
        colour = image[part][inside].mean(axis=0) / np.float32(255)
        area = min(pixels * (place[2] / _focal(points)) ** 2, _LARGEST)
        # tail lamps are seen, but light up little
        lamps.append((place, colour * colour.min(), float(area)))
    return sorted(lamps, key=lambda lamp: -lamp[2] * lamp[1].sum())[:_SOURCES]


def _focal(points: np.ndarray) -> float:
    """The focal length in pixels of the camera that sees these points."""
    right = points[0, :, 0] / points[0, :, 2]
    return float((len(right) - 1) / (right[-1] - right[0]))
