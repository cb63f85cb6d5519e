"""One image of all corruptions: 19 rows, by the clean image and five severities."""

import io
import math
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from fan_mm.corruptions import GROUPS, HOLD_OUTS, SEVERITIES, corrupt, seed_for
from fan_mm.errors import InputError
from fan_mm.fileio import write_whole
from fan_mm.images import read_image
from fan_mm.report.colours import INK, LINE, QUIET
from fan_mm.report.labels import corruption_label

_AREA = 224 * 224  # pixels of a tile, so that the corruptions look as strong as on ImageNet-C
_SMALLEST = (
    96,
    208,
)  # pixels, (H, W); tiles of smaller images are enlarged to leave room for labels
_ASPECTS = (0.5, 4.0)  # width / height of tiles; longer images are cut
_FORMATS = ('.png', '.jpg', '.jpeg', '.pdf', '.svg')
_DPI = 200


def write_contact_sheet(
    image_path: str | os.PathLike, out: str | os.PathLike, seed: int = 0
) -> None:
    """Draw the contact sheet of an image file into a PNG, JPEG, PDF or SVG file.

    Raises:
        InputError: the image cannot be read or is smaller than 32 pixels, or the suffix is unknown.
    """
    out = Path(out)
    if out.suffix.lower() not in _FORMATS:
        raise InputError(f'--out {out}: choose one of {", ".join(_FORMATS)}')
    try:
        Path(image_path).open('rb').close()
    except OSError as error:
        raise InputError(f'cannot read {image_path}: {error.strerror}') from error
    image = read_image(Path(image_path))
    if image is None:
        raise InputError(f'{image_path} is not an image that OpenCV can read')
    if min(image.shape[:2]) < 32:
        raise InputError(f'{image_path} is smaller than 32 pixels')
    figure = contact_sheet(image, seed)
    suffix = out.suffix.lower()
    lossy: dict[str, Any] = {'pil_kwargs': {'quality': 80}} if suffix in ('.jpg', '.jpeg') else {}
    content = io.BytesIO()
    figure.savefig(content, format=suffix[1:], dpi=_DPI, **lossy)
    write_whole(out, content.getvalue())


def contact_sheet(image: np.ndarray, seed: int = 0) -> Figure:
    """Draw the contact sheet of an image.

    Args:
        image: uint8 RGB ``(H, W, 3)``, at least 32 pixels high and wide. It is scaled down to tile
            size before it is corrupted, as the strength of most corruptions depends on the size.
        seed: base seed of the corruptions.
    """
    tile = _tile(image)
    height, width = tile.shape[:2]
    zoom = max(1, math.ceil(_SMALLEST[0] / height), math.ceil(_SMALLEST[1] / width))
    rows = [
        [tile] + [corrupt(tile, n, s, seed=seed_for(seed, 'sheet', n, s)) for s in SEVERITIES]
        for names in GROUPS.values()
        for n in names
    ]
    return _draw(np.repeat(np.repeat(rows, zoom, axis=2), zoom, axis=3), (height, width))


def _tile(image: np.ndarray) -> np.ndarray:
    """Cut extremely long images, then scale down to `_AREA`; never up."""
    height, width = image.shape[:2]
    low, high = _ASPECTS
    keep_width = min(width, round(height * high))
    keep_height = min(height, round(width / low))
    top, left = (height - keep_height) // 2, (width - keep_width) // 2
    image = image[top : top + keep_height, left : left + keep_width]
    scale = (_AREA / image[..., 0].size) ** 0.5
    if scale >= 1:
        return np.ascontiguousarray(image)
    size = (round(keep_width * scale), round(keep_height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _draw(tiles: np.ndarray, size: tuple[int, int]) -> Figure:
    """Arrange the tiles, uint8 ``(19, 6, H, W, 3)``, with labels."""
    _, columns, height, width, _ = tiles.shape
    point = _DPI / 72  # pixels
    gap = 4
    group_gap = 5 * gap
    left, right, top, bottom = (round(p * point) for p in (126, 6, 26, 26))
    x_of = [left + column * (width + gap) for column in range(columns)]
    for column in range(1, columns):
        x_of[column] += group_gap - gap  # set the clean column apart
    y = top
    y_of = {}
    for names in GROUPS.values():
        for name in names:
            y_of[name] = y
            y += height + gap
        y += group_gap - gap
    total_width = x_of[-1] + width + right
    total_height = y - group_gap + bottom
    page = np.full((total_height, total_width, 3), 255, np.uint8)
    for row, y in zip(tiles, y_of.values(), strict=True):
        for tile, x in zip(row, x_of, strict=True):
            page[y : y + height, x : x + width] = tile

    figure = Figure(figsize=(total_width / _DPI, total_height / _DPI), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(page, extent=(0, total_width, total_height, 0), interpolation='none', aspect='auto')
    axes.axis('off')
    text: dict[str, Any] = {'fontsize': 11, 'color': INK}
    for column, x in enumerate(x_of):
        label = f'Severity {SEVERITIES[column - 1]}' if column else 'Clean'
        axes.text(x + width / 2, top - 6 * point, label, ha='center', va='baseline', **text)
    for group, names in GROUPS.items():
        first, last = y_of[names[0]], y_of[names[-1]] + height
        bar = 22 * point
        axes.plot((bar, bar), (first, last), color=LINE, linewidth=2, solid_capstyle='butt')
        axes.text(
            bar - 5 * point,
            (first + last) / 2,
            group.capitalize(),
            rotation=90,
            ha='right',
            va='center',
            fontsize=12,
            fontweight='bold',
            color=INK,
        )
        for name in names:
            label = corruption_label(name) + ('*' if name in HOLD_OUTS else '')
            axes.text(
                left - 5 * point, y_of[name] + height / 2, label, ha='right', va='center', **text
            )
    axes.text(
        x_of[0],
        total_height - 8 * point,
        f'All images were corrupted at {size[1]} x {size[0]} pixels.   '
        '* hold-out of ImageNet-C, not in its mean',
        ha='left',
        va='baseline',
        fontsize=10,
        color=QUIET,
    )
    return figure
