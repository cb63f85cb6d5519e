"""Names, groups and hold-outs of the 19 corruptions, channel orders, and the checks of what a user asks for.

Order and names are those of imagecorruptions 1.1.2; the groups are those of Hendrycks and Dietterich,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (ICLR 2019),
section 4.1 and appendix B, where each of the four extra corruptions belongs to one of them.
"""

import difflib
from collections.abc import Collection

import numpy as np

from fan_mm.errors import InputError

CORRUPTIONS: tuple[str, ...] = (
    'gaussian_noise',
    'shot_noise',
    'impulse_noise',
    'defocus_blur',
    'glass_blur',
    'motion_blur',
    'zoom_blur',
    'snow',
    'frost',
    'fog',
    'brightness',
    'contrast',
    'elastic_transform',
    'pixelate',
    'jpeg_compression',
    'speckle_noise',
    'gaussian_blur',
    'spatter',
    'saturate',
)

HOLD_OUTS: tuple[str, ...] = ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')

GROUPS: dict[str, tuple[str, ...]] = {
    'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise', 'speckle_noise'),
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur', 'gaussian_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness', 'spatter'),
    'digital': ('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression', 'saturate'),
}

SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)

#: Channel orders that `fan_mm.corruptions.corrupt` accepts.
CHANNEL_ORDERS = ('rgb', 'bgr', 'bgr-as-rgb')

#: Channel order of a benchmark -> the one to pass to `corrupt` for an image in OpenCV's (BGR) order.
BENCHMARK_ORDERS = {'rgb': 'bgr', 'bgr-as-rgb': 'bgr-as-rgb'}


def check_name(name: str) -> str:
    """Return ``name`` if it is one of `CORRUPTIONS`.

    Raises:
        InputError: it is not; the message names the nearest one and all of them.
    """
    if name in CORRUPTIONS:
        return name
    plain = str(name).lower().replace(' ', '_').replace('-', '_')
    near = [known for known in CORRUPTIONS if plain and plain in known]
    near += difflib.get_close_matches(plain, CORRUPTIONS, n=1, cutoff=0.5)
    hint = f'did you mean {near[0]!r}? ' if near else ''
    raise InputError(f'unknown corruption {name!r}: {hint}There are {", ".join(CORRUPTIONS)}')


def check_severity(severity: int) -> int:
    """Return ``severity`` as an int if it is one of 1, 2, 3, 4, 5.

    Raises:
        InputError: it is not.
    """
    whole = isinstance(severity, int | np.integer) and not isinstance(severity, bool)
    if not whole or severity not in SEVERITIES:
        raise InputError(f'severity must be an integer from 1 to 5, got {severity!r}')
    return int(severity)


def check_channel_order(channel_order: str, accepted: Collection[str] = CHANNEL_ORDERS) -> str:
    """Return ``channel_order`` if it is one of those accepted.

    Raises:
        InputError: it is not.
    """
    if channel_order not in accepted:
        raise InputError(
            f'channel_order must be one of {", ".join(accepted)}, got {channel_order!r}'
        )
    return channel_order
