"""Snow, frost, fog, brightness and spatter, as in imagecorruptions 1.1.2.

All take a contiguous uint8 array ``(H, W, 3)`` in RGB order or ``(H, W)``, a severity and a
`Stream`, and return a new array of the same shape.
"""

import functools
import importlib.util
import math
from pathlib import Path

import cv2
import numpy as np

from fan_mm.corruptions.filters import (
    central_crop,
    gaussian,
    line_blur,
    over_channels,
    stretch,
    strips,
    to_uint8,
)
from fan_mm.corruptions.seeding import Stream
from fan_mm.errors import InputError

_LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)


def _flakes(shape: tuple[int, ...], parameters: list[float], stream: Stream) -> np.ndarray:
    """Draw one layer of falling snow, uint8 ``(H, W)``."""
    height, width = shape
    mean, std, zoom, threshold, radius, sigma = parameters
    rows, columns = central_crop(height, zoom)[1], central_crop(width, zoom)[1]
    flakes = stream.normal((rows, columns), mean, std)
    for _ in range(2):  # one axis, then the other
        index, weight = stretch(len(flakes), zoom)
        low = flakes[index]
        flakes = flakes[index + 1]
        flakes -= low
        flakes *= weight[:, None]
        flakes += low
        flakes = cv2.transpose(flakes)
    flakes *= flakes >= threshold
    flakes *= 4 * 255
    flakes += 0.5
    flakes = np.clip(flakes, 0, 4 * 255, out=flakes).astype(np.uint16)  # in 1/4 grey levels
    angle = stream.uniform(-135, -45)
    return line_blur(flakes, int(radius), sigma, angle, fraction=2, offset=0.5)[:height, :width]


