"""The one loop that cannot be an array operation: glass blur moves pixels one after the other."""

import numba
import numpy as np


def _shuffle(pixels: np.ndarray, bits: np.ndarray, offsets: np.ndarray, reach: int) -> None:
    """Give every pixel, from the last to the first, the value that a random neighbour has by then.

    Args:
        pixels: ``(H, W)``, one number per pixel; changed in place.
        bits: uint16, one for each pixel moved, ``(H - 2 reach) (W - 2 reach)``.
        offsets: the neighbours' positions, in pixels of the flat image.
        reach: a frame about so wide stays.
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


try:
    shuffle = numba.njit(cache=True)(_shuffle)
except RuntimeError:  # neither this folder nor the user's cache can be written: compile every time
    shuffle = numba.njit(_shuffle)
