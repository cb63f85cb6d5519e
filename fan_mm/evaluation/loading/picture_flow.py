"""What a pipeline does to an image, found by running it on a sample.

Only OpenMMLab's own transforms can be recognised by name, and what they do depends on their options.
Transforms are therefore run on a sample of the dataset, to find out which one loads the image, which one
packs it, what form the image has at a given position, and, with an image painted in a single colour, whether
red or blue is the first channel there.
"""

import contextlib
import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from fan_mm.datasets.transforms.picture_forms import in_form_of, pixels_of
from fan_mm.engine.random_states import random_states_kept
from fan_mm.errors import InputError
from fan_mm.evaluation.loading.nested_transforms import change_inside, flatten, inside
from fan_mm.images import SUFFIXES, read_image, write_image

Transform = Callable[[dict], Any]

# These colours remain distinguishable if an image is inverted or its channels are exchanged.
_PAINT = {'rgb': (210, 70, 20), 'bgr': (20, 70, 210)}
_TOLERANCE = 12  # grey levels; JPEG and resizing change a uniform colour by less
_SHARE = 0.25  # minimum share of the image with the colour; the rest may be padding
_PROBE_SIZE = 256  # pixels; large enough for third-party loaders that crop


class Look:
    """A transform that records the samples passing through it."""

    def __init__(self) -> None:
        self.seen: list[dict] = []

    def __call__(self, results: dict) -> dict:
        """Keep a sample, and hand it on."""
        self.seen.append(copy.copy(results))
        return results

    def __deepcopy__(self, memo: dict) -> 'Look':
        return self  # not copied: the code that inserted it reads it


def copied(transforms: Sequence[Transform]) -> list[Transform]:
    """Copies of transforms for a trial, so that a loader's workers do not share the files that it opens."""
    try:
        return copy.deepcopy(list(transforms))
    except Exception:  # third-party transforms may contain objects that cannot be copied
        return list(transforms)


def run(transforms: Sequence[Transform], sample: dict) -> Exception | None:
    """Run transforms on a copy of a sample; the random generators are set back.

    Returns:
        The error that stopped it; None if there was none.
    """
    with random_states_kept():
        try:
            results = copy.deepcopy(sample)
            for transform in transforms:
                results = transform(results)
        except Exception as error:  # third-party transforms may raise anything
            return error
    return None


def picture_in(results: Any) -> Any:
    """The image of a sample, None if it has none."""
    image = results.get('img') if isinstance(results, dict) else None
    if isinstance(image, np.ndarray | torch.Tensor):
        return image if image.ndim > 1 else None
    return image if isinstance(image, Image.Image) else None


# -------------------------------------------------------------------------- loading and packing


def loader_and_packer(
    transforms: Sequence[Transform], sample: dict
) -> tuple[Transform | None, Transform | None, bool]:
    """The transform after which a sample has an image, and the one that makes a tensor of it.

    Returns:
        Two of ``flatten(transforms)``, None if no transform does it; and whether the sample still has
        an image after the last transform.
    """
    loaders: list[int] = []
    packers: list[int] = []
    numbers = iter(range(len(flatten(transforms))))

    def watched(transform: Transform) -> Transform:
        number = next(numbers)
        if inside(transform):
            return change_inside(transform, lambda held: [watched(t) for t in held])

        def call(results: dict) -> Any:
            had = picture_in(results) is not None
            results = transform(results)
            image = picture_in(results)
            if image is not None and not had:
                loaders.append(number)
            if had and (image is None or isinstance(image, torch.Tensor)):
                packers.append(number)
            return results

        return call

    look = Look()
    run([*(watched(t) for t in copied(transforms)), look], sample)
    originals = flatten(transforms)
    loader, packer = (originals[found[0]] if found else None for found in (loaders, packers))
    return loader, packer, any(picture_in(results) is not None for results in look.seen)


# ------------------------------------------------------------------------------------- cropping


