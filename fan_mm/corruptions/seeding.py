"""Where randomness comes from: one seed per (image, corruption, severity), one stream per seed.

Streams are raw words of the SFC64 generator, whose output numpy guarantees never to change, converted
to numbers with our own integer arithmetic and tables. numpy's distributions (`Generator.normal` and
so on) are not used: they may change between versions and depend on the C library.
"""

import functools
import hashlib
import math
import os
from pathlib import PurePath
from statistics import NormalDist

import numpy as np

from fan_mm.corruptions.filters import pieces


def image_key(path: str | os.PathLike) -> str:
    """Name an image by ``parent/stem``: its folder's name and its file name without suffix.

    The key does not depend on the dataset's location or image format, so corruption on the fly
    gives the same result as corrupted files generated in advance.
    """
    name = PurePath(str(path).replace('\\', '/'))
    return f'{name.parent.name}/{name.stem}'


def seed_for(base_seed: int, image_key: str, name: str, severity: int) -> int:
    """Derive the seed of one corrupted image, independently of order, rank and worker.

    Args:
        base_seed: the user's seed for the whole benchmark.
        image_key: key of the image, see `image_key`.
        name: the corruption.
        severity: 1 to 5.

    Returns:
        64 bits of the BLAKE2b hash of the four arguments.
    """
    text = f'{base_seed}\n{image_key}\n{name}\n{severity}'
    data = text.encode(errors='surrogateescape')  # file names may not be valid UTF-8
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), 'little')


@functools.lru_cache(maxsize=1)
def normal_quantiles() -> np.ndarray:
    """The 65536 equally likely values that stand for a standard normal variable.

    Entry i is the float64 quantile at (i + 1/2) / 65536, rescaled to variance 1. The distribution
    function of the table is within 2**-17 of the normal one; the largest value is 4.33.
    """
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse(0.5 + (i + 0.5) / 65536) for i in range(32768)])
    values = np.concatenate([-upper[::-1], upper])
    values /= math.sqrt(np.mean(values**2))
    values.flags.writeable = False
    return values


class Stream:
    """A seeded stream of random numbers, independent of any global state.

    Args:
        seed: any non-negative integer.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @functools.cached_property
    def _words(self) -> np.random.SFC64:
        return np.random.SFC64(self._seed)

    def uint16(self, count: int) -> np.ndarray:
        """Return ``count`` independent uniform 16-bit integers."""
        return self._words.random_raw((count + 3) // 4).view(np.uint16)[:count]

    def uniform(self, low: float, high: float) -> float:
        """Return one number, uniform in [low, high), of 53 random bits."""
        return low + (high - low) * ((self._words.random_raw() >> 11) * 2.0**-53)

    def below(self, stop: int) -> int:
        """Return one integer, uniform in [0, stop)."""
        return (self._words.random_raw() * stop) >> 64

    def normal(
        self, shape: tuple[int, ...], mean: float, std: float, dtype: type[np.generic] = np.float32
    ) -> np.ndarray:
        """Return independent normal numbers of the given shape, truncated if integers."""
        table: np.ndarray = (mean + std * normal_quantiles()).astype(dtype)
        out: np.ndarray = np.empty(shape, dtype)
        for piece in pieces(out):
            np.take(table, self.uint16(piece.size), out=piece, mode='wrap')
        return out

    def symmetric(self, shape: tuple[int, ...], bound: float) -> np.ndarray:
        """Return independent numbers, uniform in (-bound, bound), float32, of the given shape."""
        bits = self.uint16(math.prod(shape)).reshape(shape)
        scale = np.float32(bound / 32768)
        return (bits - np.float32(32767.5)) * scale