def snow(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Whiten the image and let snowflakes fall, twice: the second layer is the first, turned."""
    *parameters, mix = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    flakes = _flakes(image.shape[:2], parameters, stream)
    flakes = cv2.add(flakes, cv2.rotate(flakes, cv2.ROTATE_180))
    out = np.empty_like(image)
    for rows in strips(image):
        x = image[rows].astype(np.float32)
        white = x * np.float32(1.5)
        if image.ndim == 3:
            red, green, blue = cv2.split(white)
            white = red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)
        white = over_channels(white + np.float32(127.5), image)
        np.maximum(white, x, out=white)
        white *= 1 - mix
        x *= mix
        x += white
        out[rows] = cv2.add(to_uint8(x), over_channels(flakes[rows], image))
    return out


@functools.lru_cache(maxsize=5)
def _frost_picture(index: int) -> np.ndarray:
    """Decode one of the five images that imagecorruptions 1.1.2 draws from, RGB."""
    name = ('frost1.png', 'frost2.png', 'frost3.png', 'frost4.jpg', 'frost5.jpg')[index]
    # Located but not imported: importing the original package fails with current setuptools.
    package = importlib.util.find_spec('imagecorruptions')
    if package is None or not package.submodule_search_locations:
        raise InputError(
            'frost needs the images of the imagecorruptions package: '
            'pip install imagecorruptions-imaug'
        )
    path = Path(package.submodule_search_locations[0], 'frost', name)
    picture = cv2.imread(str(path))
    if picture is None:
        raise InputError(
            f'cannot read {path}: pip install --force-reinstall imagecorruptions-imaug'
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _cubic_taps(size: int, enlarged: int, part: slice) -> list[tuple[np.ndarray, np.ndarray]]:
    """The four (index, weight) arrays of OpenCV's bicubic interpolation along an axis."""
    position = (np.arange(enlarged)[part] + 0.5) * (size / enlarged) - 0.5
    below = np.floor(position).astype(np.intp)
    x = position - below
    a = -0.75
    outer = [((a * t - 5 * a) * t + 8 * a) * t - 4 * a for t in (x + 1, 2 - x)]
    inner = [((a + 2) * t - (a + 3)) * t * t + 1 for t in (x, 1 - x)]
    weights = (outer[0], inner[0], inner[1], outer[1])
    return [
        (np.clip(below + i, 0, size - 1), np.round(weight * 2048) / np.float32(2048))
        for i, weight in zip((-1, 0, 1, 2), weights, strict=True)
    ]


def _enlarge(picture: np.ndarray, scale: float, part: tuple[slice, slice]) -> np.ndarray:
    """Enlarge an image bicubically and return a part of the result.

    Replaces cv2.resize, whose result depends on the processor and which cannot compute only a part.
    """
    rows, columns = (
        _cubic_taps(size, math.ceil(size * scale), p)
        for size, p in zip(picture.shape[:2], part, strict=True)
    )
    first, last = rows[0][0].min(), rows[3][0].max() + 1
    pixels = cv2.cvtColor(picture[first:last], cv2.COLOR_RGB2RGBA).view(np.uint32)[..., 0]
    columns = [(index, np.repeat(weight.astype(np.float32), 4)) for index, weight in columns]
    wide = np.zeros((len(pixels), 4 * len(columns[0][0])), np.float32)
    for strip in strips(wide):
        for index, weight in columns:
            wide[strip] += np.take(pixels[strip], index, axis=1).view(np.uint8) * weight
    out = np.empty((len(rows[0][0]), len(columns[0][0]), 3), np.uint8)
    for strip in strips(out):
        total = np.zeros((strip.stop - strip.start, wide.shape[1]), np.float32)
        for index, weight in rows:
            total += wide[index[strip] - first] * weight[strip, None].astype(np.float32)
        np.rint(total, out=total)
        total = to_uint8(total).reshape(len(total), -1, 4)
        out[strip] = cv2.cvtColor(total, cv2.COLOR_RGBA2RGB)
    return out


@functools.lru_cache(maxsize=5)
def _frost_enlarged(index: int) -> np.ndarray:
    """An image at the scale that all images have which are smaller than it."""
    return _enlarge(_frost_picture(index), 1.1, (slice(None), slice(None)))


def frost(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Lay a random part of one of five images of frost over the image."""
    keep, add = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    index = stream.below(5)
    picture = _frost_picture(index)
    height, width = image.shape[:2]
    fill = max(height / picture.shape[0], width / picture.shape[1], 1)
    top = stream.below(math.ceil(picture.shape[0] * fill * 1.1) - height)
    left = stream.below(math.ceil(picture.shape[1] * fill * 1.1) - width)
    part = slice(top, top + height), slice(left, left + width)
    picture = _frost_enlarged(index)[part] if fill == 1 else _enlarge(picture, fill * 1.1, part)
    out = np.empty_like(image)
    for rows in strips(image):
        ice = picture[rows] * np.float32(add)
        if image.ndim == 2:
            ice = ice @ _LUMA[::-1]  # the reference gives blue the luma weight of red
        ice += image[rows] * np.float32(keep)
        out[rows] = to_uint8(ice)
    return out


def plasma(size: int, decay: float, stream: Stream) -> np.ndarray:
    """Return a fractal height map by the diamond-square algorithm.

    Args:
        size: side, a power of two; the map wraps around.
        decay: the noise is divided by decay squared from each level to the next finer one.
        stream: source of randomness.

    Returns:
        float32 ``(size, size)``, with arbitrary scale and offset.
    """

    def mean(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
        total = a + b
        total += c
        total += d
        total *= 0.25
        total += stream.symmetric(total.shape, bound)
        return total

    grid, bound = np.zeros((1, 1), np.float32), 10000.0
    while len(grid) < size:
        corner = cv2.copyMakeBorder(grid, 0, 1, 0, 1, cv2.BORDER_WRAP)
        grid = np.empty((2 * len(grid), 2 * len(grid)), np.float32)
        upper, lower = corner[:-1], corner[1:]
        centre = mean(upper[:, :-1], upper[:, 1:], lower[:, :-1], lower[:, 1:])
        grid[1::2, 1::2] = centre
        centre = cv2.copyMakeBorder(centre, 1, 0, 1, 0, cv2.BORDER_WRAP)
        inner = centre[1:, 1:]
        grid[::2, 1::2] = mean(inner, centre[:-1, 1:], upper[:, :-1], upper[:, 1:])
        grid[1::2, ::2] = mean(inner, centre[1:, :-1], upper[:, :-1], lower[:, :-1])
        grid[::2, ::2] = corner[:-1, :-1]
        bound /= decay * decay
    return grid


def fog(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Add a plasma fractal and scale the brightest possible value back to the image's brightest."""
    amount, decay = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    mist = plasma(1 << (max(image.shape) - 1).bit_length(), decay, stream)
    low, high, _, _ = cv2.minMaxLoc(mist)
    mist = mist[: image.shape[0], : image.shape[1]]
    brightest = int(image.max()) / 255
    gain = brightest / (brightest + amount)
    scale = 255 * amount * gain / (high - low)
    out = np.empty_like(image)
    for rows in strips(image):
        x = image[rows] * np.float32(gain)
        x += over_channels((mist[rows] - np.float32(low)) * np.float32(scale), image)
        out[rows] = to_uint8(x)
    return out


def brightness(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Raise the value V of HSV by c: every channel grows in proportion, black becomes grey."""
    step = 255 * (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    levels = np.arange(256.0)
    raised = np.minimum(levels + step, 255)
    if image.ndim == 2:
        return cv2.LUT(image, to_uint8(raised))
    gain = (raised / np.maximum(levels, 1)).astype(np.float32)
    out = np.empty_like(image)
    for rows in strips(image):
        planes = cv2.split(image[rows])
        value = cv2.max(cv2.max(*planes[:2]), planes[2])
        black = (value == 0).view(np.uint8)  # replaced by 1, which has the same gain
        factor = cv2.LUT(value, gain)
        out[rows] = cv2.merge([to_uint8((plane + black) * factor) for plane in planes])
    return out


def _depth(drops: np.ndarray) -> np.ndarray:
    """Shade drops by the distance from their edges, embossed; uint8 to uint8."""
    depth = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    for rows in strips(depth):
        # A distance is a sum of steps of 1, 1.4 and 2.1969: a multiple of 1/5 minus a multiple of
        # 0.0031. OpenCV's code and that of processor vendors agree to within 1e-4.
        near = np.minimum(depth[rows], 20)
        fifths = np.ceil(near * 5 - np.float32(1e-3)) * np.float32(0.2)
        less = np.rint((fifths - near) * np.float32(1 / 0.0031))
        depth[rows] = fifths - less * np.float32(0.0031)
    depth = cv2.boxFilter(depth, -1, (3, 3), normalize=False)
    depth /= 9
    depth = cv2.equalizeHist(depth.astype(np.uint8))
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    return cv2.blur(cv2.filter2D(depth, cv2.CV_8U, emboss), (3, 3))


def spatter(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Splash water (severities 1 to 3) or mud (4 and 5) over the image."""
    mean, std, sigma, threshold, strength, mud = (
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    )[severity - 1]
    # In units of 1 / 14000 and shifted by 2, so that all noise fits 16 bits.
    noise = stream.normal(image.shape[:2], 14000 * (mean + 2), 14000 * std, np.uint16)
    liquid = gaussian(noise, sigma)
    threshold = 14000 * (threshold + 2)
    if mud:
        liquid = gaussian((liquid > threshold) * np.uint16(65535), strength)
        colour, scale = np.array([63, 42, 20], np.float32), 1 / 65535
    else:
        for rows in strips(liquid):
            drops = liquid[rows] * np.float32(255 / 14000)
            drops -= 2 * 255
            drops *= liquid[rows] >= threshold
            liquid[rows] = drops
        liquid = liquid.astype(np.uint8)
        liquid = np.multiply(liquid, _depth(liquid), dtype=np.uint16)
        colour, scale = np.array([175, 238, 238], np.float32), strength / max(int(liquid.max()), 1)
    out = np.empty_like(image)
    for rows in strips(image):
        cover = liquid[rows] * np.float32(scale)
        if mud:
            cover *= cover >= 0.8
        splash = [cover * level for level in colour]
        splash = cv2.merge(splash) if image.ndim == 3 else cover * np.dot(colour, _LUMA)
        if mud:
            splash += image[rows] * over_channels(1 - cover, image)
            out[rows] = to_uint8(splash)
        else:
            out[rows] = cv2.add(image[rows], to_uint8(splash))
    return out
