"""Read clean images as mm pipelines do, and encode corrupted ones to the same bytes every time."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from fan_mm.errors import in_one_line
from fan_mm.images import Header, header_of

# Run-length strategy and, where OpenCV has the choice (4.12), one filter for all rows: 70 ms for a
# 1024x2048 image instead of 130 ms and more, for files 5 to 10 % larger.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, 'IMWRITE_PNG_FILTER'):
    _PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
_ENDS = {b'\x89PNG': b'IEND\xaeB`\x82', b'\xff\xd8\xff': b'\xff\xd9'}


class UnreadableImageError(Exception):
    """A source image that cannot be decoded; the message is the reason."""


def read_image(path: Path) -> np.ndarray:
    """An image file as uint8 BGR ``(H, W, 3)``; see `decode`.

    Raises:
        UnreadableImageError: the file cannot be read, is no image, or one cut short.
    """
    return decode(read_bytes(path))[0]


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        UnreadableImageError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from error


def decode(data: bytes) -> tuple[np.ndarray, list[str]]:
    """Decode an image file as mmcv's LoadImageFromFile does by default.

    Returns:
        uint8 BGR ``(H, W, 3)``; and what was done to the image, or of it left away, each a phrase.

    Raises:
        UnreadableImageError: not an image, or one cut short.
    """
    header = _checked_header(data)
    try:
        image = _decode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:  # more pixels than it takes
        raise UnreadableImageError(in_one_line(error)) from None
    if image is None:
        raise UnreadableImageError('OpenCV cannot decode it' if header else 'not an image')
    return image, _remarks(data, header, image) if header else []


def _checked_header(data: bytes) -> Header | None:
    """The header of an image that is whole; None for one that Pillow does not know.

    Pillow goes first because it says what is wrong; OpenCV returns nothing, or half an image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            header = header_of(image)
            image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return None
    except Exception as error:  # Pillow's decoders raise many kinds, each with a telling message
        raise UnreadableImageError(in_one_line(error)) from error
    return header


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None


def _remarks(data: bytes, header: Header, image: np.ndarray) -> list[str]:
    remarks = []
    if header.orientation > 1:  # OpenCV does not apply it to every format
        stored = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if stored is None or not np.array_equal(stored, image):
            remarks.append('rotated according to EXIF')
    if header.several:
        remarks.append('with only the first of several frames or pages')
    if header.transparent:
        remarks.append('without transparency')
    if header.deep or (data.startswith(b'\x89PNG') and data[24] > 8):
        remarks.append('reduced to 8 bits')
    return remarks


def resize_and_crop(image: np.ndarray, short: int, crop: int) -> np.ndarray:
    """Scale the short side to ``short`` pixels and cut the central ``crop`` x ``crop``.

    torchvision's Resize and CenterCrop on a PIL image (bilinear with antialiasing), as ImageNet-C
    was made; mmpretrain's ``ResizeEdge(backend='pillow', interpolation='bilinear')`` and
    ``CenterCrop`` give the same pixels.

    Args:
        image: uint8 ``(H, W, 3)``.
        short: the short side, pixels.
        crop: side of the square, pixels, at most ``short``.
    """
    height, width = image.shape[:2]
    size = (
        (short, int(short * height / width))
        if width < height
        else (int(short * width / height), short)
    )
    if size != (width, height):
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    top, left = (round((side - crop) / 2) for side in image.shape[:2])
    return image[top : top + crop, left : left + crop]


def encode(image: np.ndarray, suffix: str, quality: int | None) -> bytes:
    """Encode uint8 BGR ``(H, W, 3)`` to the bytes of a PNG or JPEG file.

    Args:
        image: the pixels.
        suffix: of the file name, in any case; what is not '.png' is JPEG.
        quality: of JPEG, 1 to 100; of PNG it says nothing.
    """
    png = suffix.lower() == '.png'
    parameters = _PNG if png else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode('.png' if png else '.jpg', image, parameters)
    if not done:
        raise RuntimeError(f'OpenCV could not encode a {image.shape} image as {suffix}')
    return data.tobytes()


def is_whole(data: bytes) -> bool:
    """Whether the bytes begin and end as a PNG or JPEG file that `encode` made.

    Files of a killed run are whole; after a power cut, or a copy that broke off, they may not be.
    """
    return any(data.startswith(head) and data.endswith(end) for head, end in _ENDS.items())
