"""Corrupt the sample's image by one cell (corruption, severity) of a robustness benchmark."""

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
from fan_mm.errors import InputError


def corrupt_any(
    image: np.ndarray, name: str, severity: int, *, seed: int, channel_order: str
) -> np.ndarray:
    """`corrupt` for images as loaders leave them: uint8, or floats that hold grey levels.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)``; the result has its dtype.
        name: the corruption.
        severity: 1 to 5.
        seed: of this image and cell.
        channel_order: see `fan_mm.corruptions.corrupt`.

    Raises:
        InputError: the floats are not whole grey levels from 0 to 255.
    """
    with np.errstate(invalid='ignore'):  # what does not survive the cast is refused below
        pixels = image.astype(np.uint8, copy=False)
    if not np.array_equal(pixels, image):
        raise InputError(
            f'the image to corrupt is {image.dtype} from {image.min():.4g} to {image.max():.4g}, '
            'not grey levels 0 to 255: put the corruption directly after LoadImageFromFile, before '
            'anything that scales or normalises'
        )
    corrupted = corrupt(pixels, name, severity, seed=seed, channel_order=channel_order)
    return corrupted.astype(image.dtype, copy=False)


@TRANSFORMS.register_module()
class CorruptImage(BaseTransform):
    """Corrupt the image, the same way in every epoch, process and order of images.

    It stands directly after the image is loaded (for ImageNet-C, which is defined on 224x224
    crops, after resize and crop). The random stream of an image depends on the seed, its folder and
    file name, the corruption and the severity alone, so of the same image the pixels are those that
    ``tools/make_corrupted_dataset.py`` writes as PNG. (For ImageNet it resizes to 256 bilinearly and
    crops 224 first, as the original ImageNet-C; a pipeline that resizes otherwise corrupts another.)

    Required keys: ``img`` (uint8 ``(H, W, 3)`` or ``(H, W)``; floats if they hold grey levels),
    ``img_path``. Modified: ``img``. Added: ``corruption``, a dict of ``name`` ('clean' if the image
    was left alone), ``severity`` (0 if clean) and the base ``seed``; put it into the ``meta_keys`` of
    the packing transform to keep it.

    Args:
        corruption: one of `fan_mm.corruptions.CORRUPTIONS`; 'clean' leaves the image alone.
            This and ``severity`` may be set anew at any time, to move a built pipeline to another
            cell.
        severity: 1 to 5 (ignored for clean).
        seed: base seed of the benchmark.
        channel_order: 'bgr' (as mm pipelines load), 'rgb', or 'bgr-as-rgb': BGR pixels corrupted as
            if they were RGB, which is how the published FAN and COCO-C numbers were made.

    Raises:
        InputError: unknown corruption, severity or channel order; at a sample without ``img_path``
            or with an image that was normalised already.
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
        """Corrupt ``results['img']``."""
        if self.corruption == 'clean':
            results['corruption'] = dict(name='clean', severity=0, seed=self.seed)
            return results
        if not results.get('img_path'):
            raise InputError(
                'CorruptImage seeds every image by its file name, but the sample has no img_path: '
                'use a dataset that reads images from files'
            )
        key = image_key(results['img_path'])
        results['img'] = corrupt_any(
            results['img'],
            self.corruption,
            self.severity,
            seed=seed_for(self.seed, key, self.corruption, self.severity),
            channel_order=self.channel_order,
        )
        results['corruption'] = dict(name=self.corruption, severity=self.severity, seed=self.seed)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(corruption={self.corruption!r}, severity={self.severity}, '
            f'seed={self.seed}, channel_order={self.channel_order!r})'
        )
