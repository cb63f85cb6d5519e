"""The painter: draws shapes given in metres into the image and, alike, into a map of entities.

Whatever is drawn later covers what was drawn before (painter's algorithm). The image is drawn
with antialiased edges, the map without: every pixel of it belongs to exactly one entity.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from fan_mm.datasets.scenes.camera import NEAR, SHIFT, Camera, clip_near, subpixel
from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.light import Colour, Light
from fan_mm.datasets.scenes.relief import Relief

Points = np.ndarray | Sequence  # whose last axis has the coordinates
Shade = Colour | np.ndarray  # an RGB colour of 0 to 1


@dataclass(frozen=True)
class Frame:
    """A place on the ground and a direction; local points are (right, up, forward) in metres.

    Attributes:
        x, z: where the frame stands.
        heading: 0 looks away from the camera, pi towards it, pi/2 to the right.
        size: scale of the local metre.
    """

    x: float
    z: float
    heading: float = 0.0
    size: float = 1.0

    @cached_property
    def _axes(self) -> np.ndarray:
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])

    def turn(self, vectors: Points) -> np.ndarray:
        """Local directions ``(..., 3)`` to world directions."""
        return np.asarray(vectors, float) @ self._axes

    def place(self, points: Points) -> np.ndarray:
        """Local points ``(..., 3)`` to world points."""
        return self.turn(points) * self.size + (self.x, 0.0, self.z)


class Painter:
    """Draws into ``image`` ``(H, W, 3)`` uint8 RGB and ``entities`` ``(H, W)`` int32.

    `begin` opens an entity; all that is drawn until the next `begin` belongs to it. The argument
    ``detail=True`` of the drawing methods leaves the entity map alone: for what lies within the
    outline of its entity anyway, and for what changes only the colour of the ground.

    Attributes:
        labels: the class of each entity, indexed by the values of ``entities``.
        relief: distances and what shines, if they are asked for.
    """

    def __init__(self, camera: Camera, light: Light, relief: bool = False):
        self.camera = camera
        self.light = light
        self.image = np.zeros((camera.height, camera.width, 3), np.uint8)
        self.entities = np.zeros((camera.height, camera.width), np.int32)
        self.labels: list[Label] = [Label.IGNORE]
        self.relief = Relief(camera) if relief else None

    def begin(self, label: Label) -> None:
        """Open a new entity of a class."""
        self.labels.append(label)

    def _colour(
        self, albedo: Shade, normal: Shade | None, distance: float, glow: bool
    ) -> tuple[float, ...]:
        light = self.light
        albedo = albedo.tolist() if isinstance(albedo, np.ndarray) else albedo
        normal = normal.tolist() if isinstance(normal, np.ndarray) else normal
        colour = light.haze(albedo, distance) if glow else light.shade(albedo, normal, distance)
        return tuple(255.0 * min(max(c, 0.0), 1.0) for c in colour)

    def draw(
        self,
        contours: list[np.ndarray],
        colour: Shade,
        view: np.ndarray | float | None = None,
        *,
        glow: bool = False,
        detail: bool = False,
    ) -> None:
        """Fill contours of `subpixel` coordinates with an RGB colour of 0 to 255.

        Where they are, for the relief, is ``view``: see `Relief.fill`; details lie on what is there.
        """
        cv2.fillPoly(self.image, contours, tuple(colour), cv2.LINE_AA, SHIFT)
        if not detail:
            cv2.fillPoly(self.entities, contours, len(self.labels) - 1, cv2.LINE_8, SHIFT)
        if self.relief:
            self.relief.shine(contours, glow)
            if view is not None and not detail:
                self.relief.fill(contours, view)

    @contextlib.contextmanager
    def translucent(self, share: float) -> Iterator[None]:
        """Let what lies behind show through what is drawn meanwhile, by ``1 - share``."""
        behind = self.image.copy() if share < 1 else self.image
        yield
        if share < 1:
            cv2.addWeighted(self.image, share, behind, 1 - share, 0, dst=self.image)

    def _visible(self, pixels: np.ndarray, smallest: float) -> bool:
        """Whether a shape reaches into the image and is as large as asked, in pixels."""
        (x0, y0), (x1, y1) = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
        inside = x1 >= -1 and y1 >= -1 and x0 <= self.camera.width and y0 <= self.camera.height
        return inside and x1 - x0 >= smallest and y1 - y0 >= smallest

    def polygon(
        self,
        points: Points,
        albedo: Shade,
        normal: Shade | None = None,
        *,
        glow: bool = False,
        detail: bool = False,
    ) -> None:
        """Fill a polygon of world points ``(n, 3)``, whichever side of it is seen."""
        view = clip_near(self.camera.view(np.asarray(points, float)))
        if len(view) < 3:
            return
        pixels = self.camera.pixels(view)
        if self._visible(pixels, 0.4 if detail else 0.0):
            depth = view[:, 2]
            colour = self._colour(albedo, normal, (depth.min() + depth.max()) / 2, glow)
            self.draw([subpixel(pixels)], colour, view, glow=glow, detail=detail)

    def patches(
        self,
        quads: Points,
        albedo: Shade,
        normal: Shade | None = None,
        *,
        glow: bool = False,
        smallest: float = 0.9,
    ) -> None:
        """Fill many small polygons ``(k, n, 3)`` of one colour: windows, lane marks, bricks.

        They are details (the entity map is left alone) and are not clipped: those that reach
        behind the near plane, or are less than ``smallest`` pixels wide or high, are left out.
        """
        view = self.camera.view(np.asarray(quads, float))
        view = view[(view[..., 2] >= NEAR).all(axis=1)]
        if not len(view):
            return
        pixels = self.camera.pixels(view)
        extent = pixels.max(axis=1) - pixels.min(axis=1)
        kept = (extent >= smallest).all(axis=1)
        if kept.any():
            distance = float(view[kept][..., 2].mean())
            colour = self._colour(albedo, normal, distance, glow)
            self.draw(list(subpixel(pixels[kept])), colour, glow=glow, detail=True)

    def face(
        self,
        frame: Frame,
        points: Points,
        albedo: Shade,
        normal: Points,
        *,
        glow: bool = False,
        detail: bool = False,
    ) -> None:
        """Fill a plane face of local points, if its front is seen."""
        x, y, z = normal = frame.turn(normal).tolist()
        points = frame.place(points)
        a, b, c = points[0].tolist()
        if (a + self.camera.bend * c * c) * x + (b - self.camera.eye) * y + c * z < 0:
            self.polygon(points, albedo, normal, glow=glow, detail=detail)

    def prism(
        self,
        frame: Frame,
        profile: Points,
        albedo: Shade,
        panels: Sequence[tuple[int, Shade, float]] = (),
    ) -> None:
        """A convex solid: a profile seen from the side, drawn out to both sides.

        Args:
            frame: where it stands.
            profile: convex outline ``(n, 3)`` of (forward, up, half width).
            albedo: colour of the faces.
            panels: (face, colour, share) of inlaid panels such as windows, scaled to a share of
                their face about its centre. Faces 0 and 1 are the left and the right side, face
                2 + i lies between the profile's points i - 1 and i.
        """
        profile = np.asarray(profile, float)
        right = profile[:, [2, 1, 0]]
        left = right * np.array([-1.0, 1.0, 1.0])
        middle = np.array([0.0, profile[:, 1].mean(), profile[:, 0].mean()])
        faces = [left, right]
        for i in range(len(profile)):
            faces.append(np.stack([right[i - 1], right[i], left[i], left[i - 1]]))
        for index, points in enumerate(faces):
            centre = points.mean(axis=0)
            (a, b, c), (d, e, f) = (points[[1, len(points) // 2]] - points[0]).tolist()
            normal = np.array([b * f - c * e, c * d - a * f, a * e - b * d])
            length = math.sqrt(normal @ normal)
            if length < 1e-9:
                continue
            normal /= length if normal @ (centre - middle) > 0 else -length
            self.face(frame, points, albedo, normal)
            for face, colour, share in panels:
                if face == index:
                    inlay = centre + (points - centre) * share
                    self.face(frame, inlay, colour, normal, detail=True)

    def box(
        self,
        frame: Frame,
        low: tuple[float, float],
        high: tuple[float, float],
        half: float,
        albedo: Shade,
    ) -> None:
        """An upright box from ``low`` to ``high`` (up, forward), ``half`` wide to each side."""
        (y0, z0), (y1, z1) = low, high
        self.prism(frame, [(z0, y0, half), (z1, y0, half), (z1, y1, half), (z0, y1, half)], albedo)

    def hull(self, points: Points, albedo: Shade) -> None:
        """The outline of a convex round body, given by points ``(n, 3)`` of its surface."""
        view = self.camera.view(np.asarray(points, float))
        if (view[:, 2] < NEAR).any():
            return
        outline = cv2.convexHull(subpixel(self.camera.pixels(view)))
        depth = float(view[:, 2].mean())
        self.draw([outline], self._colour(albedo, None, depth, False), depth)

    def ring(self, points: Points, thickness: float, albedo: Shade) -> None:
        """A closed curve of world points ``(n, 3)``; what it encloses belongs to the entity."""
        view = self.camera.view(np.asarray(points, float))
        if (view[:, 2] < NEAR).any():
            return
        outline = subpixel(self.camera.pixels(view))
        distance = float(view[:, 2].mean())
        colour = self._colour(albedo, None, distance, False)
        pixels = max(1, round(thickness * self.camera.focal / distance))
        cv2.polylines(self.image, [outline], True, colour, pixels, cv2.LINE_AA, SHIFT)
        cv2.fillPoly(self.entities, [outline], len(self.labels) - 1, cv2.LINE_8, SHIFT)
        if self.relief:
            self.relief.fill([outline], distance)

    def limb(
        self,
        ends: Points,
        r0: float,
        r1: float,
        albedo: Shade,
        *,
        glow: bool = False,
        detail: bool = False,
    ) -> None:
        """A straight round bar between two world points, radii in metres, with round ends."""
        view = self.camera.view(np.asarray(ends, float))
        if (view[:, 2] < NEAR).any():
            return
        pixels, (near, far) = self.camera.pixels(view), view[:, 2].tolist()
        r0, r1 = max(0.28, r0 * self.camera.focal / near), max(0.28, r1 * self.camera.focal / far)
        (ax, ay), (bx, by) = pixels.tolist()
        length = math.hypot(bx - ax, by - ay)
        colour = self._colour(albedo, None, (near + far) / 2, glow)
        if length > 1e-6:
            x, y = (ay - by) / length, (bx - ax) / length
            outline = [(ax + x * r0, ay + y * r0), (bx + x * r1, by + y * r1)]
            outline += [(bx - x * r1, by - y * r1), (ax - x * r0, ay - y * r0)]
            self.draw(
                [subpixel(np.array(outline))], colour, (near + far) / 2, glow=glow, detail=detail
            )
        for centre, radius, depth in zip(pixels, (r0, r1), (near, far), strict=True):
            if radius > 0.75:
                self._disc(centre, radius, colour, depth, glow, detail)

    def bar(self, frame: Frame, ends: Points, radius: float, albedo: Shade) -> None:
        """A `limb` of one radius between two local points."""
        self.limb(frame.place(ends), radius, radius, albedo)

    def shows(self, points: np.ndarray) -> bool:
        """Whether a body around world points ``(n, 3)`` may reach into the image."""
        view = self.camera.view(points)
        view = view[view[:, 2] >= NEAR]
        if not len(view):
            return False
        column = view[:, 0] / view[:, 2] * (2 * self.camera.focal / self.camera.width)
        return len(view) < len(points) or bool((column.min() < 1.2) & (column.max() > -1.2))

    def resolution(self, frame: Frame) -> float:
        """Pixels per metre at the place of a frame."""
        depth = float(self.camera.view(np.array([frame.x, 0.0, frame.z]))[2])
        return self.camera.focal / max(depth, NEAR)

    def balls(
        self,
        centres: Points,
        radii: Points,
        albedos: Points,
        *,
        glow: bool = False,
        detail: bool = False,
    ) -> None:
        """Balls around world points ``(n, 3)``, drawn one after the other as discs.

        Args:
            centres: ``(n, 3)`` in metres.
            radii: ``(n,)`` in metres.
            albedos: ``(n, 3)``, or one colour for all.
            glow: as for the other methods.
            detail: as for the other methods.
        """
        view = self.camera.view(np.asarray(centres, float))
        depths = view[:, 2]
        pixels = self.camera.pixels(np.where(depths[:, None] < NEAR, NEAR, view))
        sizes = np.maximum(0.5, np.asarray(radii) * self.camera.focal / np.maximum(depths, NEAR))
        limits = np.array([self.camera.width, self.camera.height]) + sizes[:, None]
        inside = (pixels > -sizes[:, None]) & (pixels < limits)
        colours = np.broadcast_to(albedos, view.shape).tolist()
        for i in np.flatnonzero(inside.all(axis=1) & (depths >= NEAR)).tolist():
            colour = self._colour(colours[i], None, float(depths[i]), glow)
            self._disc(pixels[i], float(sizes[i]), colour, float(depths[i]), glow, detail)

    def ball(self, centre: Points, radius: float, albedo: Points, *, glow: bool = False) -> None:
        """One ball around a world point ``(3,)``."""
        self.balls(np.asarray(centre, float)[None], [radius], albedo, glow=glow)

    def _disc(
        self,
        centre: np.ndarray,
        radius: float,
        colour: Colour,
        depth: float,
        glow: bool,
        detail: bool,
    ) -> None:
        x, y = subpixel(centre).tolist()
        size = round(radius * (1 << SHIFT))
        cv2.circle(self.image, (x, y), size, colour, -1, cv2.LINE_AA, SHIFT)
        if not detail:
            cv2.circle(self.entities, (x, y), size, len(self.labels) - 1, -1, cv2.LINE_8, SHIFT)
        if self.relief:
            self.relief.disc((x, y), size, None if detail else depth, glow)
