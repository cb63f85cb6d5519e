"""Image files of the user's: found in folders, read and written as RGB."""

import os
from pathlib import Path

import cv2
import numpy as np

from fan_mm.errors import InputError
from fan_mm.fileio import write_whole

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')


def find_images(
    path: str | os.PathLike, out: str | os.PathLike | None = None
) -> list[tuple[Path, Path]]:
    """Image files and the relative paths of their painted copies.

    Args:
        path: one file of any name, or a folder that is searched with all its subfolders.
        out: the subfolder of painted copies, if it is one: what lies there is no input.

    Raises:
        InputError: nothing is there.
    """
    path = Path(path)
    if path.is_file():
        found = [(path, Path(path.name))]
    elif path.is_dir():
        files = sorted(p for p in path.rglob('*') if p.suffix.lower() in SUFFIXES and p.is_file())
        found = [(file, file.relative_to(path)) for file in files]
        top, painted = path.resolve(), out and Path(out).resolve()
        if painted and top in painted.parents:
            found = [(f, r) for f, r in found if painted not in (top / r).parents]
        if not found:
            raise InputError(f'{path} has no images ({", ".join(SUFFIXES)})')
    else:
        raise InputError(f'no such file or folder: {path}')
    keep = ('.jpg', '.jpeg', '.png')
    return [(f, r if r.suffix.lower() in keep else r.with_name(r.name + '.png')) for f, r in found]


def read_image(file: Path) -> np.ndarray | None:
    """An image file as uint8 RGB ``(H, W, 3)``; None if it is not one."""
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError:
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    return None if image is None else np.ascontiguousarray(image[..., ::-1])


def write_image(file: Path, picture: np.ndarray) -> None:
    """Write a uint8 RGB picture, whole or not at all.

    Raises:
        InputError: the format has no room for so large a picture.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, 95]
    done, data = cv2.imencode(file.suffix, picture[..., ::-1], options)
    if not done:
        height, width = picture.shape[:2]
        raise InputError(f'{file}: {width}x{height} pixels are too many for {file.suffix}')
    write_whole(file, data.tobytes())
