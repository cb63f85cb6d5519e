"""What several corruptions share: truncation to grey levels, strips, Gaussians, lines, stretching, numba.

The reference computes in double precision on values in [0, 1] and truncates to integer grey levels.
This implementation uses integers, or float32 where either every sum is exact or numpy fixes the order
of all roundings, because OpenCV's float filters round differently on different processors.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

# Added before truncation, so that rounding errors do not reduce exact levels (flat areas) by one.
_HAIR = np.float32(2.0**-11)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Clip float values to [0, 255] in place and return them truncated to uint8."""
    values += _HAIR
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def strips(image: np.ndarray, least: int = 1) -> Iterator[slice]:
    """Cut an image into strips of rows, of about 2**17 values: few enough for a core's cache."""
    height = image.shape[0]
    rows = max(least, (1 << 17) * height // image.size)
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    """Cut a contiguous array into flat views of 2**16 values."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, 1 << 16):
        yield flat[start : start + (1 << 16)]


def over_channels(plane: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Repeat ``(H, W)`` over the channels of an image, if it has any."""
    return cv2.merge([plane] * 3) if image.ndim == 3 else plane


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur as skimage.filters.gaussian does: up to 4 sigma, edge values continued.

    Args:
        image: uint8 or uint16.
        sigma: pixels.

    Returns:
        An array of the same type; uint8 is truncated, uint16 rounded. Uses OpenCV's uint16 filter,
        the only one that is both accurate (16-bit weights) and identical on every processor.
    """
    reach = int(4 * sigma + 0.5)
    size = (2 * reach + 1, 2 * reach + 1)
    out = np.empty_like(image)
    for rows in strips(image, least=192):
        start = max(0, rows.start - reach)
        fine = image[start : rows.stop + reach]
        if image.dtype == np.uint8:
            fine = fine.astype(np.uint16)
            fine <<= 8
        fine = cv2.GaussianBlur(fine, size, sigma, borderType=cv2.BORDER_REPLICATE)
        fine = fine[rows.start - start :][: rows.stop - rows.start]
        if image.dtype == np.uint8:
            fine >>= 8
        out[rows] = fine
    return out


def line_blur(
    values: np.ndarray, radius: int, sigma: float, angle: float, fraction: int, offset: float
) -> np.ndarray:
    """Average values along a line in one direction, with half a Gaussian as weights.

    Args:
        values: uint8 or uint16 ``(H, W)`` or ``(H, W, 3)``, in units of 2**-fraction grey levels.
        radius: the line has ``2 radius + 1`` samples, one pixel apart.
        sigma: standard deviation of the Gaussian in pixels.
        angle: angle of the line in degrees.
        fraction: fractional bits of the values; weights have ``16 - fraction`` bits, so that float32
            sums are exact.
        offset: added before truncation: 0, or 0.5 to round.

    Returns:
        uint8. The image is extended by replicating its edges. Samples at least an image width or
        height away are dropped without renormalising the weights, as in the reference.
    """
    count = 2 * radius + 1
    weights = np.exp(-0.5 * (np.arange(count) / sigma) ** 2)
    unit = 1 << (16 - fraction)
    weights = np.round(weights / weights.sum() * unit)
    weights[0] += unit - weights.sum()
    weights /= 65536
    height, width = values.shape[:2]
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    taps = []
    for i in range(count):
        dy, dx = math.ceil(i * sine - 0.5), math.ceil(i * cosine - 0.5)
        if abs(dy) >= height or abs(dx) >= width:
            break
        taps.append((dy, dx, weights[i]))
    dys, dxs, _ = zip(*taps, strict=True)
    top, bottom, left, right = -min(dys), max(dys), -min(dxs), max(dxs)
    padded = cv2.copyMakeBorder(values, top, bottom, left, right, cv2.BORDER_REPLICATE)
    out = np.empty(values.shape, np.uint8)
    for rows in strips(values, least=32):
        source = padded[rows.start : rows.stop + top + bottom].astype(np.float32)
        total = np.full(out[rows].shape, offset, np.float32)
        for dy, dx, weight in taps:
            y, x = top + dy, left + dx
            cv2.scaleAdd(source[y : y + len(total), x : x + width], weight, total, total)
        out[rows] = total
    return out


def central_crop(length: int, factor: float) -> tuple[int, int]:
    """Return start and size of the central 1 / factor of an axis, rounded as clipped_zoom does."""
    size = math.ceil(length / factor)
    return (length - size) // 2, size


def stretch(size: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Say how to stretch an axis linearly, first sample onto first and last onto last.

    Args:
        size: number of samples, at least 2.
        factor: the stretched axis has ``round(size factor)`` samples.

    Returns:
        For every sample of the stretched axis, the index of the lower of the two samples to
        interpolate (never the last one), and the float32 weight of the upper one.
    """
    stretched = round(size * factor)
    position = np.arange(stretched) * ((size - 1) / (stretched - 1))
    below = np.minimum(position.astype(np.intp), size - 2)
    return below, (position - below).astype(np.float32)


@functools.cache
def fastest(function: Callable) -> Any:
    """What numba makes of a function's loops in `fan_mm.corruptions.compiled`; itself without numba."""
    try:
        from fan_mm.corruptions import compiled
    except Exception:  # not installed, or incompatible with numpy, for which it raises anything
        return function
    return getattr(compiled, function.__name__)