@dataclass(frozen=True)
class Frame:
    """Replaces a sample's image with one that has a bright edge.

    Attributes:
        size: height and width of that image.
        edge: width of the edge in pixels.
    """

    size: tuple[int, int] = (224, 224)
    edge: int = 16

    def __call__(self, results: dict) -> dict:
        """Replace the image by another one of its form."""
        pixels = pixels_of(results['img'])
        framed = np.full((*self.size, *pixels.shape[2:]), 255, pixels.dtype)
        framed[self.edge : -self.edge, self.edge : -self.edge] = 90
        results['img'] = in_form_of(results['img'], framed)
        return results

    @staticmethod
    def is_cut(results: Any) -> bool:
        """Whether one of the four edges is gone, seen from the centre; False where none can tell."""
        image = picture_in(results)
        try:
            pixels = None if image is None else pixels_of(image).astype(np.float32)
        except InputError:
            return False
        if pixels is None or pixels.max() <= pixels.min():
            return pixels is not None
        pixels = pixels.reshape(*pixels.shape[:2], -1).mean(-1)
        bright = pixels > (pixels.max() + pixels.min()) / 2
        y, x = (length // 2 for length in bright.shape)
        rays = (bright[y, :x], bright[y, x:], bright[:y, x], bright[y:, x])
        return not all(ray.any() for ray in rays)


# --------------------------------------------------------------------------------- colour order


def colour_orders(
    transforms: Sequence[Transform], look: Look, sample: dict, known: str | None = None
) -> set[str]:
    """In which order a picture's colours are where ``look`` stands: 'rgb', 'bgr', both or neither.

    The result is empty if the image has no colours there. Transforms to grey do not change the order.

    Args:
        transforms: transforms of a pipeline, which contain ``look``, possibly nested.
        look: marks the position.
        sample: a sample of the dataset; its image is replaced by a painted one.
        known: the channel order of an image that is already in the sample, if the dataset defines it.

    Raises:
        InputError: a transform does not take a painted image.
    """
    held = picture_in(sample)
    if held is not None:
        order = known or _order_in_file(held, sample.get('img_path')) or _by_convention(held)
        sample = {**sample, 'img': _painted(held, order)}
    orders = _orders_seen(transforms, look, sample)
    if orders:
        return orders
    # This image may be grey while others are not. (Some loaders cannot read files from other folders.)
    with painted_file(sample.get('img_path')) as file, contextlib.suppress(InputError):
        orders = _orders_seen(transforms, look, {**sample, 'img_path': file})
    return orders


def _orders_seen(transforms: Sequence[Transform], look: Look, sample: dict) -> set[str]:
    before = len(look.seen)
    error = run(_with_lasting_paint(transforms, look), sample)
    seen = look.seen[before:]
    if error and not seen:
        raise InputError(
            'its channel order at the position of the corruption cannot be determined: with an image '
            f'of one colour, {type(error).__name__}: {error}'
        )
    orders = (_painted_order(picture_in(results)) for results in seen)
    return {order for order in orders if order is not None}


def _with_lasting_paint(transforms: Sequence[Transform], look: Look) -> list[Transform]:
    """Transforms that paint an image when it is loaded, and again whenever the paint was covered."""

    def lasting(transform: Transform) -> Transform:
        if transform is look:
            return look
        if any(t is look for t in flatten([transform])):
            return change_inside(transform, lambda held: _with_lasting_paint(held, look))

        def call(results: dict) -> Any:
            given = copy.copy(results)
            loads = picture_in(results) is None
            order = _painted_order(picture_in(results))  # immediately: transforms may work in place
            results = transform(results)
            image = picture_in(results)
            if image is not None and (loads or _painted_order(image) is None):
                if loads:
                    order = _order_of_loader(transform, given, image)
                results['img'] = _painted(image, order or _by_convention(image))
            return results

        return call

    return [lasting(t) for t in transforms]


def _painted(image: Any, order: str) -> Any:
    """An image of the same form in one colour; itself if it has no colours."""
    try:
        pixels = np.full_like(pixels_of(image), 255)  # keeps an alpha channel opaque
    except InputError:  # not our business: nothing will be corrupted in this form
        return image
    if pixels.ndim < 3 or pixels.shape[2] < 3:
        return image
    pixels[..., :3] = _PAINT[order]
    return in_form_of(image, pixels)


def _painted_order(image: Any) -> str | None:
    """The order of a painted image's colours; None if it has no paint, or no colours."""
    try:
        pixels = None if image is None else pixels_of(image)
    except InputError:
        return None
    if pixels is None or pixels.ndim < 3 or pixels.shape[2] < 3:
        return None
    pixels = pixels[..., :3].astype(np.float32)
    found = {
        order: float((np.abs(pixels - colour) <= _TOLERANCE).all(-1).mean())
        for order, colour in _PAINT.items()
    }
    order = max(found, key=found.__getitem__)
    return order if found[order] >= _SHARE else None


def _by_convention(image: Any) -> str:
    """The usual order where nothing shows it: Pillow has red first, arrays in mm have blue."""
    return 'rgb' if isinstance(image, Image.Image) else 'bgr'


def _order_of_loader(loader: Transform, sample: dict, loaded: Any) -> str | None:
    """In which order a loader leaves the colours."""
    path = sample.get('img_path')
    look = Look()
    with painted_file(path) as file:
        run([*copied([loader]), look], {**sample, 'img_path': file})
    order = _painted_order(picture_in(look.seen[0])) if look.seen else None
    return order or _order_in_file(loaded, path) or _declared_order(loader)


@contextlib.contextmanager
def painted_file(like: Any = None) -> Iterator[str]:
    """Path of a painted image file, in the format of another file where that is one of `SUFFIXES`."""
    suffix = Path(like).suffix.lower() if isinstance(like, str) else ''
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f'probe{suffix if suffix in SUFFIXES else ".png"}')
        picture = np.full((_PROBE_SIZE, _PROBE_SIZE, 3), _PAINT['rgb'], np.uint8)
        write_image(file, picture)
        yield str(file)


def _order_in_file(image: Any, path: Any) -> str | None:
    """The order of an image's colours, told by comparing it with its file; None if that fails."""
    rgb = read_image(Path(path)) if isinstance(path, str) else None
    try:
        pixels = pixels_of(image)[..., :3].astype(np.float32)
    except InputError:
        return None
    if rgb is None or pixels.ndim < 3 or pixels.shape[2] < 3:
        return None
    rgb = cv2.resize(rgb, pixels.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    far = {
        'rgb': float(np.abs(pixels - rgb).mean()),
        'bgr': float(np.abs(pixels[..., ::-1] - rgb).mean()),
    }
    order = min(far, key=far.__getitem__)
    return order if 2 * far[order] < max(far.values()) else None


def _declared_order(loader: Transform) -> str | None:
    """What a loader's own options say; None if they are silent."""
    order = getattr(loader, 'channel_order', None)
    if order in _PAINT:
        return order
    return 'rgb' if getattr(loader, 'imdecode_backend', None) == 'tifffile' else None
