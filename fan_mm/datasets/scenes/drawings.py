"""Scenes as people draw them: the domains of COCO-O, in which objects keep their outlines."""

import cv2
import numpy as np

from fan_mm.datasets.scenes.atmosphere import falling, koschmieder
from fan_mm.datasets.scenes.scene import Scene
from fan_mm.datasets.scenes.texture import noise

_PAPER = np.array([244.0, 240.0, 228.0], np.float32)
_SKIN = np.array([222.0, 178.0, 150.0], np.float32)
_INK = np.array([42.0, 52.0, 70.0], np.float32)


def draw_like(domain: str, scene: Scene) -> np.ndarray:
    """A scene in one of the `DOMAINS` of COCO-O, uint8 RGB ``(H, W, 3)``."""
    return np.clip(np.rint(_WAYS[domain](scene)), 0, 255).astype(np.uint8)


def _sketch(scene: Scene) -> np.ndarray:
    """Pencil on paper."""
    return _PAPER * (1 - 0.85 * _lines(scene, 1.0)[..., None])


def _cartoon(scene: Scene) -> np.ndarray:
    """Flat bright colours between black lines."""
    flat = _flat(scene)
    grey = flat.mean(axis=-1, keepdims=True)
    bright = np.clip(grey + 1.6 * (flat - grey) + 20, 0, 255)
    return bright * (1 - _lines(scene, 0.4)[..., None])


def _painting(scene: Scene) -> np.ndarray:
    """Strokes of a broad brush."""
    size = max(3, scene.labels.shape[1] // 64) | 1
    image = cv2.medianBlur(scene.image, size)
    strokes = cv2.blur(_noise(scene, 3), (2 * size + 1, 3))
    return image * (1 + 0.25 * strokes[..., None]) + [8, 4, -6]


def _tattoo(scene: Scene) -> np.ndarray:
    """Ink under skin: lines and shades of one colour."""
    shade = 0.45 * (1 - cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY) / np.float32(255))
    ink = np.clip(shade + 0.8 * _lines(scene, 0.6), 0, 0.9)[..., None]
    return cv2.GaussianBlur(np.float32(_SKIN * (1 - ink) + _INK * ink), (0, 0), 0.7)


def _handmade(scene: Scene) -> np.ndarray:
    """Pieces of felt, each with its shadow on what lies behind."""
    edges = cv2.GaussianBlur(_lines(scene, 0.0), (0, 0), 1.5)
    return _flat(scene) * (1 + 0.12 * _noise(scene, 1)[..., None]) * (1 - 0.6 * edges[..., None])


def _weather(scene: Scene) -> np.ndarray:
    """Thick snow in the air."""
    assert scene.distance is not None
    image = koschmieder(scene.image, scene.distance, 0.02, np.array([205, 208, 212]))
    rng = np.random.default_rng(int(scene.entities.sum()))
    return falling(
        rng, image, scene.distance, scene.focal, 'snow', 0.02, 6.0, np.array([240, 243, 248])
    )


_WAYS = {
    'sketch': _sketch,
    'weather': _weather,
    'cartoon': _cartoon,
    'painting': _painting,
    'tattoo': _tattoo,
    'handmake': _handmade,
}
DOMAINS = tuple(_WAYS)


def _lines(scene: Scene, within: float) -> np.ndarray:
    """Outlines of things, and by a share the edges within them: 0 to 1 ``(H, W)``."""
    entities = scene.entities
    outline = np.zeros(entities.shape, np.float32)
    outline[:, 1:] += entities[:, 1:] != entities[:, :-1]
    outline[1:] += entities[1:] != entities[:-1]
    grey = cv2.GaussianBlur(cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    inner = cv2.Canny(grey, 40, 90).astype(np.float32) / 255
    return cv2.GaussianBlur(np.clip(outline + within * inner, 0, 1), (0, 0), 0.6)


def _flat(scene: Scene) -> np.ndarray:
    """Every thing in its mean colour."""
    _, thing = np.unique(scene.entities, return_inverse=True)
    thing = thing.ravel()
    pixels = np.bincount(thing)
    means = [np.bincount(thing, scene.image[..., c].ravel()) / pixels for c in range(3)]
    return np.stack(means, axis=-1)[thing].reshape(scene.image.shape).astype(np.float32)


def _noise(scene: Scene, octaves: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    height, width = scene.labels.shape
    return noise(rng, height, width, max(8, width // 3), octaves)
