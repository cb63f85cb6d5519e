"""Loops that numba compiles.

Glass blur moves pixels one after the other, so it cannot be an array operation. The other loops are bit-exact
with the array operation of the same name and several times faster, because their values stay in the CPU cache.
"""

from collections.abc import Callable

import numba
import numpy as np


def _compiled(function: Callable) -> Callable:
    """Compile once for all processes, or every time where no cache of numba's can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


@_compiled
def shuffle(pixels: np.ndarray, bits: np.ndarray, offsets: np.ndarray, reach: int) -> None:
    """Give every pixel, from the last to the first, the value that a random neighbour has by then.

    Args:
        pixels: ``(H, W)``, one number per pixel; modified in place.
        bits: uint16, one for each pixel moved, ``(H - 2 reach) (W - 2 reach)``.
        offsets: the neighbours' positions, in pixels of the flat image.
        reach: approximate width of the border that is left unchanged.
    """
    height, width = pixels.shape
    flat = pixels.reshape(-1)
    count = len(offsets)
    k = 0
    for h in range(height - reach, reach, -1):
        for w in range(width - reach, reach, -1):
            here = h * width + w
            flat[here] = flat[here + offsets[(bits[k] * count) >> 16]]
            k += 1


@_compiled
def sum_boxes(padded: np.ndarray, weights: np.ndarray, channels: int) -> np.ndarray:
    """See `fan_mm.corruptions.blur.sum_boxes`."""
    reach = len(weights) - 1
    height, width = len(padded) - 2 * reach, padded.shape[1] - 2 * reach * channels
    box = np.zeros((len(padded), width), np.uint16)
    total = np.zeros((height, width), np.float32)
    for right in range(reach + 1):
        for row in range(len(box)):
            wider = box[row]
            first = padded[row, (reach - right) * channels :]
            last = padded[row, (reach + right) * channels :]
            if right:
                for i in range(width):
                    wider[i] += np.uint16(first[i]) + np.uint16(last[i])
            else:
                for i in range(width):
                    wider[i] = first[i]
        for below in range(reach + 1):
            weight = weights[below, right]
            if weight == 0:
                continue
            for row in range(height):
                line, upper, lower = total[row], box[reach - below + row], box[reach + below + row]
                if below:
                    for i in range(width):
                        line[i] += np.float32(np.uint16(upper[i] + lower[i])) * weight
                else:
                    for i in range(width):
                        line[i] += np.float32(upper[i]) * weight
    return total


@_compiled
def sum_zoomed(
    image: np.ndarray,
    rows: tuple[int, int],
    y: np.ndarray,
    below: np.ndarray,
    x: np.ndarray,
    right: np.ndarray,
) -> np.ndarray:
    """See `fan_mm.corruptions.blur.sum_zoomed`."""
    layers, width = len(y), image.shape[1]
    channels = width // x.shape[1]
    left = np.empty((layers, width), np.uint32)  # index of values, not of pixels
    weight = np.empty((layers, width), np.uint16)
    for layer in range(layers):
        for i in range(width):
            left[layer, i] = x[layer, i // channels] * channels + i % channels
            weight[layer, i] = right[layer, i // channels]
    wide = np.empty((layers, 2, width), np.uint16)
    held = np.full((layers, 2), -1, np.int64)  # which rows
    total = np.empty((rows[1] - rows[0], width), np.float32)
    for row in range(rows[0], rows[1]):
        pixels, line = image[row], total[row - rows[0]]
        for i in range(width):
            line[i] = np.float32(2) * np.float32(pixels[i])
        for layer in range(layers):
            above = y[layer, row]
            for source in range(above, above + 2):
                if held[layer, source % 2] != source:
                    held[layer, source % 2] = source
                    mixed = wide[layer, source % 2]
                    pixels, following = image[source], image[source, channels:]
                    at, of_right = left[layer], weight[layer]
                    for i in range(width):
                        of_left = np.uint16(256) - of_right[i]
                        mixed[i] = pixels[at[i]] * of_left + following[at[i]] * of_right[i]
            upper, lower = wide[layer, above % 2], wide[layer, (above + 1) % 2]
            of_lower = below[layer, row]
            of_upper = np.float32(1 / 256) - of_lower
            for i in range(width):
                line[i] += np.float32(upper[i]) * of_upper
                line[i] += np.float32(lower[i]) * of_lower
    return total
