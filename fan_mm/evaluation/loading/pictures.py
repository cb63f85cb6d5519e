"""Images as a pipeline's own loader reads them: with or without EXIF orientation, in colour or grey."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fan_mm.engine.config.registered import base_named
from fan_mm.errors import InputError
from fan_mm.evaluation.loading.nested_transforms import flatten
from fan_mm.evaluation.loading.picture_flow import Look, colour_orders, copied
from fan_mm.evaluation.pipelines import as_the_model_gets_it, first_sample, is_loader, landmarks_of
from fan_mm.images import read_image
from fan_mm.picture_files import refuse_cut

Loader = Callable[[dict], Any]


def _inside(dataset: Any) -> Iterator[Any]:
    """A built dataset, or those inside if it is a wrapper (ConcatDataset)."""
    several = getattr(dataset, 'datasets', None)
    if isinstance(several, list | tuple):
        for inner in several:
            yield from _inside(inner)
    elif hasattr(dataset, 'dataset'):
        yield from _inside(dataset.dataset)
    else:
        yield dataset


def _transforms_of(dataset: Any) -> Sequence:
    return getattr(getattr(dataset, 'pipeline', None), 'transforms', ())


def pipelines_of(dataset: Any) -> Iterator[Sequence]:
    """The transforms of a built dataset's pipelines, those inside wrappers (ConcatDataset) too."""
    return map(_transforms_of, _inside(dataset))


def red_first(dataset: Any) -> bool:
    """Whether the images of a built dataset, of the first inside wrappers, leave its pipeline with red first.

    False if unknown: mm's own loaders and transforms have blue first.
    """
    dataset = next(_inside(dataset), None)
    transforms, look = _transforms_of(dataset), Look()
    if not transforms or (sample := first_sample(dataset)) is None:
        return False
    placed = as_the_model_gets_it(transforms, look, landmarks_of(transforms, dataset, sample))
    try:
        # CIFAR's files, whose arrays mmpretrain uses unchanged, have red first.
        held = 'rgb' if base_named(type(dataset), 'CIFAR10', 'mmpretrain') else None
        return colour_orders(copied(placed), look, sample, held) == {'rgb'}
    except InputError:  # a transform that takes no painted image
        return False


def refuse_cut_pictures(dataset: Any) -> None:
    """Let a built dataset refuse truncated images and label maps, rather than load a part of them.

    Args:
        dataset: changed in place. (A sweep does not modify its arguments and refuses such images itself.)
    """
    for transforms in pipelines_of(dataset):
        if isinstance(transforms, list):
            transforms.insert(0, _handed_on)


def _handed_on(results: dict) -> dict:
    refuse_cut(results)
    return results


def loader_in(transforms: Sequence) -> Loader | None:
    """The transform of a pipeline that loads the image; None if there is none."""
    return next(filter(is_loader, flatten(transforms)), None)


def load(loader: Loader, file: str | Path) -> np.ndarray | None:
    """The array that a loader gives for an image file, ``(H, W)`` or BGR ``(H, W, C)``.

    Pillow images and tensors ``(C, H, W)``, as in torchvision, are RGB and are converted.

    Returns:
        None if the loader cannot read the file, whatever exception it raises.
    """
    try:
        image = loader({'img_path': str(file), 'img_id': 0})['img']
        if isinstance(image, Image.Image):
            return np.asarray(image.convert('RGB'))[..., ::-1]
        if isinstance(image, torch.Tensor):
            return image.numpy().transpose(1, 2, 0)[..., ::-1]
        return np.asarray(image)
    except Exception:  # third-party loaders may raise anything
        return None


def load_picture(loader: Loader | None, file: str | Path) -> np.ndarray:
    """What a loader gives for an image file, as an image to paint on: uint8 RGB ``(H, W, 3)``.

    Args:
        loader: mmcv's loader, or any other that returns grey or BGR arrays; None for mmcv's default.
        file: path of the image.

    Raises:
        InputError: it is no image that can be read.
    """
    image = read_image(Path(file)) if loader is None else load(loader, file)
    if image is None or image.ndim not in (2, 3) or not image.size:
        raise InputError(f'{file} cannot be read as an image')
    if loader is None:
        return image
    image = image[..., None] if image.ndim == 2 else image
    if image.dtype == np.uint16:
        image = image >> 8
    image = np.clip(np.nan_to_num(image), 0, 255).astype(np.uint8)
    channels = [2, 1, 0] if image.shape[-1] >= 3 else [0, 0, 0]  # grey, or grey with alpha
    return np.ascontiguousarray(image[..., channels])
