"""Persons: their joints when they walk or ride, and how they are drawn."""

from functools import partial

import numpy as np

from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.painter import Frame, Painter, Shade
from fan_mm.datasets.scenes.prop import Prop, circle, cuboid, hsv, pick, standing

Joints = dict[str, np.ndarray]

_SKIN = ((0.93, 0.76, 0.65), (0.82, 0.62, 0.48), (0.62, 0.44, 0.32), (0.38, 0.26, 0.19))
_HAIR = ((0.10, 0.08, 0.07), (0.25, 0.16, 0.10), (0.62, 0.47, 0.25), (0.6, 0.6, 0.6))


def _garment(rng: np.random.Generator) -> np.ndarray:
    """Clothes are darker and duller than cars."""
    if rng.uniform() < 0.35:
        return hsv(rng.uniform(), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.85))
    return np.clip(np.full(3, rng.uniform(0.06, 0.7)) + rng.normal(0, 0.04, 3), 0.03, 0.95)


def walking(rng: np.random.Generator) -> Joints:
    """Joints (right, up, forward) in metres of somebody 1.75 m tall; left and right by side."""
    stride = rng.uniform(0.05, 0.42) if rng.uniform() < 0.75 else 0.03
    if rng.uniform() < 0.5:
        stride = -stride
    joints: dict[str, tuple[float, ...]] = {
        'neck': (0, 1.48, 0.02),
        'head': (0, 1.63, 0.04),
        'hip': (0, 0.93, 0),
    }
    for side, s in (('left', -1), ('right', 1)):
        reach = s * stride
        joints[f'{side} hip'] = (s * 0.1, 0.92, 0)
        joints[f'{side} knee'] = (s * 0.1, 0.50, reach * 0.6 + 0.04)
        joints[f'{side} foot'] = (s * 0.1, 0.06 + max(0, -reach) * 0.25, reach)
        joints[f'{side} shoulder'] = (s * 0.2, 1.42, 0)
        joints[f'{side} elbow'] = (s * 0.27, 1.15, -reach * 0.5)
        joints[f'{side} hand'] = (s * 0.27, 0.90, -reach * 0.8 + 0.08)
    if rng.uniform() < 0.2:  # an arm before the chest: a phone, a cup
        joints['right elbow'], joints['right hand'] = (0.26, 1.14, 0.05), (0.12, 1.22, 0.3)
    return {name: np.array(joint, float) for name, joint in joints.items()}


def riding(seat: float, lean: float, grip: tuple[float, float, float], pedal: float) -> dict:
    """Joints of a rider: the seat's height, how far the shoulders lean forward, the grips."""
    joints: dict[str, tuple[float, ...]] = {
        'hip': (0, seat + 0.06, -0.2),
        'neck': (0, seat + 0.55, -0.2 + lean),
    }
    joints['head'] = (0, seat + 0.70, -0.14 + lean)
    for side, s in (('left', -1), ('right', 1)):
        foot = 0.30 + s * pedal
        joints[f'{side} hip'] = (s * 0.1, seat + 0.04, -0.18)
        joints[f'{side} foot'] = (s * 0.14, foot, s * pedal * 0.3)
        joints[f'{side} knee'] = (s * 0.15, (seat + foot) / 2 + 0.1, 0.2)
        joints[f'{side} shoulder'] = (s * 0.2, seat + 0.49, -0.2 + lean)
        joints[f'{side} elbow'] = (s * 0.28, seat + 0.3, lean * 0.5 + 0.02)
        joints[f'{side} hand'] = (s * grip[0], grip[1], grip[2])
    return {name: np.array(joint, float) for name, joint in joints.items()}


