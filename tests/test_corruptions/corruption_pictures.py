"""Pictures and stand-ins that the corruption tests share."""

import cv2
import numpy as np


def street(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """A picture with soft and hard edges, flat areas, texture and colour, uint8 ``(H, W, 3)``."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 255, (6, 8, 3)).astype(np.float32)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(8):
        y, x = rng.uniform(0, 0.8, 2) * (height, width)
        size = rng.uniform(0.05, 0.4, 2) * (height, width)
        corner = int(x), int(y)
        opposite = int(x + size[1]), int(y + size[0])
        cv2.rectangle(image, corner, opposite, rng.uniform(0, 255, 3).tolist(), -1)
    image[: height // 2] += rng.normal(0, 6, image[: height // 2].shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def static(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """Every value random: the steepest gradients there can be."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def difference(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return np.abs(ours.astype(np.int16) - theirs.astype(np.int16))


class Fixed:
    """Stands in for a `Stream` and returns what the test prescribes, in order."""

    def __init__(self, **values: list) -> None:
        self._values = {kind: list(queue) for kind, queue in values.items()}

    def _next(self, kind: str):
        return self._values[kind].pop(0)

    def uniform(self, low, high):
        value = self._next('uniform')
        assert low <= value < high
        return value

    def below(self, stop):
        value = self._next('below')
        assert 0 <= value < stop
        return value

    def uint16(self, count):
        value = self._next('uint16')
        assert len(value) == count
        return value

    def normal(self, shape, mean, std, dtype=np.float32):
        value = self._next('normal')
        assert value.shape == shape
        return (mean + std * value).astype(dtype)

    def symmetric(self, shape, bound):
        value = self._next('symmetric')
        assert value.shape == shape
        return (bound * value).astype(np.float32)
