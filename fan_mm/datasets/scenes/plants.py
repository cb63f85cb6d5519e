"""Trees and hedges."""

import numpy as np

from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.painter import Frame, Painter
from fan_mm.datasets.scenes.prop import Prop, beside_street, hsv, pick, standing
from fan_mm.datasets.scenes.surface import Surface


def _leaves(rng: np.random.Generator) -> np.ndarray:
    """Greens, now and then autumn's yellows and browns."""
    if rng.uniform() < 0.12:
        return hsv(rng.uniform(0.06, 0.14), rng.uniform(0.5, 0.8), rng.uniform(0.4, 0.65))
    return hsv(rng.uniform(0.2, 0.37), rng.uniform(0.3, 0.65), rng.uniform(0.22, 0.5))


def _crown(
    painter: Painter,
    rng: np.random.Generator,
    centre: np.ndarray,
    radii: tuple[float, float, float],
    colour: np.ndarray,
    clumps: int,
) -> None:
    """Clumps of leaves on an ellipsoid, brighter towards the sun, the far ones first."""
    directions = rng.normal(size=(clumps, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    offsets = directions * rng.uniform(0.35, 0.85, (clumps, 1))
    sizes = rng.uniform(0.28, 0.46, clumps) * min(radii)
    lit = 0.78 + 0.30 * directions @ painter.light.sun + 0.12 * directions[:, 1]
    shades = np.clip(lit, 0.3, None) * rng.normal(1.0, 0.10, clumps)
    tips = (offsets + 0.18 * directions) * radii + np.outer(sizes * 0.3, [0, 1, 0])
    centres = centre + np.stack([offsets * radii, tips], axis=1)
    order = np.argsort(-offsets[:, 2])
    painter.ball(centre, min(radii) * 0.72, colour * 0.5)
    painter.balls(
        centres[order].reshape(-1, 3),
        (sizes[order, None] * [1.0, 0.45]).ravel(),
        np.outer((shades[order, None] * [1.0, 1.15]).ravel(), colour),
    )


def tree(rng: np.random.Generator, frame: Frame) -> Prop:
    """A broad-leaved tree, a slim poplar or a conifer."""
    kind = pick(rng, ('round', 'slim', 'conifer'), (0.7, 0.15, 0.15))
    height, lean = rng.uniform(4.5, 9.5), rng.normal(0, 0.15)
    leaves, bark = _leaves(rng), hsv(0.07, 0.3, rng.uniform(0.2, 0.4))
    wide = height * {'round': rng.uniform(0.25, 0.36), 'slim': 0.13, 'conifer': 0.2}[kind]
    foot = height * {'round': rng.uniform(0.28, 0.4), 'slim': 0.15, 'conifer': 0.12}[kind]
    tall = height - foot

    def draw(painter: Painter) -> None:
        painter.begin(Label.VEGETATION)
        base, top = frame.place([[0, 0, 0], [lean, foot + wide * 0.6, 0]])
        painter.limb((base, top), 0.021 * height, 0.012 * height, bark)
        if kind != 'conifer':
            centre = frame.place([lean, foot + tall / 2, 0])
            clumps = int(np.clip(painter.resolution(frame) * height / 8, 8, 22))
            _crown(painter, rng, centre, (wide, tall / 2, wide), leaves, clumps)
            return
        for share in np.arange(6) / 6:
            y, half = foot + tall * share, wide * (1 - share) + 0.15
            tip = min(height, y + tall * 0.36)
            cone = frame.place([[-half, y, 0], [half, y, 0], [0, tip, 0]])
            painter.polygon(cone, leaves * rng.uniform(0.6, 0.85))

    crown = standing(frame, wide, 2 * wide, height, draw, bottom=foot)
    return Prop((frame.x - 0.2, frame.z - 0.2), (frame.x + 0.2, frame.z + 0.2), draw, crown.hull)


def hedge(rng: np.random.Generator, x: float, z0: float, z1: float, facing: int) -> Prop:
    """A trimmed hedge or a row of bushes, 2 m deep, from z0 to z1; the street is to its ``facing`` (-1, 1)."""
    height, colour, trimmed = rng.uniform(0.9, 2.6), _leaves(rng), rng.uniform() < 0.3
    back = x - facing * 2.0

    def draw(painter: Painter) -> None:
        painter.begin(Label.VEGETATION)
        if trimmed:
            for face in (
                Surface(painter, (x, 0, z0), (-facing, 0, 0), 2.0, (0, 0, -1)),
                Surface.beside_street(painter, x, z0, z1, facing),
            ):
                face.band(0, height, colour, detail=False)
        step = height * 0.45
        z = np.repeat(np.arange(z1, z0, -step), 3)
        sizes = height * rng.uniform(0.22, 0.36, len(z))
        up = sizes * 0.6 + (height - sizes) * rng.uniform(0, 1, len(z))
        side = np.full(len(z), x) if trimmed else x + (back - x) * rng.uniform(0.05, 0.6, len(z))
        z = z + rng.uniform(-step / 2, step / 2, len(z))
        shades = 0.55 + 0.5 * up / height + rng.normal(0, 0.08, len(z))
        painter.balls(
            np.stack([side, up, z], axis=1), sizes, np.outer(shades, colour), detail=trimmed
        )

    return beside_street(x, back, z0, z1, height, draw)
