"""Gaussian, shot, impulse and speckle noise, as in imagecorruptions 1.1.2.

The noise of each value (pixel and channel) is independent of the others and depends only on that
value's grey level, so it is a table lookup with random bits. No continuous distribution is sampled,
and the result does not depend on the machine's floating-point arithmetic.
All take a contiguous uint8 array of any shape, a severity and a `Stream`, and return a new array.
"""

import functools

import numpy as np

from fan_mm.corruptions.filters import pieces
from fan_mm.corruptions.seeding import Stream, normal_quantiles


@functools.lru_cache(maxsize=5)
def _gaussian_steps(scale: float) -> np.ndarray:
    """floor(255 * scale * z) for every z of `normal_quantiles`: the noise in whole grey levels."""
    return np.floor(255 * scale * normal_quantiles()).astype(np.int16)


def gaussian_noise(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Add normal noise: floor(clip(x + 255 c z, 0, 255)), which is x plus a whole number."""
    steps = _gaussian_steps((0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1])
    out = np.empty_like(image)
    for x, y in zip(pieces(image), pieces(out), strict=True):
        noise = np.take(steps, stream.uint16(x.size), mode='wrap')
        noise += x
        np.copyto(y, np.clip(noise, 0, 255, out=noise), casting='unsafe')
    return out


@functools.lru_cache(maxsize=5)
def _speckle_factors(scale: float) -> np.ndarray:
    """1 + scale * z for every z of `normal_quantiles`, float32."""
    return (1 + scale * normal_quantiles()).astype(np.float32)


def speckle_noise(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Multiply by normal noise: floor(clip(x (1 + c z), 0, 255))."""
    factors = _speckle_factors((0.15, 0.2, 0.35, 0.45, 0.6)[severity - 1])
    out = np.empty_like(image)
    for x, y in zip(pieces(image), pieces(out), strict=True):
        noisy = np.take(factors, stream.uint16(x.size), mode='wrap')
        noisy *= x
        np.copyto(y, np.clip(noisy, 0, 255, out=noisy), casting='unsafe')
    return out


def impulse_noise(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Replace each value, with probability c, by 0 or 255 (salt and pepper, equally likely)."""
    amount = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    salt, pepper = round(65536 * amount / 2), round(65536 * amount)
    out = np.empty_like(image)
    for x, y in zip(pieces(image), pieces(out), strict=True):
        bits = stream.uint16(x.size)
        np.multiply(x, bits >= pepper, out=y)
        y |= -(bits < salt).view(np.uint8)  # 255 where true
    return out


@functools.lru_cache(maxsize=5)
def _shot_table(photons: int) -> np.ndarray:
    """Walker's alias table of the shot noise of every grey level.

    Returns:
        uint32 ``(256, 64)``; an entry holds two outcomes (bits 0-7 and 8-15) and, in the bits above,
        how many of 1024 draws result in the first.
    """
    counts = np.arange(photons + 1)
    outcomes = (counts / photons * 255).astype(np.uint8)
    log_factorial = np.concatenate([[0], np.cumsum(np.log(np.maximum(counts[1:], 1)))])
    table = np.zeros((256, 64), np.uint32)
    for level in range(256):
        rate = max(level / 255 * photons, 1e-300)
        probability = np.zeros(64)
        probability[: photons + 1] = np.exp(counts * np.log(rate) - rate - log_factorial)
        probability[photons] = max(0.0, 1 - probability[:photons].sum())  # the rest clips to white
        share = 64 * probability / probability.sum()
        small = [k for k in range(64) if share[k] < 1]
        large = [k for k in range(64) if share[k] >= 1]
        first, second = np.arange(64), np.arange(64)
        keep = np.ones(64)
        while small and large:
            k, donor = small.pop(), large[-1]
            keep[k], second[k] = share[k], donor
            share[donor] -= 1 - share[k]
            if share[donor] < 1:
                small.append(large.pop())
        pixel = np.zeros(64, np.uint32)
        pixel[: photons + 1] = outcomes
        threshold = np.round(1024 * keep).astype(np.uint32)
        table[level] = pixel[first] | pixel[second] << 8 | threshold << 16
    return table


def shot_noise(image: np.ndarray, severity: int, stream: Stream) -> np.ndarray:
    """Count photons: floor(255 clip(Poisson(c x / 255) / c, 0, 1))."""
    table = _shot_table((60, 25, 12, 5, 3)[severity - 1]).reshape(-1)
    out = np.empty_like(image)
    for x, y in zip(pieces(image), pieces(out), strict=True):
        bits = stream.uint16(x.size)
        slot = x.astype(np.uint16)
        slot <<= 6
        slot |= bits & np.uint16(63)
        entry = np.take(table, slot, mode='wrap')
        bits >>= 6
        entry >>= (bits >= entry >> 16).astype(np.uint8) << 3
        np.copyto(y, entry, casting='unsafe')  # the low byte
    return out
