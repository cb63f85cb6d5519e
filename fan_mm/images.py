"""The user's image files: found in folders, read and written as RGB, described by their headers."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fan_mm.errors import InputError
from fan_mm.fileio import shortened, write_whole
from fan_mm.folders import files_below

# Of what OpenCV reads, in any case; those that lose nothing or little first: where an image is there
# in several forms, the first counts.
SUFFIXES = (
    *('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.webp', '.bmp', '.dib', '.tif', '.tiff'),
    *('.ppm', '.pgm', '.pnm', '.jp2', '.gif', '.avif'),
)
_NAME = 255  # bytes of a file name
_ORIENTATION = 0x0112  # EXIF


def find_images(
    path: str | os.PathLike, out: str | os.PathLike | None = None
) -> list[tuple[Path, Path]]:
    """Image files and the relative paths of their painted copies, no two of which are the same.

    Args:
        path: one file of any name, or a folder that is searched with all its subfolders, but for what
            is hidden.
        out: the subfolder of painted copies, if it is one: what lies there is no input.

    Raises:
        InputError: nothing is there, or a folder that cannot be read.
    """
    path = Path(path)
    if path.is_file():
        relatives = [Path(path.name)]
        files = [path]
    elif path.is_dir():
        below = sorted(Path(*parts) for parts in files_below(path))
        relatives = [name for name in below if name.suffix.lower() in SUFFIXES]
        top, painted = path.resolve(), out and Path(out).resolve()
        if painted and top in painted.parents:
            relatives = [r for r in relatives if painted not in (top / r).parents]
        if not relatives:
            raise InputError(f'{path} has no images ({", ".join(SUFFIXES)})')
        files = [path / r for r in relatives]
    else:
        raise InputError(f'no such file or folder: {path}')
    return list(zip(files, _painted(relatives), strict=True))


def _painted(relatives: Sequence[Path]) -> list[Path]:
    """The names of painted copies: the images' own, with .png appended to those of other formats."""
    kept = [r.suffix.lower() in ('.jpg', '.jpeg', '.png') for r in relatives]
    taken = {r for r, keeps in zip(relatives, kept, strict=True) if keeps}
    names = []
    for relative, keeps in zip(relatives, kept, strict=True):
        name, number = relative, 1
        while not keeps and (name == relative or name in taken):
            behind = '.png' if number == 1 else f'.{number}.png'
            stem = shortened(relative.name, _NAME - len(os.fsencode(behind)))
            name, number = relative.with_name(stem + behind), number + 1
        taken.add(name)
        names.append(name)
    return names


def read_image(file: Path) -> np.ndarray | None:
    """An image file as uint8 RGB ``(H, W, 3)``, as mmcv's default loader reads it; None if it is none.

    That is: rotated according to EXIF, without transparency, reduced to 8 bits, the first of several frames.
    """
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):  # the latter: more pixels than OpenCV takes
        return None
    return None if image is None else np.ascontiguousarray(image[..., ::-1])


def no_wider(picture: np.ndarray, width: int) -> np.ndarray:
    """An image ``(H, W, 3)``, scaled down if it is wider than so many pixels."""
    height, own = picture.shape[:2]
    if own <= width:
        return picture
    size = width, max(1, round(height * width / own))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Header:
    """What a picture's header says.

    Attributes:
        size: width and height in pixels, as they are stored: not turned.
        orientation: of EXIF, 1 to 8; 1 is upright.
        several: whether it has several frames or pages.
        transparent: whether it has an alpha channel or a transparent colour.
        deep: whether it has more than 8 bits per channel.
    """

    size: tuple[int, int]
    orientation: int
    several: bool
    transparent: bool
    deep: bool


def read_header(file: str | os.PathLike) -> Header | None:
    """Read a picture's header, and not its pixels; None if there is none that Pillow knows."""
    try:
        with Image.open(file) as image:
            return header_of(image)
    except Exception:  # Pillow's plugins raise many kinds
        return None


def header_of(image: Image.Image) -> Header:
    """What the header of an image says that Pillow has opened."""
    # Pillow would decode a whole PNG to look for EXIF behind the pixels.
    exif = image.getexif() if image.format != 'PNG' or 'exif' in image.info else {}
    orientation = exif.get(_ORIENTATION, 1)
    return Header(
        size=image.size,
        orientation=orientation if orientation in range(1, 9) else 1,
        # MPO: a photo and its previews
        several=image.format != 'MPO' and getattr(image, 'is_animated', False),
        transparent=image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa')
        or 'transparency' in image.info,
        deep=image.mode.startswith(('I', 'F')),
    )


def write_image(file: Path, picture: np.ndarray) -> None:
    """Write a uint8 RGB image, whole or not at all.

    Raises:
        InputError: the format has no room for so large an image.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, 95]
    done, data = cv2.imencode(file.suffix, picture[..., ::-1], options)
    if not done:
        height, width = picture.shape[:2]
        raise InputError(f'{file}: {width}x{height} pixels are too many for {file.suffix}')
    write_whole(file, data.tobytes())
