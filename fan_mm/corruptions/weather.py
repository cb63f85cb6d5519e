"""Snow, frost, fog, brightness and spatter, as in imagecorruptions 1.1.2.

All take a contiguous uint8 array ``(H, W, 3)`` in RGB order or ``(H, W)``, a severity and a
`Stream`, and return a new array of the same shape.
"""

import functools
import importlib.util
from pathlib import Path

import cv2
import numpy as np

from fan_mm.corruptions.blur import (
    central_crop,
    gaussian_kernel,
    motion_blur_along,
    stretch,
    to_uint8,
)
from fan_mm.corruptions.seeding import Stream
from fan_mm.errors import InputError

_LUMA = (0.2989, 0.5870, 0.1140)


def snow(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Whiten the image and let snowflakes fall, twice: the second layer is the first, turned."""
    mean, std, zoom, threshold, radius, sigma, mix = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    height, width = image.shape[:2]
    rows, columns = (
        stop - start for start, stop in (central_crop(height, zoom), central_crop(width, zoom))
    )
    flakes = stream.normal((rows, columns), mean, std)
    flakes = stretch(stretch(flakes, zoom, round(rows * zoom), 0), zoom, round(columns * zoom), 1)
    flakes[flakes < threshold] = 0
    flakes = motion_blur_along(np.clip(flakes, 0, 1), radius, sigma, stream.uniform(-135, -45))
    flakes = np.round(flakes[:height, :width] * 255)
    flakes += flakes[::-1, ::-1].copy()
    x = image.astype(np.float32)
    if image.ndim == 3:
        grey = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]
        flakes = flakes[..., None]
    else:
        grey = x
    return to_uint8(mix * x + (1 - mix) * np.maximum(x, grey * 1.5 + 127.5) + flakes)


@functools.lru_cache(maxsize=1)
def _frost_pictures() -> tuple[np.ndarray, ...]:
    """Decode the five pictures of imagecorruptions 1.1.2 (frost6.jpg is never drawn there), RGB."""
    spec = importlib.util.find_spec('imagecorruptions')  # found, not imported: see docs
    if spec is None:
        raise InputError(
            'frost needs the pictures of the imagecorruptions package: '
            'pip install imagecorruptions-imaug'
        )
    folder = Path(spec.submodule_search_locations[0]) / 'frost'
    names = ('frost1.png', 'frost2.png', 'frost3.png', 'frost4.jpg', 'frost5.jpg')
    pictures = []
    for name in names:
        picture = cv2.imread(str(folder / name))
        if picture is None:
            raise InputError(
                f'cannot read {folder / name}: pip install --force-reinstall imagecorruptions-imaug'
            )
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return tuple(pictures)


def frost(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Lay a random part of one of five pictures of frost over the image."""
    keep, add = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    picture = _frost_pictures()[stream.below(5)]
    height, width = image.shape[:2]
    scale = 1.1 * max(1, height / picture.shape[0], width / picture.shape[1])
    size = int(np.ceil(picture.shape[1] * scale)), int(np.ceil(picture.shape[0] * scale))
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    top = stream.below(size[1] - height)
    left = stream.below(size[0] - width)
    picture = picture[top : top + height, left : left + width].astype(np.float32)
    if image.ndim == 2:
        picture = picture[..., ::-1] @ np.float32(_LUMA)  # the reference weighs BGR as if RGB
    return to_uint8(keep * image.astype(np.float32) + add * picture)


def plasma(size: int, decay: float, stream: Stream) -> np.ndarray:
    """Return a square fractal height map in [0, 1] by the diamond-square algorithm, float32.

    Args:
        size: side, a power of two; the map wraps around.
        decay: the noise's amplitude falls by decay squared from one level to the next.
        stream: of randomness.
    """
    grid = np.zeros((size, size), np.float32)
    step, wibble = size, 100.0
    while step >= 2:
        half = step // 2
        count = size // step
        corners = grid[::step, ::step]
        across = corners + np.roll(corners, -1, axis=0)
        across += np.roll(across, -1, axis=1)
        centres = across / 4 + stream.symmetric((count, count), wibble * wibble)
        grid[half::step, half::step] = centres
        top = centres + np.roll(centres, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        grid[::step, half::step] = top / 4 + stream.symmetric((count, count), wibble * wibble)
        left = centres + np.roll(centres, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        grid[half::step, ::step] = left / 4 + stream.symmetric((count, count), wibble * wibble)
        step = half
        wibble /= decay
    grid -= grid.min()
    grid /= grid.max()
    return grid


def fog(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Add a plasma fractal and scale the brightest possible value back to the image's brightest."""
    amount, decay = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    height, width = image.shape[:2]
    size = 1 << (max(height, width) - 1).bit_length()
    mist = plasma(size, decay, stream)[:height, :width]
    brightest = int(image.max()) / 255
    gain = brightest / (brightest + amount)
    x = image * np.float32(gain)
    mist = mist * np.float32(255 * amount * gain)
    x += mist[..., None] if image.ndim == 3 else mist
    return to_uint8(x)


def brightness(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Raise the value V of HSV by c: every channel grows in proportion, black becomes grey."""
    step = 255 * (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    levels = np.arange(256, dtype=np.float64)
    if image.ndim == 2:
        return cv2.LUT(image, to_uint8(levels + step))
    gain = np.minimum(levels + step, 255) / np.maximum(levels, 1)
    value = cv2.max(cv2.max(image[..., 0], image[..., 1]), image[..., 2])
    x = image * gain.astype(np.float32)[value][..., None]
    x[value == 0] = step
    return to_uint8(x)


def spatter(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Splash water (severities 1 to 3) or mud (4 and 5) over the image."""
    mean, std, sigma, threshold, strength, mud = (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    )[severity - 1]
    liquid = stream.normal(image.shape[:2], mean, std)
    kernel = gaussian_kernel(sigma, truncate=4)
    liquid = cv2.sepFilter2D(liquid, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    x = image.astype(np.float32)
    if mud:
        cover = (liquid > threshold).astype(np.float32)
        kernel = gaussian_kernel(strength, truncate=4)
        cover = cv2.sepFilter2D(cover, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
        cover[cover < 0.8] = 0
        colour = np.array([63, 42, 20], np.float32)
        if image.ndim == 2:
            return to_uint8(x * (1 - cover) + cover * np.float32(np.dot(colour, _LUMA)))
        cover = cover[..., None]
        return to_uint8(x * (1 - cover) + cover * colour)

    liquid[liquid < threshold] = 0
    liquid = (liquid * 255).astype(np.uint8)
    depth = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    depth = cv2.blur(np.minimum(depth, 20), (3, 3)).astype(np.uint8)
    depth = cv2.equalizeHist(depth)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    depth = cv2.blur(cv2.filter2D(depth, cv2.CV_8U, emboss), (3, 3))
    water = liquid * depth.astype(np.float32)
    water *= strength / max(float(water.max()), 1.0)
    colour = np.array([175, 238, 238], np.float32)
    if image.ndim == 2:
        # the reference clips the colour first, then greys it
        return to_uint8(x + water * np.float32(np.dot(colour, _LUMA)))
    return to_uint8(x + water[..., None] * colour)
