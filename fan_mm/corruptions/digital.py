"""Contrast, elastic transform, pixelate, JPEG compression and saturate, as in imagecorruptions 1.1.2.

All take a contiguous uint8 array ``(H, W, 3)`` in RGB order or ``(H, W)``, a severity and a
`Stream`, and return a new array of the same shape.
"""

import cv2
import numpy as np
from PIL import Image

from fan_mm.corruptions.blur import gaussian_kernel, to_uint8
from fan_mm.corruptions.seeding import Stream


def contrast(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Pull every channel towards its mean over the image."""
    keep = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    levels = np.arange(256)
    channels = image.reshape(-1, image.shape[2] if image.ndim == 3 else 1)
    table = np.empty((256, channels.shape[1]), np.uint8)
    for c in range(channels.shape[1]):
        mean = np.mean(channels[:, c])
        table[:, c] = np.clip((levels - mean) * keep + mean + 1e-9, 0, 255)
    return cv2.LUT(image, table[None])


def elastic_transform(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Displace every pixel by a smooth random field."""
    alpha = 250 * (0.05, 0.065, 0.085, 0.1, 0.12)[severity - 1]
    height, width = image.shape[:2]
    rows = gaussian_kernel(0.01 * height, truncate=3)
    columns = gaussian_kernel(0.01 * width, truncate=3)
    grid = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    x, y = (
        cv2.sepFilter2D(
            stream.symmetric((height, width), height * 0.005),
            cv2.CV_32F,
            columns,
            rows,
            borderType=cv2.BORDER_REFLECT,
        )
        * np.float32(alpha)
        + base
        for base in grid
    )
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def pixelate(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Average over boxes and show each box as one flat block."""
    scale = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * scale), int(height * scale)), Image.BOX)
    return np.array(small.resize((width, height), Image.NEAREST))


def jpeg_compression(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Encode as JPEG at quality c and decode."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    grey = image.ndim == 2
    encoded = cv2.imencode(
        '.jpg',
        image if grey else cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, quality],
    )[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    return decoded if grey else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def saturate(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Scale and shift the saturation S of HSV; hue and value stay. A grey image has none."""
    if image.ndim == 2:
        return image.copy()
    factor, offset = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))[severity - 1]
    x = image.astype(np.float32)
    value = x.max(axis=2)
    spread = value - x.min(axis=2)
    # a channel lies S V below V in proportion; V / spread is 1 / S
    inverse = value / np.maximum(spread, 1)
    ratio = np.minimum(factor + offset * inverse, inverse)
    x = value[..., None] - (value[..., None] - x) * ratio[..., None]
    # pure grey has hue 0 and so turns red, as in the reference
    grey = spread == 0
    x[grey, 1:] = (value[grey] * np.float32(1 - offset))[:, None]
    return to_uint8(x)
