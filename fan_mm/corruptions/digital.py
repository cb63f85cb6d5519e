"""Contrast, elastic transform, pixelate, JPEG compression and saturate, as in imagecorruptions 1.1.2.

All take a contiguous uint8 array ``(H, W, 3)`` in RGB order or ``(H, W)``, a severity and a
`Stream`, and return a new array of the same shape.
"""

import math

import cv2
import numpy as np
from PIL import Image

from fan_mm.corruptions.filters import strips, to_uint8
from fan_mm.corruptions.seeding import Stream


def contrast(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Pull every channel towards its mean over the image."""
    keep = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    mean = np.array(cv2.sumElems(image)) / (image.shape[0] * image.shape[1])
    mean = mean[: image.shape[2] if image.ndim == 3 else 1]
    table = (np.arange(256)[:, None] - mean) * keep + mean
    return cv2.LUT(image, (table + 1e-9).astype(np.uint8)[None])


def _cell(side: int) -> int:
    """Pixels that share a noise value: the largest divisor of a side up to 0.4 % of it."""
    return max(cell for cell in range(1, max(2, side // 250 + 1)) if side % cell == 0)


def _spread(noise: np.ndarray, side: int) -> np.ndarray:
    """Blur along the first axis with sigma 0.01 side, cut at 3 sigma, mirrored at the ends.

    Args:
        noise: float32 ``(side / cell, N)``, values at the centres of cells of pixels.
        side: length of the result in pixels.

    Returns:
        float32 ``(side, N)``.
    """
    cell = side // len(noise)
    sigma = 0.01 * side / cell
    reach = int(0.03 * side + 0.5) / cell
    margin = int(reach + 0.5)
    taps = np.arange(-margin, margin + 1)
    padded = cv2.copyMakeBorder(noise, margin, margin, 0, 0, cv2.BORDER_REFLECT)
    out = np.empty((len(noise), cell, noise.shape[1]), np.float32)
    for pixel in range(cell):
        distance = taps - (pixel - (cell - 1) / 2) / cell
        weights = np.exp(-0.5 * (distance / sigma) ** 2) * (abs(distance) <= reach)
        weights = (weights / weights.sum()).astype(np.float32)
        for rows in strips(noise, least=32):
            total = np.zeros_like(noise[rows])
            for tap, weight in enumerate(weights):
                total += padded[rows.start + tap : rows.stop + tap] * weight
            out[rows, pixel] = total
    return out.reshape(side, -1)


def _smooth_field(shape: tuple[int, int], bound: float, stream: Stream) -> np.ndarray:
    """Blur white noise, uniform in (-bound, bound), with a Gaussian of 1 % of the image.

    For such a smooth field the noise can be drawn on a coarse grid: one value represents a cell of
    pixels, with correspondingly smaller variance, as long as the cell's side is at most 0.4 sigma.
    Cells tile the image exactly, so the field is mirrored at the same borders as the reference's.

    Returns:
        float32 ``(H, W)``.
    """
    height, width = shape
    cells = _cell(height), _cell(width)
    coarse = height // cells[0], width // cells[1]
    noise = stream.symmetric(coarse, bound / math.sqrt(cells[0] * cells[1]))
    return cv2.transpose(_spread(cv2.transpose(_spread(noise, height)), width))


def elastic_transform(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Displace every pixel by a smooth random field."""
    alpha = 250 * (0.05, 0.065, 0.085, 0.1, 0.12)[severity - 1]
    height, width = image.shape[:2]
    x = _smooth_field((height, width), alpha * height * 0.005, stream)
    y = _smooth_field((height, width), alpha * height * 0.005, stream)
    reach = math.ceil(np.abs(y).max()) + 2
    x += np.arange(width, dtype=np.float32)
    out = np.empty_like(image)
    for rows in strips(image):
        # remap rounds but the reference truncates, so remap in units of 1/64 level and truncate
        # afterwards. With values of 14 bits and weights of 10, its float32 arithmetic is exact.
        start = max(0, rows.start - reach)
        source = image[start : rows.stop + reach].astype(np.uint16)
        source <<= 6
        y[rows] += np.arange(rows.start - start, rows.stop - start, dtype=np.float32)[:, None]
        moved = cv2.remap(source, x[rows], y[rows], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        out[rows] = moved >> 6
    return out


def pixelate(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Average over boxes and show each box as one flat block."""
    scale = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize(
        (int(width * scale), int(height * scale)), Image.Resampling.BOX
    )
    return np.array(small.resize((width, height), Image.Resampling.NEAREST))


def jpeg_compression(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Encode as JPEG at quality c and decode."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, (25, 18, 15, 10, 7)[severity - 1]]
    if image.ndim == 2:
        return cv2.imdecode(cv2.imencode('.jpg', image, quality)[1], cv2.IMREAD_GRAYSCALE)
    encoded = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1]
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def saturate(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Scale and shift the saturation S of HSV; hue and value V stay. Grey has no saturation.

    Every channel is at most S V below V, so changing S scales its distance from V.
    """
    if image.ndim == 2:
        return image.copy()
    factor, offset = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))[severity - 1]
    out = np.empty_like(image)
    for rows in strips(image):
        planes = cv2.split(image[rows])
        value = cv2.max(cv2.max(*planes[:2]), planes[2])
        spread = value - cv2.min(cv2.min(*planes[:2]), planes[2])
        ratio = value / np.maximum(spread, np.float32(1))  # 1 / S
        ratio = np.minimum(ratio * np.float32(offset) + np.float32(factor), ratio)
        base = value * (1 - ratio)
        mixed = [plane * ratio + base for plane in planes]
        if offset:  # grey has hue 0, which is red
            drop = value * np.float32(offset) * (spread == 0)
            mixed[1] -= drop
            mixed[2] -= drop
        out[rows] = cv2.merge([to_uint8(plane) for plane in mixed])
    return out
