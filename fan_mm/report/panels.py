"""Images of predictions: painted over the image they belong to, with a legend, side by side."""

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from fan_mm.report.colours import INK, ink_on
from fan_mm.report.fonts import TextFont
from fan_mm.report.labels import wrapped

_PAPER = '#ffffff'  # of images, whatever page they are on
_GAP = 6
_MASK = 0.5  # opacity of an instance's mask
WRONG = (205, 30, 40)  # RGB of an error
_font = functools.cache(TextFont)

Palette = Sequence[Sequence[int]]


def _text_size(picture: np.ndarray) -> int:
    """Height of letters in pixels that suits an image."""
    return int(np.clip(min(picture.shape[:2]) / 22, 11, 26))


def distinct_palette(count: int) -> list[tuple[int, int, int]]:
    """RGB colours for classes whose dataset names none: hues evenly spaced, in three brightnesses."""
    index = np.arange(count)
    hsv = np.stack([index * 180 / max(count, 1), 150 + 35 * (index % 3), 255 - 45 * (index % 2)], 1)
    rgb = cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2RGB)[0] if count else []
    return [(int(r), int(g), int(b)) for r, g, b in rgb]


def paint_segmentation(
    image: np.ndarray, labels: np.ndarray, palette: Palette, alpha: float = 0.55
) -> np.ndarray:
    """Paint class colours over an image; the borders of regions are drawn more strongly.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        labels: class indices ``(H, W)``; those outside the palette (255: ignored) stay unpainted.
        palette: RGB colour of each class, 0 to 255.
        alpha: opacity of the paint, 0 to 1.
    """
    colours = np.asarray(palette, np.float32)
    known = (labels >= 0) & (labels < len(colours))
    paint = colours[np.where(known, labels, 0)]
    border = np.zeros(labels.shape, bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    opacity = np.where(border, (1 + alpha) / 2, alpha) * known
    mixed = image + opacity[..., None].astype(np.float32) * (paint - image)
    return np.rint(mixed).astype(np.uint8)


def paint_wrong(image: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """A pale grey image with the wrong pixels in red.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        wrong: bool ``(H, W)``; ignored pixels are not wrong.
    """
    pale = 255 - (255 - cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) // 2
    painted = np.repeat(pale[..., None], 3, axis=2)
    painted[wrong] = WRONG
    return painted


def paint_detection(
    image: np.ndarray,
    boxes: np.ndarray,
    captions: Sequence[str],
    colours: Palette,
    masks: np.ndarray | None = None,
) -> np.ndarray:
    """Draw boxes, captions and masks of instances over an image, the first on top.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        boxes: ``(n, 4)`` as x1, y1, x2, y2 in pixels.
        captions: of each instance, e.g. ``car 0.93``.
        colours: RGB colour of each instance, 0 to 255.
        masks: ``(n, H, W)`` of bool, if there are any.
    """
    picture = image.copy()
    if masks is not None:
        for mask, colour in reversed(list(zip(masks, colours, strict=True))):
            inside = np.asarray(mask, bool)
            paint = np.asarray(colour, np.float32)
            picture[inside] = np.rint(_MASK * paint + (1 - _MASK) * picture[inside])
    size = max(10, _text_size(image) - 2)
    line = max(1, size // 7)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    for box, caption, colour in reversed(list(zip(boxes, captions, colours, strict=True))):
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        colour = '#' + bytes(map(int, colour)).hex()
        draw.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=colour, width=line)
        _caption(draw, (x0, y0 - size - 4), caption, size, colour, canvas.size)
    return np.asarray(canvas)


def paint_classification(image: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Write lines such as ``tram 93 %`` into the upper left corner of an image.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        lines: from the top down.
    """
    canvas = Image.fromarray(image)
    draw, size = ImageDraw.Draw(canvas), _text_size(image)
    for i, line in enumerate(lines):
        _caption(draw, (3, 3 + i * (size + 5)), line, size, INK, canvas.size)
    return np.asarray(canvas)


def _caption(
    draw: ImageDraw.ImageDraw,
    place: Sequence[float],
    text: str,
    size: int,
    colour: str,
    limits: tuple[int, int],
) -> None:
    """Text on a plate of a hex colour, moved so that it lies inside the image."""
    width = int(draw.textlength(text, font=_font(size))) + 4
    x = max(0, min(int(place[0]), limits[0] - width))
    y = max(0, min(int(place[1]), limits[1] - size - 4))
    draw.rectangle((x, y, x + width, y + size + 3), fill=colour)
    draw.text((x + 2, y + 1), text, fill=ink_on(colour), font=_font(size))


def add_legend(
    picture: np.ndarray, names: Sequence[str], colours: Palette, heading: str = ''
) -> np.ndarray:
    """Append a legend below an image, in as many lines as its width asks for.

    Args:
        picture: uint8 RGB ``(H, W, 3)``.
        names: of the classes to explain.
        colours: their RGB colours, 0 to 255.
        heading: words before the first.
    """
    if not names:
        return picture
    width, size = picture.shape[1], _text_size(picture)
    font, places, row = _font(size), [], 0
    x = _GAP + (int(font.getlength(heading)) + 2 * _GAP if heading else 0)
    for name in names:
        needed = size + 5 + int(font.getlength(name)) + 2 * _GAP
        if x > _GAP and x + needed > width:
            x, row = _GAP, row + 1
        places.append((x, _GAP + row * (size + 8)))
        x += needed
    canvas = Image.new('RGB', (width, (row + 1) * (size + 8) + _GAP), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _GAP), heading, fill=INK, font=font)
    for (x, y), name, colour in zip(places, names, colours, strict=True):
        draw.rectangle(
            (x, y + 1, x + size, y + size + 1), fill=tuple(map(int, colour)), outline=INK
        )
        draw.text((x + size + 5, y), name, fill=INK, font=font)
    return np.concatenate([picture, np.asarray(canvas)])


def room_for_legend(picture: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """An image, padded with white at the right if it is too narrow for the longest name of its legend.

    Args:
        picture: uint8 RGB ``(H, W, 3)``.
        names: of the classes that `add_legend` shall explain.
    """
    size = _text_size(picture)
    longest = max((int(_font(size).getlength(name)) for name in names), default=0)
    lacking = _GAP + size + 5 + longest + _GAP - picture.shape[1]
    if not names or lacking <= 0:
        return picture
    return np.pad(picture, ((0, 0), (0, lacking), (0, 0)), constant_values=255)


def side_by_side(images: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Put images next to one another, a title above each, in lines as wide as its image.

    Args:
        images: uint8 RGB ``(H, W, 3)``; all are scaled to the height of the first.
        titles: one for each.

    Returns:
        uint8 RGB image on white.
    """
    height = images[0].shape[0]
    size = _text_size(images[0])
    widths = [max(1, round(i.shape[1] * height / i.shape[0])) for i in images]
    lines = [_lines(t, w - 4, size) for t, w in zip(titles, widths, strict=True)]
    above = 5 + (size + 4) * max(map(len, lines))
    columns = []
    for image, words, width in zip(images, lines, widths, strict=True):
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        head = Image.new('RGB', (width, above), _PAPER)
        draw = ImageDraw.Draw(head)
        for place, line in enumerate(words):
            draw.text((2, 3 + place * (size + 4)), line, fill=INK, font=_font(size))
        columns += [np.concatenate([np.asarray(head), image])]
        columns += [np.full((height + above, _GAP, 3), 255, np.uint8)]
    return np.concatenate(columns[:-1], axis=1)


def _lines(text: str, width: int, size: int) -> list[str]:
    """Text in lines of so many pixels, of letters of a size."""
    letters, length = max(1, len(text)), _font(size).getlength
    while max(map(length, lines := wrapped(text, letters).split('\n'))) > width and letters > 1:
        letters -= 1
    return lines
