"""What corruptions share: work in strips has no seams, lines end where the picture does."""

import cv2
import numpy as np
import pytest
from corruption_pictures import static

from fan_mm.corruptions.filters import (
    central_crop,
    gaussian,
    line_blur,
    over_channels,
    pieces,
    stretch,
    strips,
    to_uint8,
)


@pytest.mark.parametrize('shape', [(1000, 700, 3), (33, 40), (5, 90000), (2048, 64), (1, 7)])
@pytest.mark.parametrize('least', [1, 32, 192])
def test_strips_are_all_rows_once(shape, least):
    image = np.empty(shape, np.uint8)
    found = list(strips(image, least))
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(range(shape[0]))
    sizes = {rows.stop - rows.start for rows in found[:-1]}
    assert len(sizes) <= 1 and all(size >= least for size in sizes)
    values = image.size // shape[0]
    for size in sizes:
        assert size == least or size * values <= 2**17 < (size + 1) * values


def test_pieces_are_views_of_all_values():
    values = np.zeros((300, 500), np.uint8)
    found = list(pieces(values))
    assert [len(piece) for piece in found] == [2**16, 2**16, 150000 - 2**17]
    for piece in found:
        piece += 1
    assert (values == 1).all()


@pytest.mark.parametrize('sigma', [0.7, 2.0, 6.0])
@pytest.mark.parametrize('width', [40, 700])
def test_a_gaussian_has_no_seams(sigma, width):
    image = cv2.resize(static(30, 20), (width, 900), interpolation=cv2.INTER_LINEAR)[..., 1].copy()
    assert len(list(strips(image, 192))) > 1 or width == 40
    wide = image.astype(np.uint16) << 8
    size = 2 * int(4 * sigma + 0.5) + 1
    whole = cv2.GaussianBlur(wide, (size, size), sigma, borderType=cv2.BORDER_REPLICATE)
    assert (gaussian(wide, sigma) == whole).all()
    assert (gaussian(image, sigma) == whole >> 8).all()


def slow_line(values, radius, sigma, angle):
    """The same in double precision, pixel by pixel of the line."""
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    height, width = values.shape
    y, x = np.mgrid[:height, :width]
    total = np.zeros(values.shape)
    for i, weight in enumerate(weights):
        dy = int(np.ceil(i * np.sin(np.radians(angle)) - 0.5))
        dx = int(np.ceil(i * np.cos(np.radians(angle)) - 0.5))
        if abs(dy) >= height or abs(dx) >= width:
            break
        total += weight * values[(y + dy).clip(0, height - 1), (x + dx).clip(0, width - 1)]
    return total


@pytest.mark.parametrize('angle', [0, 17, 90, -90, 180, -135])
@pytest.mark.parametrize('shape', [(40, 60), (9, 60), (60, 9)])
def test_a_line_ends_where_the_picture_does(angle, shape):
    values = static(*shape)[..., 0].copy()
    found = line_blur(values, 10, 5.0, angle, 0, 0.5)
    assert np.abs(found - slow_line(values, 10, 5.0, angle)).max() < 0.52


def test_a_line_has_no_seams():
    values = static(700, 250)[..., 0].copy()
    assert len(list(strips(values, 32))) > 1
    found = line_blur(values, 7, 4.0, 63, 0, 0.5)
    assert np.abs(found - slow_line(values, 7, 4.0, 63)).max() < 0.52


def test_the_unit_and_the_offset_of_a_line():
    values = np.full((40, 40), 100 * 16, np.uint16)
    assert (line_blur(values, 5, 3.0, 30, 4, 0) == 100).all()
    assert (line_blur(values + 8, 5, 3.0, 30, 4, 0) == 100).all()  # 100.5
    assert (line_blur(values + 8, 5, 3.0, 30, 4, 0.5) == 101).all()


def test_grey_levels_are_truncated_and_clipped():
    values = np.array([-3, 0, 0.4, 0.9, 254.9999, 255.0, 256, 300, 41.9], np.float32)
    assert to_uint8(values).tolist() == [0, 0, 0, 0, 255, 255, 255, 255, 41]


def test_over_channels():
    plane = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert over_channels(plane, plane) is plane
    coloured = over_channels(plane, np.empty((2, 3, 3), np.uint8))
    assert coloured.shape == (2, 3, 3) and (coloured == plane[..., None]).all()


@pytest.mark.parametrize(
    ('length', 'factor', 'found'), [(100, 2, (25, 50)), (101, 2, (25, 51)), (33, 4.5, (12, 8))]
)
def test_central_crop(length, factor, found):
    assert central_crop(length, factor) == found


@pytest.mark.parametrize(('size', 'factor'), [(2, 1), (2, 5), (33, 1.01), (50, 3)])
def test_a_stretched_axis_begins_and_ends_as_the_axis(size, factor):
    below, weight = stretch(size, factor)
    assert len(below) == len(weight) == round(size * factor)
    assert weight.dtype == np.float32
    assert below.min() >= 0 and below.max() <= size - 2
    assert (below[0] + weight[0], below[-1] + weight[-1]) == (0, size - 1)
    assert np.allclose(np.diff(below + weight), (size - 1) / (len(below) - 1), atol=1e-5)
