"""Street furniture: lamp posts, bollards, bins and benches."""

import numpy as np

from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.painter import Frame, Painter
from fan_mm.datasets.scenes.prop import Prop, metal, paint, pick, standing


def lamp_post(rng: np.random.Generator, frame: Frame, arm: float) -> Prop:
    """A tall post whose lamp hangs over the street; ``arm`` metres to the right (left if < 0)."""
    colour, height, thick = metal(rng), rng.uniform(5.5, 8.5), rng.uniform(0.09, 0.14)
    arms = (arm, -arm) if rng.uniform() < 0.15 else (arm,)

    def draw(painter: Painter) -> None:
        painter.begin(Label.POLE)
        lit = painter.light.lamps
        foot, collar, top = frame.place([[0, 0, 0], [0, 0.9, 0], [0, height, 0]])
        painter.limb((foot, top), thick, thick * 0.6, colour)
        painter.limb((foot, collar), thick * 1.5, thick * 1.4, colour * 0.9)
        for reach in arms:
            tip, head = frame.place([[reach, height + 0.35, 0], [reach * 1.3, height + 0.33, 0]])
            painter.limb((top, tip), 0.05, 0.045, colour)
            painter.limb((tip, head), 0.1, 0.13, (1.0, 0.9, 0.6) if lit else colour * 0.8, glow=lit)

    return standing(frame, 0.1, 0.2, height, draw)


def bollards(rng: np.random.Generator, frame: Frame, count: int, gap: float) -> list[Prop]:
    """A row of low posts, ``gap`` metres apart, beginning at the frame and going forward."""
    colour, height, radius = metal(rng), rng.uniform(0.7, 1.05), rng.uniform(0.06, 0.1)
    ringed = rng.uniform() < 0.5

    def post(place: Frame) -> Prop:
        def draw(painter: Painter) -> None:
            painter.begin(Label.POLE)
            foot, neck, top = place.place([[0, 0, 0], [0, height * 0.75, 0], [0, height, 0]])
            painter.limb((foot, top), radius, radius, colour)
            if ringed:
                painter.limb((neck, top), radius, radius, (0.95, 0.95, 0.95), detail=True)

        return standing(place, radius, 2 * radius, height, draw)

    return [post(Frame(frame.x, frame.z + i * gap)) for i in range(count)]


def clutter(rng: np.random.Generator, frame: Frame) -> Prop:
    """A litter bin, a switch cabinet or a bench: things that Cityscapes does not evaluate."""
    kind, colour = pick(rng, ('bin', 'cabinet', 'bench')), paint(rng) * 0.7
    half, length, height = {
        'bin': (0.3, 0.6, 1.0),
        'cabinet': (0.45, 0.5, 1.3),
        'bench': (0.25, 1.8, 0.5),
    }[kind]

    def draw(painter: Painter) -> None:
        painter.begin(Label.IGNORE)
        end = length / 2
        if kind == 'bench':
            for z in (-0.7, 0.7):
                painter.bar(frame, [[0, 0, z], [0, 0.45, z]], 0.05, (0.2, 0.2, 0.2))
            painter.box(frame, (0.42, -end), (0.5, end), half, colour)
        else:
            painter.box(frame, (0, -end), (height, end), half, colour)
            lid = end + 0.03
            painter.box(frame, (height, -lid), (height + 0.07, lid), half + 0.03, colour * 0.6)

    return standing(frame, half, length, height, draw)