class _Figure:
    """Somebody's body and clothes; the parts are drawn one by one."""

    def __init__(
        self, painter: Painter, rng: np.random.Generator, frame: Frame, joints: Joints
    ) -> None:
        self.painter, self.frame, self.joints = painter, frame, joints
        self.skin, self.hair = np.array(pick(rng, _SKIN)), np.array(pick(rng, _HAIR))
        self.top, self.bottom = _garment(rng), _garment(rng)
        self.shoes = np.full(3, rng.uniform(0.05, 0.8))
        self.sleeves = self.top if rng.uniform() < 0.7 else self.skin
        self.style = pick(rng, ('trousers', 'coat', 'skirt', 'shorts'), (0.55, 0.18, 0.15, 0.12))
        self.stout = rng.uniform(0.9, 1.2)

    def limb(self, start: np.ndarray, end: np.ndarray, r0: float, r1: float, colour: Shade) -> None:
        """A bar between two local points, radii in local metres."""
        size = self.frame.size * self.stout
        self.painter.limb(self.frame.place(np.stack([start, end])), r0 * size, r1 * size, colour)

    def leg(self, side: str) -> None:
        hip, knee, foot = (self.joints[f'{side} {joint}'] for joint in ('hip', 'knee', 'foot'))
        bare = self.style in ('skirt', 'shorts')
        self.limb(hip, knee, 0.09, 0.07, self.skin if self.style == 'skirt' else self.bottom)
        self.limb(knee, foot, 0.065, 0.045, self.skin if bare else self.bottom)
        self.limb(foot, foot + (0, -0.02, 0.13), 0.05, 0.04, self.shoes)

    def arm(self, side: str) -> None:
        shoulder, elbow, hand = (
            self.joints[f'{side} {joint}'] for joint in ('shoulder', 'elbow', 'hand')
        )
        self.limb(shoulder, elbow, 0.06, 0.05, self.top)
        self.limb(elbow, hand, 0.048, 0.038, self.sleeves)
        self.painter.ball(self.frame.place(hand), 0.045 * self.frame.size, self.skin)

    def trunk(self) -> None:
        hip, neck = self.joints['hip'], self.joints['neck']
        levels = [(0.92, 0.20, 0.10), (0.55, 0.17, 0.11), (0.0, 0.16, 0.11)]
        if self.style == 'coat':
            levels.append((-0.7, 0.22, 0.16))
        self._rings(
            [(hip + (neck - hip) * share, half, deep) for share, half, deep in levels], self.top
        )
        if self.style == 'skirt':
            hem = [(hip + (0, y, 0), half, 0.8 * half) for y, half in ((0.05, 0.16), (-0.4, 0.24))]
            self._rings(hem, self.bottom)
        self.limb(neck, self.joints['head'], 0.05, 0.05, self.skin)

    def _rings(self, rings: list, colour: Shade) -> None:
        """The hull of horizontal ellipses (centre, half width, half depth)."""
        outlines = [
            centre
            + np.insert(circle(1.0, 8) * (half * self.stout, deep * self.stout), 1, 0.0, axis=1)
            for centre, half, deep in rings
        ]
        self.painter.hull(self.frame.place(np.concatenate(outlines)), colour)

    def head(self, helmet: Shade | None) -> None:
        """The head with its hair, or with a helmet of the given colour."""
        centre, size = self.joints['head'] + (0, 0.02, 0), self.frame.size
        chin, brow = self.frame.place(np.stack([centre - (0, 0.05, -0.01), centre + (0, 0.04, 0)]))
        self.painter.limb((chin, brow), 0.085 * size, 0.095 * size, self.skin)
        if helmet is None:
            self.painter.ball(self.frame.place(centre + (0, 0.06, -0.05)), 0.1 * size, self.hair)
        else:
            self.painter.ball(self.frame.place(centre + (0, 0.06, -0.01)), 0.125 * size, helmet)


def draw_person(
    painter: Painter,
    rng: np.random.Generator,
    frame: Frame,
    joints: Joints,
    helmet: Shade | None = None,
) -> None:
    """Draw a body from its farthest part to its nearest.

    Args:
        painter: its open entity is the person.
        rng: chooses body and clothes.
        frame: where the joints' coordinates begin.
        joints: of `walking` or `riding`.
        helmet: its colour; None for somebody without one, who may carry a bag.
    """
    figure = _Figure(painter, rng, frame, joints)
    parts = [((joints['hip'] + joints['neck']) / 2, figure.trunk)]
    for side in ('left', 'right'):
        parts.append((joints[f'{side} knee'], partial(figure.leg, side)))
        parts.append((joints[f'{side} elbow'], partial(figure.arm, side)))
    luggage, colour = rng.uniform(), _garment(rng)
    if luggage < 0.2:  # a rucksack
        middle = joints['hip'] * 0.35 + joints['neck'] * 0.65 - (0, 0, 0.2)
        bag = frame.place(middle + cuboid((-0.15, -0.22, -0.1), (0.15, 0.2, 0.08)))
        parts.append((middle, partial(painter.hull, bag, colour)))
    elif luggage < 0.35 and helmet is None:  # a bag in the hand
        middle = joints['left hand'] - (0, 0.22, 0)
        bag = frame.place(middle + cuboid((-0.06, -0.17, -0.18), (0.06, 0.15, 0.18)))
        parts.append((middle, partial(painter.hull, bag, colour)))
    distances = painter.camera.view(frame.place(np.stack([place for place, _ in parts])))[:, 2]
    for i in np.argsort(-distances, kind='stable'):
        parts[i][1]()
    figure.head(helmet)


def person(rng: np.random.Generator, frame: Frame) -> Prop:
    """Somebody on foot, facing along the frame."""
    joints = walking(rng)

    def draw(painter: Painter) -> None:
        painter.begin(Label.PERSON)
        draw_person(painter, rng, frame, joints)

    return standing(frame, 0.25, 0.5, 1.75, draw)
