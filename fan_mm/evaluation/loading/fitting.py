"""Whether corrupted copies fit their originals as a dataset's own loader reads both.

Copies of another size or orientation would put every prediction in the wrong place. Sizes are read from
the file headers. Some loaders apply a photo's EXIF orientation and others ignore it, so if an image has one,
it is loaded with the dataset's own loader. Copies that were read in one channel order and written in the other
have red and blue swapped, which is detected from the colours of a few pairs.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fan_mm.errors import InputError
from fan_mm.evaluation.cells import Cell
from fan_mm.evaluation.loading.nested_transforms import flatten
from fan_mm.evaluation.loading.pictures import Loader, load, loader_in, pipelines_of
from fan_mm.evaluation.pipelines import is_classification
from fan_mm.evaluation.premade import PremadeImages
from fan_mm.evaluation.samples import spread
from fan_mm.images import Header, read_header

_MOST = 5000  # maximum number of pairs checked
_TURNED = 16  # number of pairs with an EXIF orientation that are loaded
_THUMB = 32  # pixels
_CLEARER = 0.2  # by how much another orientation must correlate better
_COLOURED = 8  # number of pairs whose colours are compared
_ENOUGH = 4  # minimum number of pairs: a crop's colours may differ from its original's by chance
_SWAPPED = -0.5  # correlation of blue minus red; no corruption reverses its sign

# EXIF orientation -> operation that makes a stored array upright.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda image: image[::-1, ::-1],
    4: np.flipud,
    5: np.transpose,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].T,
    8: np.rot90,
}
_BACK = {6: 8, 8: 6}
_SIDEWAYS = 5  # from this orientation on, width and height are exchanged


def check_fit(
    images: PremadeImages, cells: Sequence[Cell], clean_paths: Sequence[str], dataset: Any
) -> None:
    """Check that copies have the sizes and the orientation of their originals.

    Every original is compared with one of its copies, covering all cells, up to `_MOST` pairs.
    ImageNet-C images are crops: for a classifier it is enough that all copies have the same size, which
    is required if its pipeline crops, because copies are not cropped again.

    Raises:
        InputError: a copy does not fit; says which, and why.
    """
    transforms = [t for pipeline in pipelines_of(dataset) for t in flatten(pipeline)]
    loader = loader_in(transforms)
    size_of = functools.partial(_loaded_size, loader, {})
    unfit: InputError | None = None
    sizes: dict[tuple[int, int], Path] = {}  # size -> a copy of that size
    turned = 0
    for clean, copy in _pairs(images, cells, clean_paths):
        size = size_of(copy)
        wanted = None if '://' in clean else size_of(Path(clean))
        if size is None:
            raise InputError(f'{copy} is empty, damaged or not an image: generate it again')
        sizes.setdefault(size, copy)
        header = _header(Path(clean))
        orientation = header.orientation if header else 1
        if wanted is not None and size != wanted:
            unfit = unfit or _other_size(copy, size, clean, wanted, orientation)
        elif orientation > 1 and loader and turned < _TURNED:
            turned += 1
            if not _alike(load(loader, clean), load(loader, copy), orientation):
                raise InputError(
                    f'{copy} has another orientation than {clean} (EXIF orientation {orientation}) '
                    f'as the config loads it: {_HOW}'
                )
    if loader:
        few = [clean_paths[i] for i in spread(len(clean_paths), _COLOURED)]
        _check_colours(loader, list(_pairs(images, cells, few)))
    if not is_classification(transforms):
        if unfit:
            raise unfit
    elif len(sizes) > 1 and (unfit or _crops(transforms)):
        (first, one), (second, other) = list(sizes.items())[:2]
        raise InputError(
            f'{one} has {_text(first)} pixels and {other} {_text(second)}: copies for a classifier '
            'must be crops of one size, as in ImageNet-C, or have the size of their originals if the '
            'pipeline does not crop'
        )


_HOW = (
    'make both the config and the generator of the copies apply EXIF orientations (mmcv does by '
    'default), or remove them from the originals'
)


def _pairs(
    images: PremadeImages, cells: Sequence[Cell], clean_paths: Sequence[str]
) -> Iterator[tuple[str, Path]]:
    """Originals with one copy each, all of them and all cells, evenly spaced over each other."""
    chosen = [clean_paths[i] for i in spread(len(clean_paths), _MOST)]
    for i in range(max(len(chosen), len(cells))):
        clean = chosen[i % len(chosen)]
        if copy := images.path(cells[i % len(cells)], clean):
            yield clean, copy


@functools.lru_cache(maxsize=2)
def _header(file: Path) -> Header | None:
    return read_header(file)


def _loaded_size(
    loader: Loader | None, applied: dict[str, bool], file: Path
) -> tuple[int, int] | None:
    """Width and height of an image as it is loaded; None if it cannot be read."""
    header = _header(file)
    if header is None:
        image = None if loader is None else load(loader, file)
        return None if image is None else image.shape[1::-1]
    width, height = header.size
    if header.orientation < _SIDEWAYS or width == height:
        return width, height
    suffix = file.suffix.lower()
    if suffix not in applied:
        image = None if loader is None else load(loader, file)
        applied[suffix] = image is None or image.shape[1::-1] != (width, height)
    return (height, width) if applied[suffix] else (width, height)


def _alike(clean: np.ndarray | None, copy: np.ndarray | None, orientation: int) -> bool:
    """Whether a copy has the orientation of its original, as far as the images show it."""
    if clean is None or copy is None:
        return True
    clean, copy = _thumb(clean), _thumb(copy)
    turns = (_TURNS[orientation], _TURNS[_BACK.get(orientation, orientation)])
    others = [float((turn(clean) * copy).mean()) for turn in turns]
    return float((clean * copy).mean()) + _CLEARER >= max(others)


def _check_colours(loader: Loader, pairs: Sequence[tuple[str, Path]]) -> None:
    """Compare the colours of some copies with those of their originals.

    Raises:
        InputError: red and blue are swapped in most of them.
    """
    alike = {}
    for clean, copy in (pairs[i] for i in spread(len(pairs), _COLOURED)):
        one, other = _blueness(load(loader, clean)), _blueness(load(loader, copy))
        if one is not None and other is not None:
            alike[clean, copy] = float((one * other).mean())
    if len(alike) >= _ENOUGH and np.median(list(alike.values())) < _SWAPPED:
        clean, copy = min(alike, key=alike.__getitem__)
        raise InputError(
            f'{copy} and other copies have red and blue swapped, compared with {clean}: cv2 reads and writes BGR, '
            'imagecorruptions and Pillow take RGB; generate them again'
        )


def _blueness(image: np.ndarray | None) -> np.ndarray | None:
    """Blue minus red in a small square image, of mean 0 and variance 1; None without colours."""
    if image is None or image.ndim != 3 or image.shape[2] < 3:
        return None
    # As floats: OpenCV cannot resize all data types.
    excess = image[..., 0].astype(np.float32) - image[..., 2]
    excess = cv2.resize(excess, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return (excess - excess.mean()) / excess.std() if excess.std() > 1 else None


def _thumb(image: np.ndarray) -> np.ndarray:
    """Grey levels of a small square image, of mean 0 and variance 1."""
    grey = image.astype(np.float32).reshape(*image.shape[:2], -1).mean(-1)
    small = cv2.resize(grey, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return (small - small.mean()) / (small.std() + 1e-6)


def _crops(transforms: Sequence) -> bool:
    return any(type(getattr(t, 't', t)).__name__.endswith('Crop') for t in transforms)


def _other_size(
    copy: Path, size: tuple[int, int], clean: str, wanted: tuple[int, int], orientation: int
) -> InputError:
    text = f'{copy} has {_text(size)} pixels and {clean} {_text(wanted)} as the config loads it'
    if orientation >= _SIDEWAYS and size == wanted[::-1]:
        return InputError(f'{text} (EXIF orientation {orientation}): {_HOW}')
    return InputError(f'{text}: copies must have the size of their originals')


def _text(size: tuple[int, int]) -> str:
    return f'{size[0]}x{size[1]}'
