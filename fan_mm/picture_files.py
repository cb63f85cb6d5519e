"""Image files that are truncated, or no images at all: found by their last bytes, and described in words.

A copy or download that broke off leaves a file whose header is right. Some decoders fill what is missing
with grey and say nothing (libjpeg, from files and, in older OpenCV, from memory), so that half an image
would be evaluated. What whole JPEG and PNG files end with costs next to nothing to look for; only a file
without it is read whole: cameras append what is no part of the image.
"""

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, UnidentifiedImageError

from fan_mm.errors import InputError, in_one_line
from fan_mm.images import SUFFIXES

# What a file of the kind begins and ends with. The pixels of a JPEG never hold its end.
_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
_ENDS = {_JPEG: b'\xff\xd9', _PNG: b'IEND\xaeB`\x82'}
_TAIL = 64  # bytes, of which a few may follow the end
# Of a segment of a JPEG; not those that stand among pixels.
_MARKER = re.compile(rb'\xff+([^\x00\xff\xd0-\xd7])')
_EOI = b'\xd9'
_PATH = re.compile(r'(^|_)path\d*$')  # keys of a sample: img_path, seg_map_path, img_path2
_OTHERS = (  # what comes under the name of an image, by its first bytes in lower case
    (rb'\s*<(!doctype|html|\?xml|head|body)', 'is a web page, not an image: the download failed'),
    (rb'version https://git-lfs', 'is a Git LFS pointer, not an image: run git lfs pull'),
    (rb'(?s)....ftyp(hei|hev|mif1|msf1)', 'is HEIC, which OpenCV cannot read: convert it'),
    (rb'\xff\x0a|\0\0\0\x0cjxl ', 'is JPEG XL, which OpenCV cannot read: convert it'),
    # those of numpy (.npz) and torch are read by somebody's own loader
    (
        rb'(?s)pk\x03\x04(?!.{26}.*(\.npy|/data\.pkl))|\x1f\x8b|rar!|7z\xbc\xaf',
        'is an archive, not an image: unpack it',
    ),
)


def refuse_cut(sample: Mapping[str, Any]) -> None:
    """Refuse a sample whose image or label map is cut short, before it is loaded.

    Args:
        sample: what a pipeline gets. What its ``img_path``, ``seg_map_path`` and the like name is looked at
            where it is a file on this machine.

    Raises:
        InputError: one is; its name, and what to do.
    """
    for key, path in sample.items():
        if not (isinstance(path, str | os.PathLike) and _PATH.search(str(key))):
            continue
        if not ends_as_whole(path) and (why := _unfinished(Path(path).read_bytes())):
            raise InputError(f'{os.fspath(path)} {why}')


def ends_as_whole(path: str | os.PathLike) -> bool:
    """Whether a file does not end before its image does, as far as its last bytes tell.

    True of other formats than JPEG and PNG, of what cannot be opened here, and of an empty file that has no
    image's name: a list of objects may be empty.
    """
    try:
        with open(path, 'rb', buffering=0) as file:
            start = file.read(len(_PNG))
            end = _ENDS.get(start, _ENDS.get(start[: len(_JPEG)]))
            if end is None:
                return bool(start) or Path(path).suffix.lower() not in SUFFIXES
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return end in file.read()
    except OSError:
        return True


def fault(path: str | os.PathLike) -> str | None:
    """What is wrong with a picture's file, and what to do, as the end of a line that begins with its name.

    Args:
        path: of the file, all of which is read.

    Returns:
        None where nothing is, it cannot be opened, or only its format is unknown to Pillow.
    """
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    if why := _unfinished(data):
        return why
    start = data[:64].lower()
    if other := next((what for pattern, what in _OTHERS if re.match(pattern, start)), None):
        return other
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Image.DecompressionBombError:
        return None
    except UnidentifiedImageError:
        if data.strip(b'\0') and not data[:512].isascii():
            return None
        return 'is not an image: get it again'
    except Exception as error:  # Pillow's decoders raise many kinds
        return f'is damaged ({in_one_line(error)}): get it again'
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient
    return None


def _unfinished(data: bytes) -> str | None:
    if not data:
        return 'is empty (0 bytes): get it again'
    return 'is truncated: get it again' if _is_cut(data) else None


def _is_cut(data: bytes) -> bool:
    """Whether a JPEG or PNG ends before its image does, by its segments; whatever follows its end."""
    if data.startswith(_PNG):
        place = len(_PNG)
        while (kind := data[place + 4 : place + 8]) != b'IEND':
            if not kind.isalpha():
                return True
            place += 12 + int.from_bytes(data[place : place + 4], 'big')
        return place + 12 > len(data)
    if not data.startswith(_JPEG):
        return False
    place = 2
    while marker := _MARKER.search(data, place):
        place = marker.end()
        if marker[1] == _EOI:
            return False
        # a segment is as long as it says; one with pixels is followed by them
        place += int.from_bytes(data[place : place + 2], 'big')
    return True
