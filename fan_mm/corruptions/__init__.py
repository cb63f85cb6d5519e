"""The 19 corruptions of ImageNet-C, Cityscapes-C and COCO-C, seeded and fast.

The definition is imagecorruptions 1.1.2 (Michaelis et al., "Benchmarking Robustness in Object
Detection", 2019; after Hendrycks and Dietterich, ICLR 2019): its severity tables and operations.
`docs/corruptions.md` says where and by how much the output may differ.
"""

import cv2
import numpy as np

from fan_mm.corruptions import blur, digital, noise, weather
from fan_mm.corruptions.benchmarks import BENCHMARKS, Benchmark, choose_cells, find_benchmark
from fan_mm.corruptions.names import (
    BENCHMARK_ORDERS,
    CHANNEL_ORDERS,
    CORRUPTIONS,
    GROUPS,
    HOLD_OUTS,
    SEVERITIES,
    check_channel_order,
    check_name,
    check_severity,
)
from fan_mm.corruptions.seeding import Stream, image_key, seed_for
from fan_mm.errors import InputError

__all__ = [
    'ALGORITHM_VERSION',
    'BENCHMARKS',
    'BENCHMARK_ORDERS',
    'CHANNEL_ORDERS',
    'CORRUPTIONS',
    'GROUPS',
    'HOLD_OUTS',
    'MIN_SIDE',
    'SEVERITIES',
    'TOO_SMALL',
    'Benchmark',
    'check_channel_order',
    'check_name',
    'check_severity',
    'choose_cells',
    'corrupt',
    'find_benchmark',
    'image_key',
    'seed_for',
]

# To be increased whenever any output byte changes.
ALGORITHM_VERSION = '1'

_FUNCTIONS = {
    name: function
    for name in CORRUPTIONS
    for module in (noise, blur, weather, digital)
    if (function := getattr(module, name, None)) is not None
}

# Corruptions that treat all channels alike.
_SAME_IN_ANY_ORDER = {
    'defocus_blur',
    'glass_blur',
    'motion_blur',
    'zoom_blur',
    'fog',
    'brightness',
    'contrast',
    'elastic_transform',
    'pixelate',
    'gaussian_blur',
}

MIN_SIDE = 32  # pixels
TOO_SMALL = f'at least {MIN_SIDE} x {MIN_SIDE}; got'  # part of the error about a smaller image


def _check_image(image: np.ndarray) -> None:
    accepted = f'expected uint8, (H, W, 3) or (H, W), {TOO_SMALL.partition(";")[0]}'
    if not isinstance(image, np.ndarray):
        raise TypeError(f'{accepted}; got {type(image).__name__}')
    if image.dtype != np.uint8:
        raise TypeError(f'{accepted}; got {image.dtype}')
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InputError(f'{accepted}; got shape {image.shape}')
    if min(image.shape[:2]) < MIN_SIDE:
        raise InputError(f'{accepted}; got {image.shape[0]} x {image.shape[1]}')


def corrupt(
    image: np.ndarray,
    name: str,
    severity: int,
    *,
    seed: int,
    channel_order: str = 'rgb',
) -> np.ndarray:
    """Corrupt an image.

    Args:
        image: uint8 ``(H, W, 3)`` or grey ``(H, W)``, 32 x 32 or larger, in any memory layout; it
            is not modified.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: the only source of randomness, a non-negative integer; see `seed_for`.
        channel_order: 'rgb'; 'bgr' for an image as OpenCV loads it, with the same result as for
            its RGB version; or 'bgr-as-rgb', which corrupts a BGR array as if it were RGB, as the
            published FAN and COCO-C numbers were made.

    Returns:
        A new contiguous uint8 array of the same shape. The same arguments give the same bytes in
        every process, whatever its threads and whatever was corrupted before.

    Raises:
        InputError: unknown name, severity, channel order or seed, wrong shape or too small an
            image, or a package that this corruption needs is missing.
        TypeError: not a uint8 array.
    """
    check_name(name)
    severity = check_severity(severity)
    _check_image(image)
    check_channel_order(channel_order)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f'seed must be a non-negative integer, got {seed!r}')
    swap = channel_order == 'bgr' and image.ndim == 3 and name not in _SAME_IN_ANY_ORDER
    image = np.ascontiguousarray(image)
    if swap:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    out = _FUNCTIONS[name](image, severity, Stream(int(seed)))
    if swap:
        out = cv2.cvtColor(out, cv2.COLOR_RGB2BGR)
    return np.ascontiguousarray(out)
