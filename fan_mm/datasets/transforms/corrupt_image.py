"""Corrupt the sample's image by one cell (corruption, severity) of a robustness benchmark."""

import os
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from fan_mm.corruptions import (
    check_channel_order,
    check_name,
    check_severity,
    corrupt,
    image_key,
    seed_for,
)
from fan_mm.datasets.transforms.picture_forms import in_form_of, pixels_of
from fan_mm.errors import InputError, about


def corrupt_any(image: Any, name: str, severity: int, *, seed: int, channel_order: str) -> Any:
    """`corrupt` for images in one of the forms of `pixels_of`: uint8, or floats that hold grey levels.

    The result has the form and type of the image. Alpha is kept.

    Raises:
        InputError: another form, or its values are not whole grey levels from 0 to 255.
    """
    pixels = grey_levels(image)
    if pixels.ndim == 2:
        colours = pixels
    else:  # without alpha, or grey
        colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]
    corrupted = corrupt(colours, name, severity, seed=seed, channel_order=channel_order)
    if corrupted.shape != pixels.shape:  # a channel of its own, or alpha
        corrupted = np.concatenate([corrupted.reshape(*pixels.shape[:2], -1), pixels[..., 3:]], -1)
    return in_form_of(image, corrupted.astype(pixels_of(image).dtype, copy=False))


def grey_levels(image: Any) -> np.ndarray:
    """The pixels of an image as uint8.

    Args:
        image: in one of the forms of `pixels_of`.

    Raises:
        InputError: another form, or its values are not whole grey levels from 0 to 255.
    """
    values = pixels_of(image)
    if values.dtype == np.uint8:
        return values
    with np.errstate(invalid='ignore'):  # what does not survive the cast is refused below
        pixels = values.astype(np.uint8, copy=False)
    if not np.array_equal(pixels, values):
        raise InputError(
            f'the image to corrupt is {values.dtype} from {values.min():.4g} to {values.max():.4g}, '
            'not values from 0 to 255: put the corruption directly after LoadImageFromFile, before '
            "anything that scales or normalises (in a sweep: leave that to the model's data_preprocessor)"
        )
    return pixels


@TRANSFORMS.register_module()
class CorruptImage(BaseTransform):
    """Corrupt the image in a reproducible way, in every epoch, process and order of images.

    Put it directly after the loading of the image (for ImageNet-C, which is defined on 224x224
    crops, after resize and crop). The random stream of an image depends only on the seed, its
    folder and file name, the corruption and the severity, so the pixels are those that
    ``tools/make_corrupted_dataset.py`` writes as PNG. (For ImageNet that tool first resizes to 256
    bilinearly and crops 224, like the original ImageNet-C; a pipeline that resizes differently
    corrupts another image.)

    Required keys: ``img`` (array, Pillow image or tensor, see
    `fan_mm.datasets.transforms.picture_forms`; uint8, or floats with values from 0 to 255),
    ``img_path``. Modified: ``img``. Added: ``corruption``, a dict of ``name`` ('clean' if the image
    was not corrupted), ``severity`` (0 if clean) and the base ``seed``; put it into the ``meta_keys`` of
    the packing transform to keep it.

    Args:
        corruption: one of `fan_mm.corruptions.CORRUPTIONS`; 'clean' leaves the image unchanged.
            This and ``severity`` may be changed at any time, to move a built pipeline to another cell.
        severity: 1 to 5 (ignored for clean).
        seed: base seed of the benchmark.
        channel_order: of ``img``: 'bgr' (as mm pipelines load), 'rgb', or 'bgr-as-rgb': BGR pixels
            corrupted as if they were RGB, which is how the published FAN and COCO-C numbers were
            made.

    Raises:
        InputError: unknown corruption, severity or channel order; for a sample without ``img_path``
            or ``img``, or with an image in another form or already normalised.
    """

    def __init__(
        self,
        corruption: str,
        severity: int = 0,
        seed: int = 0,
        channel_order: str = 'bgr',
    ) -> None:
        if corruption != 'clean':
            check_name(corruption)
            check_severity(severity)
        check_channel_order(channel_order)
        self.corruption = corruption
        self.severity = severity
        self.seed = seed
        self.channel_order = channel_order

    def transform(self, results: dict) -> dict:
        """Corrupt ``results['img']``.

        Raises:
            InputError: the image has no form that can be corrupted; its path is named.
        """
        if self.corruption == 'clean':
            results['corruption'] = dict(name='clean', severity=0, seed=self.seed)
            return results
        self.check(results)
        key = image_key(results['img_path'])
        with about(results['img_path']):
            results['img'] = corrupt_any(
                results['img'],
                self.corruption,
                self.severity,
                seed=seed_for(self.seed, key, self.corruption, self.severity),
                channel_order=self.channel_order,
            )
        results['corruption'] = dict(name=self.corruption, severity=self.severity, seed=self.seed)
        return results

    @staticmethod
    def check(results: dict) -> None:
        """Check that a sample has what a corruption needs, except for the form of the image.

        Raises:
            InputError: it has no ``img_path``, or no ``img``.
        """
        if not isinstance(results.get('img_path'), str | os.PathLike) or not results['img_path']:
            raise InputError(
                'CorruptImage derives the seed of an image from its file name, but the sample has '
                'no img_path: use a dataset that reads images from files'
            )
        if 'img' not in results:
            raise InputError(
                "CorruptImage corrupts the sample's 'img', but the sample has "
                f'{", ".join(map(str, results)) or "nothing"}'
            )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(corruption={self.corruption!r}, severity={self.severity}, '
            f'seed={self.seed}, channel_order={self.channel_order!r})'
        )
