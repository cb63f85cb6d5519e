"""Defocus, glass, motion, zoom and Gaussian blur, as in imagecorruptions 1.1.2.

All take a contiguous uint8 array ``(H, W, 3)`` or ``(H, W)``, a severity and a `Stream`, and return
a new array of the same shape.
"""

import functools

import cv2
import numpy as np

from fan_mm.corruptions.filters import (
    central_crop,
    fastest,
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

    The reference intends to swap two pixels, but its assignment copies in one direction only (both
    sides are views of the same array). Its actual behaviour is reproduced.

    Raises:
        InputError: numba is not installed.
    """
    try:
        from fan_mm.corruptions.compiled import shuffle
    except Exception as error:  # as in `fastest`
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

    Like the reference, smooth within the window and mirror at its border, so that the two largest
    disks, which touch the border, brighten the image by about 1 %.
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


def sum_boxes(padded: np.ndarray, weights: np.ndarray, channels: int) -> np.ndarray:
    """Sum weighted boxes of pixels centred on every value.

    Args:
        padded: uint8 ``(H + 2 reach, (W + 2 reach) channels)``.
        weights: float32 ``(reach + 1, reach + 1)``; entry (below, right) is the weight of the pixels at most
            ``right`` columns away in the two rows at distance ``below``.
        channels: channels of a pixel.

    Returns:
        float32 ``(H, W channels)``.
    """
    reach = len(weights) - 1
    height, width = len(padded) - 2 * reach, padded.shape[1] - 2 * reach * channels
    source = padded.astype(np.uint16)
    total = np.zeros((height, width), np.float32)
    box = np.zeros((len(source), width), np.uint16)
    for right in range(reach + 1):
        for column in {reach - right, reach + right}:
            box += source[:, column * channels : column * channels + width]
        for below in np.flatnonzero(weights[:, right]):
            pair = box[reach - below :][:height]
            if below:
                pair = pair + box[reach + below :][:height]
            total += pair * weights[below, right]
    return total


def _filter_symmetric(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve with a kernel whose rows and columns are symmetric and mostly flat.

    A row of the kernel is a sum of centred boxes, one for each position where its weights change. The
    box sums are shared by all rows, and each is the previous one plus two pixels.

    Args:
        image: uint8 ``(H, W, 3)`` or ``(H, W)``.
        kernel: square, odd.
    """
    weights = kernel[len(kernel) // 2 :, len(kernel) // 2 :].copy()
    weights[:, :-1] -= weights[:, 1:]  # weight of the box that ends here
    weights[abs(weights) < 1e-7 * kernel.max()] = 0
    reach = int(np.argwhere(weights).max())  # the outer weights are zero
    weights = weights[: reach + 1, : reach + 1].astype(np.float32)
    padded = cv2.copyMakeBorder(image, *[reach] * 4, cv2.BORDER_REFLECT_101)
    padded = padded.reshape(len(padded), -1)
    add, out = fastest(sum_boxes), np.empty_like(image)
    for rows in strips(image, least=32):
        channels = image.shape[2] if image.ndim == 3 else 1
        total = add(padded[rows.start : rows.stop + 2 * reach], weights, channels)
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


_ZOOMS = (  # as in the reference: rounding errors decide whether the last factor is included
    np.arange(1, 1.11, 0.01),
    np.arange(1, 1.16, 0.01),
    np.arange(1, 1.21, 0.02),
    np.arange(1, 1.26, 0.02),
    np.arange(1, 1.31, 0.03),
)


@functools.lru_cache(maxsize=5)
def _zoomed_layers(shape: tuple[int, int], severity: int) -> tuple[np.ndarray, ...]:
    """How an image of a shape is stretched in each step but the first, which is none: see `sum_zoomed`."""
    layers = []
    for factor in _ZOOMS[severity - 1][1:]:
        axes = []
        for length in shape:
            start, size = central_crop(length, factor)
            index, weight = stretch(size, factor)
            axes.append((start + index[:length], weight[:length]))
        (y, below), (x, right) = axes
        right = np.round(256 * right).astype(np.uint16)
        layers.append((y, below / np.float32(256), x.astype(np.uint32), right))
    return tuple(map(np.array, zip(*layers, strict=True)))


def sum_zoomed(
    image: np.ndarray,
    rows: tuple[int, int],
    y: np.ndarray,
    below: np.ndarray,
    x: np.ndarray,
    right: np.ndarray,
) -> np.ndarray:
    """Add an image, twice, and stretched ones: columns are mixed in 16 bits, by weights of 8, rows in float32.

    Args:
        image: uint8 ``(H, W channels)``.
        rows: first row, and last row plus one.
        y: ``(layers, H)``, for every row of each layer, the upper of the two image rows to interpolate.
        below: float32 ``(layers, H)``, 1 / 256 of the lower row's weight.
        x: uint32 ``(layers, W)``, the left of the two columns.
        right: uint16 ``(layers, W)``, 256 times the right column's weight.

    Returns:
        float32 ``(rows, W channels)``.
    """
    part, width = slice(*rows), x.shape[1]
    lines = y[:, part]
    first, last = min(lines.min(), rows[0]), max(lines.max() + 2, rows[1])
    pixels = image[first:last]  # one number each
    if image.shape[1] > width:
        pixels = cv2.cvtColor(pixels.reshape(len(pixels), width, 3), cv2.COLOR_RGB2RGBA)
        pixels = pixels.view(np.uint32)[..., 0]
    total = 2 * pixels[rows[0] - first :][: rows[1] - rows[0]].view(np.uint8).astype(np.float32)
    for above, of_lower, left, weight in zip(lines, below[:, part, None], x, right, strict=True):
        source = pixels[above[0] - first : above[-1] + 2 - first]
        of_right = np.repeat(weight, pixels.itemsize)
        wide = np.take(source, left, axis=1).view(np.uint8) * (256 - of_right)
        wide += np.take(source, left + 1, axis=1).view(np.uint8) * of_right
        total += wide[above - above[0]] * (np.float32(1 / 256) - of_lower)
        total += wide[above - above[0] + 1] * of_lower
    if image.shape[1] > width:
        total = cv2.cvtColor(total.reshape(len(total), width, 4), cv2.COLOR_RGBA2RGB)
    return total.reshape(len(total), -1)


def zoom_blur(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Average the image with itself zoomed towards the centre in small steps."""
    height, width = image.shape[:2]
    layers = _zoomed_layers((height, width), severity)
    # For read-only arrays numba would compile a second version.
    flat = np.require(image.reshape(height, -1), requirements='W')
    add, out = fastest(sum_zoomed), np.empty_like(image)
    for rows in strips(image, least=32):
        total = add(flat, (rows.start, rows.stop), *layers)
        total /= len(_ZOOMS[severity - 1]) + 1
        out[rows] = to_uint8(total).reshape(out[rows].shape)
    return out
