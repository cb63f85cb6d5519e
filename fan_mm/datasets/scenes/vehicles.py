"""Cars, trucks, buses and trams, about as large as real ones.

Points of a vehicle are (right, up, forward) in metres from the ground below its middle.
"""

from collections.abc import Sequence

import numpy as np

from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.painter import Frame, Painter, Points, Shade
from fan_mm.datasets.scenes.prop import Prop, circle, hsv, paint, pick, standing

_TYRE = np.array([0.07, 0.07, 0.08])
_BLACK, _PLATE = np.array([0.1, 0.1, 0.11]), np.array([0.9, 0.9, 0.85])
_RED, _WHITE, _AMBER = np.array([[0.75, 0.06, 0.05], [0.95, 0.94, 0.86], [1.0, 0.62, 0.12]])
_FINE = 9.0  # pixels per metre below which small parts are not drawn


class _Body:
    """A vehicle that is being drawn.

    Args:
        painter: draws it.
        frame: where it stands.
        half: half of its width in metres.
        length: in metres.
    """

    def __init__(self, painter: Painter, frame: Frame, half: float, length: float) -> None:
        self.painter, self.frame, self.half, self.length = painter, frame, half, length
        self.lit = painter.light.lamps
        self.glass = 0.10 + 0.28 * painter.light.zenith  # a dim image of the sky

    def flanks(self, out: float, outline: Points, albedo: Shade, glow: bool = False) -> None:
        """A shape (forward, up) on both sides, ``out`` metres before them."""
        forward, up = np.asarray(outline, float).T
        for side in (-1.0, 1.0):
            x = np.full(len(up), side * (self.half + out))
            points = np.stack([x, up, forward], axis=1)
            self.painter.face(self.frame, points, albedo, (side, 0, 0), glow=glow, detail=True)

    def plate(
        self,
        x0: float,
        x1: float,
        y0: float,
        y1: float,
        z: float,
        albedo: Shade,
        glow: bool = False,
    ) -> None:
        """A rectangle on the front (z > 0) or the rear (z < 0)."""
        corners = [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)]
        normal = (0, 0, 1 if z > 0 else -1)
        self.painter.face(self.frame, corners, albedo, normal, glow=glow, detail=True)

    def tyres(self, axles: Sequence[float], radius: float, out: float) -> None:
        """Wheels as solid bodies, to be drawn before the body that hides their upper halves."""
        half = self.half + out
        for axle in axles:
            for side in (-1.0, 1.0):
                disc = circle(radius, 12, (radius, axle))
                rims = [np.insert(disc, 0, x, axis=1) for x in (side * half, side * (half - 0.22))]
                self.painter.hull(self.frame.place(np.concatenate(rims)), _TYRE)

    def wheel_discs(self, axles: Sequence[float], radius: float, rim: Shade) -> None:
        """Outer faces of the wheels, to be drawn after the body."""
        for axle in axles:
            middle = (axle, radius)
            self.flanks(0.01, circle(radius, 14, middle), _TYRE)
            self.flanks(0.015, circle(radius * 0.6, 10, middle), rim)

    def lamps(self, y: float, size: float = 0.2) -> None:
        """Head lamps in front and tail lamps behind, on both sides."""
        for side in (-1, 1):
            inner, outer = side * (self.half - size - 0.08), side * (self.half - 0.06)
            front = _WHITE if self.lit else np.full(3, 0.81)
            self.plate(inner, outer, y, y + 0.16, self.length / 2 + 0.03, front, self.lit)
            self.plate(inner, outer, y, y + 0.20, -self.length / 2 - 0.05, _RED, self.lit)

    def mirrors(self, out: float, low: float, high: float, z: float, radius: float) -> None:
        """Tall mirrors on both sides."""
        for side in (-1, 1):
            x = side * (self.half + out)
            self.painter.bar(self.frame, [[x, low, z], [x, high, z]], radius, _BLACK)

    def coach(
        self,
        span: tuple[float, float],
        top: float,
        bay: float,
        colours: Sequence[np.ndarray],
        floor: float,
    ) -> None:
        """A bus or tram section from z to z: two-tone walls and a row of windows."""
        (z0, z1), (wall, skirt), sill = span, colours, 1.32
        glass = np.array([0.95, 0.80, 0.50]) if self.lit else self.glass
        self.painter.box(self.frame, (floor, z0), (top, z1), self.half, wall)
        self.flanks(0.01, _rectangle(z0, z1, floor, sill - 0.25), skirt)
        edges = np.linspace(z0 + 0.2, z1 - 0.2, max(1, round((z1 - z0 - 0.4) / bay)) + 1)
        for a, b in zip(edges[:-1] + 0.07, edges[1:] - 0.07, strict=True):
            self.flanks(0.01, _rectangle(a, b, sill, top - 0.55), glass, self.lit)
        for z in (z0 - 0.01, z1 + 0.01):
            self.plate(-self.half, self.half, floor, sill - 0.25, z, skirt)

    def destination(self, half: float, top: float, z: float) -> None:
        """A dark panel with lit writing."""
        self.plate(-half, half, top - 0.42, top - 0.14, z, _BLACK * 0.6)
        self.plate(-half * 0.8, half * 0.8, top - 0.34, top - 0.22, z * 1.001, _AMBER, True)


