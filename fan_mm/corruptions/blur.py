"""Defocus, glass, motion, zoom and Gaussian blur, as in imagecorruptions 1.1.2.

All take a contiguous uint8 array ``(H, W, 3)`` or ``(H, W)``, a severity and a `Stream`, and return
a new array of the same shape.
"""

import functools
import math

import cv2
import numpy as np

from fan_mm.corruptions.seeding import Stream
from fan_mm.errors import InputError

# The reference truncates to whole grey levels. cv2 rounds to nearest, so half a level is taken off
# first, less a hair: a flat area must keep its level in spite of float32.
_TRUNCATE = -0.5 + 2.0**-9


def gaussian_kernel(sigma: float, truncate: float) -> np.ndarray:
    """Return the sampled 1-D Gaussian of scipy.ndimage, float32, radius round(truncate sigma)."""
    radius = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def _gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur uint8 as skimage.filters.gaussian does (truncated at 4 sigma), back to whole levels."""
    kernel = gaussian_kernel(sigma, truncate=4)
    return cv2.sepFilter2D(
        image, cv2.CV_8U, kernel, kernel, delta=_TRUNCATE, borderType=cv2.BORDER_REPLICATE
    )


def gaussian_blur(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Blur with a Gaussian of sigma c pixels."""
    return _gaussian(image, (1, 2, 3, 4, 6)[severity - 1])


@functools.lru_cache(maxsize=1)
def _compiled_shuffle():
    """Compile the sequential pixel shuffle; numba comes with the reference package."""
    try:
        import numba
    except ImportError as error:
        raise InputError('glass_blur needs numba: pip install numba') from error

    @numba.njit(cache=True)
    def shuffle(pixels, bits, delta, iterations):
        height, width = pixels.shape
        k = 0
        for _ in range(iterations):
            for h in range(height - delta, delta, -1):
                for w in range(width - delta, delta, -1):
                    dx = (((bits[k] & 255) * 2 * delta) >> 8) - delta
                    dy = (((bits[k] >> 8) * 2 * delta) >> 8) - delta
                    k += 1
                    pixels[h, w] = pixels[h + dy, w + dx]

    return shuffle


def glass_blur(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Blur, move pixels at random within a small window, one after the other, and blur again."""
    sigma, delta, iterations = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[
        severity - 1
    ]
    image = _gaussian(image, sigma)
    height, width = image.shape[:2]
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).view(np.uint32)
    pixels = pixels.reshape(height, width)
    _compiled_shuffle()(pixels, stream.uint16(iterations * height * width), delta, iterations)
    if image.ndim == 3:
        image = cv2.cvtColor(pixels.view(np.uint8).reshape(height, width, 4), cv2.COLOR_RGBA2RGB)
    return _gaussian(image, sigma)


def _disk(radius: int, sigma: float) -> np.ndarray:
    """The defocus kernel: a pixelated disk, its rim smoothed by a very small Gaussian."""
    reach, size = (8, 3) if radius <= 8 else (radius, 5)
    x = np.arange(-reach, reach + 1)
    disk = (x[:, None] ** 2 + x**2 <= radius**2).astype(np.float32)
    disk /= np.sum(disk)
    return cv2.GaussianBlur(disk, (size, size), sigmaX=sigma)


def defocus_blur(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Convolve with a disk of radius c pixels."""
    kernel = _disk(*((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1])
    return cv2.filter2D(image, cv2.CV_8U, kernel, delta=_TRUNCATE)


def motion_blur_along(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Average an image along a line in one direction, with half a Gaussian as weights.

    Args:
        image: uint8 or float32, ``(H, W)`` or ``(H, W, 3)``.
        radius: the line has ``2 radius + 1`` samples, one pixel apart.
        sigma: of the Gaussian, pixels.
        angle: of the line, degrees.

    Returns:
        float32. Beyond its edges the image goes on with its edge values. Samples as far away as
        the image is wide or high are left out (with their weight, as in the reference).
    """
    count = 2 * radius + 1
    weights = np.exp(-0.5 * (np.arange(count) / sigma) ** 2)
    weights /= weights.sum()
    height, width = image.shape[:2]
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    shifts = [(math.ceil(i * sine - 0.5), math.ceil(i * cosine - 0.5)) for i in range(count)]
    inside = [abs(dy) < height and abs(dx) < width for dy, dx in shifts]
    shifts = shifts[: inside.index(False)] if False in inside else shifts
    top, bottom = -min(dy for dy, _ in shifts), max(dy for dy, _ in shifts)
    left, right = -min(dx for _, dx in shifts), max(dx for _, dx in shifts)
    padded = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE)
    padded = padded.astype(np.float32)
    out = np.zeros(image.shape, np.float32)
    for (dy, dx), weight in zip(shifts, weights, strict=False):
        y, x = top + dy, left + dx
        cv2.scaleAdd(padded[y : y + height, x : x + width], float(weight), out, out)
    return out


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Clip to [0, 255] and cut to whole grey levels, as the reference's np.uint8 does."""
    values += np.float32(0.5 + _TRUNCATE)
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def motion_blur(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Blur along a line whose angle is uniform within 45 degrees of the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    return to_uint8(motion_blur_along(image, radius, sigma, stream.uniform(-45, 45)))


def central_crop(length: int, factor: float) -> tuple[int, int]:
    """Return start and stop of the central 1 / factor of an axis, as clipped_zoom cuts it."""
    size = math.ceil(length / factor)
    start = (length - size) // 2
    return start, start + size


def stretch(values: np.ndarray, factor: float, length: int, axis: int) -> np.ndarray:
    """Stretch an axis linearly, first sample on first and last on last, and keep its beginning.

    Args:
        values: ``n`` samples along ``axis``.
        factor: the stretched axis has ``round(n factor)`` samples ...
        length: ... of which this many are returned.
        axis: which.

    Returns:
        float32.
    """
    count = values.shape[axis]
    stretched = round(count * factor)
    position = np.arange(min(length, stretched)) * ((count - 1) / max(stretched - 1, 1))
    below = np.minimum(position.astype(np.intp), count - 1)
    above = np.minimum(below + 1, count - 1)
    weight = (position - below).astype(np.float32)
    weight = weight.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    low, high = np.take(values, below, axis).astype(np.float32), np.take(values, above, axis)
    return low + weight * (high - low)


_ZOOMS = (
    np.arange(1, 1.11, 0.01),
    np.arange(1, 1.16, 0.01),
    np.arange(1, 1.21, 0.02),
    np.arange(1, 1.26, 0.02),
    np.arange(1, 1.31, 0.03),
)


def zoom_blur(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Average the image with itself zoomed towards the centre in small steps."""
    factors = _ZOOMS[severity - 1]
    height, width = image.shape[:2]
    total = image.astype(np.float32)
    for factor in factors:
        top, bottom = central_crop(height, factor)
        left, right = central_crop(width, factor)
        layer = stretch(image[top:bottom, left:right], factor, height, axis=0)
        total += stretch(layer, factor, width, axis=1)
    total /= len(factors) + 1
    return to_uint8(total)
