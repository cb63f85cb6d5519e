"""Daylight of a scene: where the sun stands, what colour it, the shade and the sky have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Colour = Sequence[float]


@dataclass(frozen=True)
class Light:
    """One lighting of a scene; colours are RGB, 1.0 being the white of the image.

    Attributes:
        sun: unit vector ``(3,)`` from the scene towards the sun (straight up under clouds).
        sunlight: colour that a surface facing the sun receives from it.
        ambient: colour that every surface receives from the sky.
        zenith, horizon: colours of the sky above and at the horizon; far things fade to the latter.
        clouds: share of the sky that clouds cover, 0 to 1.
        visibility: distance in metres at which 63 % of a thing's colour is lost in haze.
        shadow: darkness of cast shadows, 0 to 1.
        softness: blur of shadow edges, in metres at the camera's own distance.
        lamps: whether windows and vehicle lamps are lit.
    """

    sun: np.ndarray
    sunlight: np.ndarray
    ambient: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    clouds: float
    visibility: float
    shadow: float
    softness: float
    lamps: bool

    @property
    def overcast(self) -> bool:
        """Whether clouds hide the sun: light comes from above, without directed shadows."""
        return self.sun[1] > 0.99

    @cached_property
    def _floats(self) -> tuple[list[float], ...]:
        # thousands of small shapes are shaded one by one: plain floats are faster than arrays
        return tuple(v.tolist() for v in (self.sun, self.sunlight, self.ambient, self.horizon))

    def shade(self, albedo: Colour, normal: Colour | None, distance: float) -> Colour:
        """The colour in which a surface is seen.

        Args:
            albedo: its own colour.
            normal: its outward unit normal (world x, y, z); without one it is lit like a round
                thing, halfway.
            distance: metres of air before it.
        """
        sun, sunlight, ambient, _ = self._floats
        direct, sky = 0.5, 1.0
        if normal is not None:
            direct = max(0.0, normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2])
            sky = 0.82 + 0.18 * normal[1]
        lit = [
            a * (s * direct + b * sky) for a, s, b in zip(albedo, sunlight, ambient, strict=True)
        ]
        return self.haze(lit, distance)

    def haze(self, colour: Colour, distance: float) -> Colour:
        """A colour seen through ``distance`` metres of air."""
        clear = math.exp(-max(0.0, distance - 8.0) / self.visibility)
        return [c * clear + h * (1.0 - clear) for c, h in zip(colour, self._floats[3], strict=True)]


# Each row: at clear noon, under a low sun, overcast, at dusk.
_WEATHERS: dict[str, tuple[Any, ...]] = dict(
    sunlight=((0.78, 0.74, 0.66), (0.85, 0.66, 0.44), (0.16, 0.16, 0.17), (0.24, 0.15, 0.11)),
    ambient=((0.40, 0.43, 0.49), (0.36, 0.37, 0.43), (0.66, 0.68, 0.71), (0.34, 0.34, 0.42)),
    zenith=((0.29, 0.50, 0.83), (0.42, 0.55, 0.80), (0.72, 0.75, 0.79), (0.20, 0.24, 0.42)),
    horizon=((0.76, 0.86, 0.95), (0.97, 0.87, 0.72), (0.88, 0.89, 0.90), (0.86, 0.58, 0.42)),
    clouds=((0, 0.5), (0.1, 0.6), (0.6, 1), (0.1, 0.6)),  # from, to
    visibility=((180, 400), (120, 260), (70, 220), (110, 220)),  # from, to
    shadow=(0.48, 0.42, 0.34, 0.22),
    softness=(0.05, 0.08, 0.30, 0.15),
)


def random_light(rng: np.random.Generator) -> Light:
    """Clear noon, a low sun, overcast, or dusk."""
    kind = int(rng.choice(4, p=[0.4, 0.22, 0.26, 0.12]))
    weather = {name: row[kind] for name, row in _WEATHERS.items()}
    azimuth = rng.uniform(0, 2 * np.pi)
    # all are drawn, whichever is used, so that the number of draws does not depend on the weather
    elevations = rng.uniform(35, 65), rng.uniform(14, 28), 90.0, rng.uniform(8, 14)
    elevation = np.radians(elevations[kind])
    flat = np.cos(elevation)
    sun = np.array([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)])
    tint = 1 + rng.normal(0, 0.02, 3)
    level = rng.uniform(0.88, 1.1)
    return Light(
        sun=sun,
        sunlight=weather['sunlight'] * tint * level,
        ambient=weather['ambient'] * tint * level,
        zenith=weather['zenith'] * tint,
        horizon=weather['horizon'] * tint,
        clouds=rng.uniform(*weather['clouds']),
        visibility=rng.uniform(*weather['visibility']),
        shadow=weather['shadow'],
        softness=weather['softness'],
        lamps=kind == 3,
    )
