"""The plan of a street: how wide it is and what crosses it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Side:
    """One side of a street, from the kerb outwards; distances from the axis in metres, positive.

    Attributes:
        sign: -1 left, 1 right.
        kerb: where the road ends.
        walk: where the sidewalk begins; grass lies between it and the kerb, if any.
        verge: where the sidewalk ends and the outer grass begins, if any.
        front: where the grass ends and buildings, walls or fences stand.
        parking: whether the outermost 2.3 m of the road are for parked cars.
    """

    sign: int
    kerb: float
    walk: float
    verge: float
    front: float
    parking: bool

    def at(self, distance: float) -> float:
        """World x of a distance from the axis."""
        return self.sign * distance


@dataclass(frozen=True)
class Street:
    """A straight street seen from its right-hand lane, whose middle is x = 0.

    Attributes:
        lane: width of a lane in metres.
        lanes: numbers of lanes on the left (oncoming) and on the right (including ours).
        sides: left and right side.
        junction: near and far edge (z) of a crossing street, or None.
        rails: x of the middle of a tram track, or None.
        zebra: z of a pedestrian crossing 3 m deep, or None.
        urban: whether the ground beyond the street is paved.
    """

    lane: float
    lanes: tuple[int, int]
    sides: tuple[Side, Side]
    junction: tuple[float, float] | None
    rails: float | None
    zebra: float | None
    urban: bool


def random_street(rng: np.random.Generator) -> Street:
    """Draw the plan of a street."""
    lane = rng.uniform(3.0, 3.5)
    lanes = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    sides = []
    for sign, count in zip((-1, 1), lanes, strict=True):
        parking = rng.uniform() < 0.5
        kerb = lane / 2 + (count if sign < 0 else count - 1) * lane + (2.3 if parking else 0.4)
        walk = kerb + (rng.uniform(1.0, 2.5) if rng.uniform() < 0.3 else 0.0)
        verge = walk + rng.uniform(2.2, 5.5)
        front = verge + (rng.uniform(1.5, 7.0) if rng.uniform() < 0.5 else 0.0)
        sides.append(Side(sign, kerb, walk, verge, front, parking))
    junction = None
    if rng.uniform() < 0.4:
        start = rng.uniform(12, 35)
        junction = (start, start + rng.uniform(7, 11))
    zebra = None
    if junction is not None:
        zebra = junction[0] - 4.0
    elif rng.uniform() < 0.3:
        zebra = rng.uniform(8, 25)
    rails = -lane * lanes[0] if rng.uniform() < 0.38 else None
    return Street(lane, lanes, (sides[0], sides[1]), junction, rails, zebra, rng.uniform() < 0.6)