def _rectangle(z0: float, z1: float, y0: float, y1: float) -> list[tuple[float, float]]:
    return [(z0, y0), (z1, y0), (z1, y1), (z0, y1)]


def car(rng: np.random.Generator, frame: Frame) -> Prop:
    """A hatchback, saloon, estate, off-roader or van."""
    kind = pick(rng, ('hatchback', 'saloon', 'estate', 'suv', 'van'), (0.3, 0.25, 0.2, 0.15, 0.1))
    length = {'hatchback': 3.9, 'van': 4.9}.get(kind, 4.6) + rng.uniform(-0.2, 0.2)
    top = {'suv': 1.72, 'van': 1.95}.get(kind, 1.45) + rng.uniform(-0.05, 0.08)
    belt = top * rng.uniform(0.58, 0.64)
    bonnet = {'van': 0.7, 'hatchback': 0.95}.get(kind, 1.15) + rng.uniform(-0.1, 0.15)
    boot, slope = (0.75, 0.75) if kind == 'saloon' else (0.08, rng.uniform(0.2, 0.5))
    half = rng.uniform(0.84, 0.92) + (0.06 if kind in ('suv', 'van') else 0)
    colour, rim = paint(rng), np.full(3, rng.uniform(0.25, 0.7))
    roof = colour * 0.15 if rng.uniform() < 0.12 else colour
    bumper = colour * 0.6 if rng.uniform() < 0.6 else _BLACK
    taxi = rng.uniform() < 0.05
    back, nose = -length / 2, length / 2
    axles = (back + 0.75, nose - 0.8)
    shell = [
        (back, 0.28, half - 0.05),
        (back - 0.03, 0.6, half),
        (back + 0.03, belt, half - 0.03),
        (nose - bonnet, belt + 0.02, half - 0.03),
        (nose - 0.03, belt - 0.13, half - 0.07),
        (nose, 0.52, half),
        (nose, 0.28, half - 0.06),
    ]
    cabin = [
        (back + boot, belt, half - 0.05),
        (back + boot + slope, top, half - 0.24),
        (nose - bonnet - 0.65, top, half - 0.24),
        (nose - bonnet + 0.12, belt, half - 0.05),
    ]

    def draw(painter: Painter) -> None:
        painter.begin(Label.CAR)
        body = _Body(painter, frame, half, length)
        glass = body.glass
        painter.box(frame, (0.16, back + 0.15), (0.34, nose - 0.15), half - 0.12, _TYRE)
        body.tyres(axles, 0.32, -0.03)
        mirrors = frame.place(
            [(x * (half + 0.08), belt + 0.08, nose - bonnet - 0.25) for x in (-1, 1)]
        )
        mirrors = mirrors[np.argsort(-np.abs(mirrors[:, 0]) - mirrors[:, 2])]
        painter.ball(mirrors[0], 0.1, colour * 0.7)  # the far one, behind the cabin
        painter.prism(frame, shell, colour)
        panes = [(0, glass, 0.84), (1, glass, 0.84), (3, glass, 0.86), (5, glass, 0.88)]
        painter.prism(frame, cabin, roof, panes)
        painter.ball(mirrors[1], 0.1, colour * 0.7)
        body.lamps(belt - 0.30)
        if painter.resolution(frame) <= _FINE:
            return
        for axle in axles:
            arch = circle(0.40, 14, (axle, 0.32))
            body.flanks(0.005, arch[arch[:, 1] > 0.27], colour * 0.25)
        body.wheel_discs(axles, 0.32, rim)
        body.flanks(0.005, _rectangle(-0.23, -0.2, 0.4, belt), colour * 0.45)
        if kind != 'van':
            body.flanks(-0.1, _rectangle(-0.15, -0.05, belt, top - 0.03), colour * 0.5)
        for z in (nose + 0.02, back - 0.04):
            body.plate(-half + 0.06, half - 0.06, 0.28, 0.42, z, bumper)
            body.plate(-0.26, 0.26, 0.44, 0.56, z, _PLATE)
        body.plate(-half * 0.5, half * 0.5, 0.57, 0.68, nose + 0.02, _BLACK)
        if taxi:
            painter.box(frame, (top, -0.3), (top + 0.16, -0.1), 0.25, (0.95, 0.8, 0.2))

    return standing(frame, half, length, top, draw)


