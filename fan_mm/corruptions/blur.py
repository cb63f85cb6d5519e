"""Defocus, glass, motion, zoom and Gaussian blur, as in imagecorruptions 1.1.2.

All take a contiguous uint8 array ``(H, W, 3)`` or ``(H, W)``, a severity and a `Stream`, and return
a new array of the same shape.
"""

import cv2
import numpy as np

from fan_mm.corruptions.filters import (
    central_crop,
    gaussian,
    line_blur,
    stretch,
    strips,
    to_uint8,
)
from fan_mm.corruptions.seeding import Stream
from fan_mm.errors import InputError


def gaussian_blur(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Blur with a Gaussian of sigma c pixels."""
    return gaussian(image, (1, 2, 3, 4, 6)[severity - 1])


def glass_blur(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Blur, let every pixel take the value of a random near one, one after the other, blur again.

    The reference means to swap two pixels, but its assignment copies one way (both sides are views
    of the same array); what it does is what is done here.
    """
    try:
        from fan_mm.corruptions.glass_shuffle import shuffle
    except ImportError as error:
        raise InputError(f'glass_blur needs numba ({error}): pip install numba') from error

    sigma, reach, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[
        severity - 1
    ]
    image = gaussian(image, sigma)
    height, width = image.shape[:2]
    steps = np.arange(-reach, reach)
    offsets = (steps[:, None] * width + steps).reshape(-1)
    if image.ndim == 3:
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).view(np.uint32)[..., 0]
    else:
        pixels = image
    for _ in range(rounds):
        bits = stream.uint16((height - 2 * reach) * (width - 2 * reach))
        shuffle(pixels, bits, offsets, reach)
    if image.ndim == 3:
        pixels = cv2.cvtColor(pixels[..., None].view(np.uint8), cv2.COLOR_RGBA2RGB)
    return gaussian(pixels, sigma)


def _disk(radius: int, sigma: float) -> np.ndarray:
    """The defocus kernel: a pixelated disk, its rim smoothed by a very small Gaussian.

    The reference smooths within its window, mirrored at the border, so that the two largest disks,
    which touch the border, brighten the image by about 1 %.
    """
    reach, smooth = (8, 1) if radius <= 8 else (radius, 2)
    x = np.arange(-reach, reach + 1)
    disk = (x[:, None] ** 2 + x**2 <= radius**2).astype(np.float64)
    disk /= disk.sum()
    weights = np.exp(-0.5 * (np.arange(-smooth, smooth + 1) / sigma) ** 2)
    weights /= weights.sum()
    for _ in range(2):
        padded = np.pad(disk, ((smooth, smooth), (0, 0)), mode='reflect')
        disk = sum(w * padded[i : i + len(disk)] for i, w in enumerate(weights)).T
    return disk


def _filter_symmetric(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve with a kernel whose rows and columns are symmetric and mostly flat.

    A row of the kernel is a sum of centred boxes, one for each place where its weights change. The
    boxes are sums of pixels, the same for all rows, and grow by two pixels from one to the next.

    Args:
        image: uint8 ``(H, W, 3)`` or ``(H, W)``.
        kernel: square, odd.
    """
    reach = len(kernel) // 2
    weights = kernel[reach:, reach:].copy()
    weights[:, :-1] -= weights[:, 1:]  # of the box that ends here
    weights[abs(weights) < 1e-7 * kernel.max()] = 0
    channels = image.shape[2] if image.ndim == 3 else 1
    width = image.shape[1] * channels
    padded = cv2.copyMakeBorder(image, *[reach] * 4, cv2.BORDER_REFLECT_101)
    padded = padded.reshape(len(padded), -1)
    out = np.empty_like(image)
    for rows in strips(image, least=32):
        source = padded[rows.start : rows.stop + 2 * reach].astype(np.uint16)
        count = rows.stop - rows.start
        total = np.zeros((count, width), np.float32)
        box = np.zeros((len(source), width), np.uint16)
        for right in range(reach + 1):
            for column in {reach - right, reach + right}:
                box += source[:, column * channels : column * channels + width]
            for below in np.flatnonzero(weights[:, right]):
                pair = box[reach - below :][:count]
                if below:
                    pair = pair + box[reach + below :][:count]
                total += pair * np.float32(weights[below, right])
        out[rows] = to_uint8(total).reshape(out[rows].shape)
    return out


def defocus_blur(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Convolve with a disk of radius c pixels."""
    return _filter_symmetric(
        image, _disk(*((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1])
    )


def motion_blur(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Blur along a line whose angle is uniform within 45 degrees of the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    return line_blur(image, radius, sigma, stream.uniform(-45, 45), fraction=0, offset=0)


_ZOOMS = (  # as written in the reference: floating point decides whether the last one belongs
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
    pixels = image  # one number each
    if image.ndim == 3:
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).view(np.uint32)[..., 0]
    layers = []
    for factor in factors[1:]:  # the first is 1
        top, cut_height = central_crop(height, factor)
        left, cut_width = central_crop(width, factor)
        y, below = stretch(cut_height, factor)
        x, right = stretch(cut_width, factor)
        # columns are mixed in 16 bits, by weights of 8, and rows in float32
        right = np.repeat(np.round(256 * right[:width]).astype(np.uint16), pixels.itemsize)
        below = below[:, None] / np.float32(256)
        layers.append((y + top, below, x[:width] + left, right))
    out = np.empty_like(image)
    for rows in strips(image, least=32):
        total = 2 * pixels[rows].view(np.uint8).astype(np.float32)
        for y, below, x, right in layers:
            first, last = y[rows][[0, -1]]
            source = pixels[first : last + 2]
            wide = np.take(source, x, axis=1).view(np.uint8) * (256 - right)
            wide += np.take(source, x + 1, axis=1).view(np.uint8) * right
            above = y[rows] - first
            total += wide[above] * (np.float32(1 / 256) - below[rows])
            total += wide[above + 1] * below[rows]
        total /= len(factors) + 1
        total = to_uint8(total)
        if image.ndim == 3:
            total = cv2.cvtColor(total.reshape(len(total), width, 4), cv2.COLOR_RGBA2RGB)
        out[rows] = total
    return out
