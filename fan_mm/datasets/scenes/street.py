"""What stands along a street and who is on it."""

import math

import numpy as np

from fan_mm.datasets.scenes.barriers import fence, wall
from fan_mm.datasets.scenes.buildings import building
from fan_mm.datasets.scenes.furniture import bollards, clutter, lamp_post
from fan_mm.datasets.scenes.painter import Frame
from fan_mm.datasets.scenes.people import person
from fan_mm.datasets.scenes.plan import Side, Street
from fan_mm.datasets.scenes.plants import hedge, tree
from fan_mm.datasets.scenes.prop import Prop, pick
from fan_mm.datasets.scenes.signals import gantry_sign, sign_post, traffic_light
from fan_mm.datasets.scenes.two_wheelers import (
    cyclist,
    motorcyclist,
    parked_bicycle,
    parked_motorcycle,
)
from fan_mm.datasets.scenes.vehicles import bus, car, tram, truck

_FAR = 110.0  # distance in metres up to which a street is furnished
_NEAREST = 1.9  # what stands x metres beside the axis is seen from about this times x metres ahead
_BARRIERS = {'wall': wall, 'fence': fence, 'hedge': hedge}


class _Furnisher:
    """Puts props on a street without letting them stand inside one another."""

    def __init__(self, rng: np.random.Generator, street: Street) -> None:
        self.rng = rng
        self.street = street
        self.props: list[Prop] = []

    def add(self, *props: Prop, gap: float = 0.3) -> None:
        """Add those that keep a gap in metres to all that is there, and are not at our bumper."""
        for new in props:
            free = all(
                new.low[0] - gap > old.high[0]
                or old.low[0] - gap > new.high[0]
                or new.low[1] - gap > old.high[1]
                or old.low[1] - gap > new.high[1]
                for old in self.props
            )
            if free and new.low[1] > 1.2:
                self.props.append(new)

    def keep_near(self, first: int, reach: float) -> None:
        """Of the props from number ``first`` on, keep those that begin within ``reach`` metres."""
        props = self.props
        self.props = props[:first] + [prop for prop in props[first:] if prop.low[1] < reach]

    def crossed(self, z0: float, z1: float) -> bool:
        """Whether the crossing street lies in the way."""
        junction = self.street.junction
        return junction is not None and z0 < junction[1] + 2.5 and z1 > junction[0] - 2.5

    def fronts(self, side: Side) -> None:
        """Buildings, walls, fences, hedges and gaps, one after the other along a side."""
        rng = self.rng
        z = rng.uniform(-6, 3)
        mood = rng.uniform(0.1, 0.9)  # how built-up this side is
        while z < _FAR:
            kind = pick(
                rng,
                ('building', 'wall', 'fence', 'hedge', 'trees'),
                (mood, 0.35, 0.3, 0.12 * (1.6 - mood), 0.3 * (1.3 - mood)),
            )
            length = rng.uniform(9, 24) if kind == 'building' else rng.uniform(8, 18)
            end = z + length
            junction = self.street.junction
            if junction is not None and self.crossed(z, end):
                start, stop = junction
                if z < start - 7:
                    end = start - 2.6
                else:
                    z = max(z, stop + 2.6)
                    continue
            near, x = max(z, 1.6), side.at(side.front)
            if end > near + 1.5:
                if kind == 'building':
                    self.add(building(rng, x, near, end, side.sign), gap=0)
                elif kind in _BARRIERS:
                    self.add(_BARRIERS[kind](rng, x, near, end, -side.sign), gap=0)
                if kind != 'building':
                    self.behind(side, near, end, kind == 'trees')
            z = end + (rng.uniform(0.5, 4) if rng.uniform() < 0.25 else 0.02)

    def behind(self, side: Side, z0: float, z1: float, dense: bool) -> None:
        """What looks over a wall or fence: trees, or houses set back."""
        rng = self.rng
        if not dense and rng.uniform() < 0.45:
            x = side.at(side.front + rng.uniform(4, 9))
            self.add(building(rng, x, z0 + 0.5, z1 - 0.5, side.sign))
            return
        for z in np.arange(z0 + 1, z1, rng.uniform(2.5, 5), float):
            out = side.front + rng.uniform(2.5, 9)
            self.add(tree(rng, Frame(side.at(out), z + rng.uniform(-1, 1))))

    def kerbside(self, side: Side) -> None:
        """Posts, signs, trees and clutter between the road and the fronts."""
        rng = self.rng
        edge = side.kerb + 0.45
        inward = -side.sign
        for z in np.arange(rng.uniform(5, 16), 75, rng.uniform(18, 30), float):
            if not self.crossed(z, z):
                reach = inward * rng.uniform(0.8, 2.0)
                self.add(lamp_post(rng, Frame(side.at(edge), z), reach))
        for _ in range(rng.integers(1, 5)):
            z = _NEAREST * edge + rng.uniform(0, 24)
            if not self.crossed(z, z):
                x = side.at(edge + rng.uniform(0, 0.5))
                self.add(sign_post(rng, Frame(x, z, rng.normal(0, 0.15))))
        if rng.uniform() < 0.14:
            foot = Frame(side.at(edge + 0.3), rng.uniform(14, 34))
            self.add(gantry_sign(rng, foot, inward * rng.uniform(2.2, 4.5)))
        if rng.uniform() < 0.4:
            z = rng.uniform(5, 20)
            self.add(*bollards(rng, Frame(side.at(edge - 0.1), z), int(rng.integers(3, 9)), 1.5))
        if rng.uniform() < 0.45:
            green = side.front > side.verge
            place = (side.verge + side.front) / 2 if green else edge + 0.5
            for z in np.arange(rng.uniform(6, 14), 80, rng.uniform(7, 14), float):
                if not self.crossed(z, z):
                    self.add(tree(rng, Frame(side.at(place), z)))
        if rng.uniform() < 0.45:
            make = pick(rng, (fence, wall), (0.7, 0.3))
            z = rng.uniform(3, 10)
            end = z + rng.uniform(10, 25)
            if not self.crossed(z, end):
                self.add(make(rng, side.at(side.kerb + 0.1), z, end, inward), gap=0)
        for _ in range(rng.integers(0, 3)):
            z = rng.uniform(5, 30)
            if not self.crossed(z, z):
                foot = Frame(side.at(side.verge - 0.5), z, rng.choice([0, np.pi / 2]))
                self.add(clutter(rng, foot))

    def signals(self) -> None:
        """Traffic lights before the crossing street, or at a pedestrian crossing."""
        rng, street = self.rng, self.street
        stop = street.zebra
        if stop is None or rng.uniform() > 0.85:
            return
        state = int(rng.integers(3))
        for side in street.sides:
            reach = -side.sign * rng.uniform(2, 4.5) if rng.uniform() < 0.5 else 0.0
            self.add(traffic_light(rng, Frame(side.at(side.kerb + 0.5), stop - 0.3), reach, state))
            if street.junction is not None and rng.uniform() < 0.6:
                z = street.junction[1] + 0.6
                self.add(traffic_light(rng, Frame(side.at(side.kerb + 0.5), z), 0.0, state))

    def traffic(self) -> None:
        """Vehicles in the lanes: ours and those beside it go away, those on the left come."""
        rng, street = self.rng, self.street
        kinds = (car, truck, bus, motorcyclist, cyclist)
        for make in (cyclist, motorcyclist):  # close by, at the edge of a lane
            if rng.uniform() < 0.4:
                heading = pick(rng, (0.0, np.pi), (0.7, 0.3))
                x = rng.uniform(1.0, 1.8) if heading == 0.0 else rng.uniform(-3.5, -2.0)
                self.add(make(rng, Frame(x, rng.uniform(4.5, 10), heading + rng.normal(0, 0.15))))
        rails_used = False
        if street.rails is not None and rng.uniform() < 0.85:
            heading = np.pi if rng.uniform() < 0.7 else 0.0
            self.add(tram(rng, Frame(street.rails, rng.uniform(20, 42), heading)))
            rails_used = True
        for index in range(-street.lanes[0], street.lanes[1]):
            heading = 0.0 if index >= 0 else np.pi
            z = rng.uniform(9, 26) if index == 0 else rng.uniform(5, 18)
            while z < 65:
                make = pick(rng, kinds, (0.46, 0.13, 0.13, 0.14, 0.14))
                x = index * street.lane + rng.normal(0, 0.2)
                if make in (motorcyclist, cyclist):
                    x += rng.uniform(-0.3, 1.0) if heading == 0 else rng.uniform(-1.0, 0.3)
                space = {bus: 7.5, truck: 6.0}.get(make, 2.6)
                if not (rails_used and index == -street.lanes[0]):
                    self.add(make(rng, Frame(x, z + space, heading + rng.normal(0, 0.03))))
                z += 2 * space + rng.exponential(11) + 2.0
        if street.junction is not None:
            middle = sum(street.junction) / 2
            for sign in (-1, 1):
                if rng.uniform() < 0.65:
                    make = pick(rng, kinds, (0.55, 0.13, 0.12, 0.1, 0.1))
                    place = Frame(rng.uniform(-14, 14), middle + sign * 1.8, sign * np.pi / 2)
                    self.add(make(rng, place))

    def parked(self, side: Side) -> None:
        """Cars at the kerb; bicycles and motorcycles on the sidewalk."""
        rng = self.rng
        if side.parking:
            z = rng.uniform(4, 10)
            while z < 60:
                if rng.uniform() < 0.75 and not self.crossed(z - 3, z + 3):
                    make = car if rng.uniform() < 0.92 else truck
                    heading = (0.0 if side.sign > 0 else np.pi) + rng.normal(0, 0.03)
                    at = z if make is car else z + 2.5
                    self.add(make(rng, Frame(side.at(side.kerb - 1.2), at, heading)))
                z += rng.uniform(5.4, 7.5)
        for make, chance in ((parked_bicycle, 0.7), (parked_motorcycle, 0.6)):
            if rng.uniform() < chance:
                z = _NEAREST * side.walk + rng.uniform(0, 9)
                turn = rng.uniform(0, 2 * np.pi)
                if not self.crossed(z, z + 3):
                    for i in range(int(rng.integers(2, 6))):
                        x = side.at(rng.uniform(side.walk + 0.9, side.verge - 0.3))
                        self.add(make(rng, Frame(x, z + i * 0.8, turn)), gap=-0.3)

    def pedestrians(self) -> None:
        """People on the sidewalks, alone or in twos and threes, and on the crossing."""
        rng, street = self.rng, self.street

        def somebody(x: float, z: float, heading: float) -> None:
            size = rng.uniform(0.6, 0.78) if rng.uniform() < 0.1 else rng.normal(1.0, 0.05)
            self.add(person(rng, Frame(x, z, heading, float(size))), gap=-0.1)

        for side in street.sides:
            for _ in range(rng.integers(0, 6)):
                x = rng.uniform(side.walk + 0.6, side.verge - 0.3)
                z = _NEAREST * x + rng.exponential(7)
                heading = rng.choice([0, np.pi]) + rng.normal(0, 0.4)
                for i in range(pick(rng, (1, 2, 3), (0.65, 0.25, 0.1))):
                    somebody(side.at(x + 0.6 * i), z + rng.uniform(-0.2, 0.2), heading)
        if street.zebra is not None:
            for _ in range(rng.integers(0, 5)):
                x = rng.uniform(-street.sides[0].kerb, street.sides[1].kerb)
                heading = rng.choice([1, -1]) * np.pi / 2 + rng.normal(0, 0.1)
                somebody(x, street.zebra + rng.uniform(0.4, 2.6), heading)
        if rng.uniform() < 0.15:
            somebody(rng.uniform(-6, 6), rng.uniform(8, 25), rng.uniform(0, 2 * np.pi))
        if rng.uniform() < 0.3:
            side = street.sides[int(rng.integers(2))]
            x = side.at((side.walk + side.verge) / 2)
            self.add(cyclist(rng, Frame(x, rng.uniform(5, 18), rng.choice([0, np.pi]))))


def furnish(rng: np.random.Generator, street: Street, reach: float = math.inf) -> list[Prop]:
    """Everything that stands on or along a street, people and vehicles up to ``reach`` metres."""
    furnisher = _Furnisher(rng, street)
    furnisher.traffic()
    for side in street.sides:
        furnisher.parked(side)
    furnisher.keep_near(0, reach)
    furnisher.signals()
    for side in street.sides:
        furnisher.fronts(side)
        furnisher.kerbside(side)
    others = len(furnisher.props)
    furnisher.pedestrians()
    furnisher.keep_near(others, reach)
    return furnisher.props