def truck(rng: np.random.Generator, frame: Frame) -> Prop:
    """A lorry: a cab before a box, a tank or an open load."""
    load = pick(rng, ('box', 'tank', 'tipper'), (0.65, 0.15, 0.2))
    hold = rng.uniform(3.6, 7.5)
    length, half, high = hold + 2.1, 1.22, rng.uniform(3.0, 3.7)
    roof = min(high - 0.1, rng.uniform(2.5, 2.9))
    back, nose = -length / 2, length / 2
    wall = nose - 2.15  # where the load ends and the cab begins
    colour, stripe, stripe_y = paint(rng), paint(rng), rng.uniform(1.6, 2.4)
    cargo = np.full(3, rng.uniform(0.7, 0.95)) if rng.uniform() < 0.5 else paint(rng)
    axles = (back + 0.9, back + 1.9, nose - 0.95) if hold > 5.5 else (back + 1.1, nose - 0.95)
    cab = [
        (wall + 0.25, 0.55, half),
        (wall + 0.25, roof, half - 0.05),
        (nose - 0.45, roof, half - 0.05),
        (nose - 0.08, 1.55, half),
        (nose, 0.55, half),
    ]

    def draw_tank(body: _Body) -> None:
        y, x = (circle(1.0, 12) * ((high - 0.9) / 2, half - 0.05)).T
        ends = [np.stack([x, y + (high + 0.9) / 2, np.full(12, z)], axis=1) for z in (back, wall)]
        body.painter.hull(frame.place(np.concatenate(ends)), cargo * 0.9)
        body.painter.face(frame, ends[0], cargo * 0.75, (0, 0, -1), detail=True)

    def draw_hold(body: _Body) -> None:
        painter, top = body.painter, high if load == 'box' else 2.1
        painter.box(frame, (0.85, back), (top, wall), half, cargo)
        if load == 'tipper':
            heap = [(0, 2.0, z) for z in np.linspace(back + 0.5, wall - 0.5, 5)]
            painter.balls(frame.place(heap), [0.55] * 5, (0.45, 0.38, 0.28))
            painter.box(frame, (0.85, back), (1.7, back + 0.12), half, cargo * 0.9)
        y0, y1 = (stripe_y, stripe_y + 0.6) if load == 'box' else (1.2, 1.5)
        body.flanks(0.01, _rectangle(back + 0.4, wall - 0.4, y0, y1), stripe)
        for z in np.arange(back + 0.8, wall - 0.3, 0.9, float):
            body.flanks(0.01, _rectangle(z, z + 0.05, 0.85, top), cargo * 0.7)
        if load == 'box':
            for x in (-0.3, 0.0, 0.3):
                body.plate(x - 0.025, x + 0.025, 0.95, top - 0.1, back - 0.01, cargo * 0.4)

    def draw_cab(body: _Body) -> None:
        body.painter.prism(frame, cab, colour, [(5, body.glass, 0.86)])
        body.plate(-half * 0.7, half * 0.7, 0.85, 1.3, nose + 0.012, _BLACK)
        pane = [
            (nose - 0.35, 1.6),
            (nose - 1.3, 1.6),
            (nose - 1.3, roof - 0.3),
            (nose - 0.6, roof - 0.3),
        ]
        body.flanks(0.01, pane, body.glass)
        body.mirrors(0.22, 1.6, 2.2, nose - 0.2, 0.09)

    def draw(painter: Painter) -> None:
        painter.begin(Label.TRUCK)
        body = _Body(painter, frame, half, length)
        painter.box(frame, (0.5, back + 0.05), (0.9, nose - 0.3), half - 0.25, _BLACK)
        body.tyres(axles, 0.48, -0.02)
        parts = [draw_cab, draw_tank if load == 'tank' else draw_hold]
        if np.cos(frame.heading) < 0:  # it comes: the cab is nearer
            parts.reverse()
        for part in parts:
            part(body)
        body.wheel_discs(axles, 0.48, np.full(3, 0.45))
        body.plate(-half, half, 0.5, 0.68, back - 0.015, _BLACK)
        body.plate(-0.26, 0.26, 0.5, 0.62, back - 0.02, _PLATE)
        body.lamps(0.62, 0.28)

    return standing(frame, half, length, high, draw)


def bus(rng: np.random.Generator, frame: Frame) -> Prop:
    """A city bus, now and then with two decks: doors, a large windscreen, a lit destination."""
    length, half, top = rng.uniform(9.5, 12.0), 1.27, rng.uniform(3.0, 3.25)
    decks = 2 if rng.uniform() < 0.12 else 1
    bright = hsv(rng.uniform(), rng.uniform(0.4, 0.95), rng.uniform(0.55, 0.95))
    colours = (bright, paint(rng))
    if rng.uniform() < 0.3:
        colours = (np.full(3, rng.uniform(0.75, 0.95)), bright)
    back, nose = -length / 2, length / 2
    axles, height = (back + 2.6, nose - 2.5), top + 1.1 * (decks - 1)

    def draw(painter: Painter) -> None:
        painter.begin(Label.BUS)
        body = _Body(painter, frame, half, length)
        glass = body.glass
        body.tyres(axles, 0.48, -0.03)
        body.coach((back, nose), height, 1.5, colours, 0.35)
        if decks == 2:
            body.flanks(0.012, _rectangle(back, nose, 2.35, 2.85), colours[0])
        body.wheel_discs(axles, 0.48, np.full(3, 0.5))
        for z in (nose - 0.75, 0.2, back + 1.2):
            for wide, tint in ((0.55, glass * 0.8), (0.04, colours[0] * 0.5)):
                x, a, b = half + 0.012, z - wide, z + wide  # doors are on the right
                door = [(x, 0.42, a), (x, 0.42, b), (x, 2.5, b), (x, 2.5, a)]
                painter.face(frame, door, tint, (1, 0, 0), detail=True)
        body.plate(-half + 0.08, half - 0.08, 1.15, 2.55, nose + 0.02, glass)
        body.plate(-half + 0.15, half - 0.15, 1.5, 2.4, back - 0.02, glass)
        body.destination(0.8, height, nose + 0.03)
        body.destination(0.4, height, back - 0.03)
        body.lamps(0.6, 0.3)
        body.mirrors(0.2, 1.9, 2.4, nose + 0.1, 0.08)

    return standing(frame, half, length, height, draw)


def tram(rng: np.random.Generator, frame: Frame) -> Prop:
    """A tram of several sections joined by bellows, with slanted noses and a pantograph."""
    sections, piece = int(rng.integers(2, 5)), rng.uniform(6.5, 8.5)
    length, half, top = sections * piece, 1.2, rng.uniform(3.3, 3.6)
    colours = [
        paint(rng) * 0.5 + 0.45,
        hsv(rng.uniform(), rng.uniform(0.5, 0.95), rng.uniform(0.4, 0.9)),
    ]
    if rng.uniform() < 0.5:
        colours.reverse()
    back = -length / 2

    def draw_end(body: _Body, sign: int) -> None:
        end, glass = sign * length / 2, body.glass
        lead = [
            (end - sign * 0.36, 0.18, half),
            (end - sign * 0.36, top - 0.1, half),
            (end + sign * 0.1, top - 0.25, half - 0.1),
            (end + sign * 0.75, 1.25, half - 0.22),
            (end + sign * 0.75, 0.25, half - 0.25),
        ]
        body.painter.prism(frame, lead, colours[0], [(5, glass * 0.8, 0.88), (6, colours[1], 1.0)])
        for side in (-1, 1):
            lamp, z = (_WHITE if sign > 0 else _RED), end + sign * 0.77
            body.plate(side * 0.45, side * 0.8, 0.75, 0.98, z, lamp, body.lit)
        body.destination(0.6, top - 0.1, end + sign * 0.2)

    def draw(painter: Painter) -> None:
        painter.begin(Label.TRAIN)
        body = _Body(painter, frame, half, length)
        order = 1 if np.cos(frame.heading) < 0 else -1  # from the far end to the near one
        draw_end(body, -order)
        for z in (back + piece * np.arange(sections))[::order]:
            if z > back:
                painter.box(frame, (0.3, z - 0.4), (top - 0.15, z + 0.4), half - 0.12, _BLACK)
            body.coach((z + 0.35, z + piece - 0.35), top - 0.1, 2.0, colours, 0.18)
            low, high = (top - 0.1, z + 1.2), (top + 0.2, z + piece - 1.4)
            painter.box(frame, low, high, half - 0.3, (0.4, 0.41, 0.43))
        draw_end(body, order)
        foot, elbow, hand = [0, top + 0.2, 0.5], [0, top + 0.9, -0.4], [0, top + 1.5, 0.4]
        bow = [[-0.8, top + 1.5, 0.4], [0.8, top + 1.5, 0.4]]
        for ends in ([foot, elbow], [elbow, hand], bow):
            painter.bar(frame, ends, 0.04, _BLACK)

    return standing(frame, half, length + 1.5, top, draw)
