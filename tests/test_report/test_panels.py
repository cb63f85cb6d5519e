"""Painted predictions: the right pixels in the right colours, legends, panels."""

import numpy as np
import pytest

from fan_mm.report import panels
from fan_mm.report.panels import (
    add_legend,
    distinct_palette,
    paint_classification,
    paint_detection,
    paint_segmentation,
    room_for_legend,
    side_by_side,
)

PALETTE = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture
def labels():
    labels = np.zeros((60, 90), np.uint8)
    labels[:, 30:] = 2
    labels[20:40, 50:70] = 255
    return labels


def test_segmentation_mixes_image_and_class_colour(image, labels):
    painted = paint_segmentation(image, labels, PALETTE, alpha=0.5)
    assert painted.dtype == np.uint8 and painted.shape == image.shape
    inside = painted[5, 10].astype(float)
    assert np.allclose(inside, (image[5, 10] + np.array(PALETTE[0], float)) / 2, atol=1)
    assert np.allclose(painted[5, 60], (image[5, 60] + np.array(PALETTE[2], float)) / 2, atol=1)


def test_segmentation_leaves_ignored_pixels_and_strengthens_borders(image, labels):
    painted = paint_segmentation(image, labels, PALETTE, alpha=0.5)
    assert np.array_equal(painted[25:38, 55:68], image[25:38, 55:68])
    border = (0.25 * image[5, 30] + 0.75 * np.array(PALETTE[2], float)).round()
    assert np.allclose(painted[5, 30], border, atol=1)


@pytest.mark.parametrize('alpha, expected', [(0.0, 'image'), (1.0, 'colour')])
def test_segmentation_extremes(image, alpha, expected):
    painted = paint_segmentation(image, np.ones((60, 90), int), PALETTE, alpha)
    wanted = image if expected == 'image' else np.full_like(image, PALETTE[1])
    assert np.array_equal(painted, wanted)


def test_detection_draws_boxes_and_masks_first_on_top(image, monkeypatch):
    monkeypatch.setattr(panels, '_MASK', 1.0)
    masks = np.zeros((2, 60, 90), bool)
    masks[0, 30:50, 30:60] = True
    masks[1, 30:50, 40:80] = True
    boxes = np.array([[30, 30, 60, 50], [40, 30, 80, 50]], float)
    painted = paint_detection(image, boxes, ['a 0.9', 'b 0.8'], PALETTE[:2], masks)
    assert tuple(painted[40, 50]) == PALETTE[0]  # where they overlap, the first wins
    assert tuple(painted[40, 70]) == PALETTE[1]
    assert tuple(painted[50, 45]) == PALETTE[0]  # lower edge of the first box
    assert np.array_equal(painted[55:, :25], image[55:, :25])


def test_detection_without_instances_is_the_image(image):
    assert np.array_equal(paint_detection(image, np.zeros((0, 4)), [], []), image)


@pytest.mark.parametrize('box', [(0, 0, 10, 10), (85, 55, 89, 59), (-20, -20, 200, 200)])
def test_captions_stay_inside(image, box):
    colour = (1, 2, 3)
    painted = paint_detection(image, np.array([box], float), ['word'], [colour])
    plate = (painted == colour).all(axis=2)
    assert plate.sum() > 100  # the caption's plate is seen, whole
    assert (painted != image).any()


@pytest.mark.parametrize(
    'plate, letters', [((160, 120, 120), 0), ((20, 60, 90), 255), ((250, 170, 30), 0)]
)
def test_captions_are_written_in_the_ink_that_reads_better(image, plate, letters):
    painted = paint_detection(image, np.array([[0, 30, 80, 50]], float), ['WWW'], [plate])
    written = painted[17:29, 1:30].astype(int)  # of the image itself nothing is seen here
    assert (abs(written - letters) < 30).all(axis=2).sum() > 4


def test_classification_writes_into_the_corner(image):
    painted = paint_classification(image, ['tram 93 %'])
    changed = (painted != image).any(axis=2)
    assert changed[:20, :40].any() and not changed[40:].any()
    assert (paint_classification(image, ['a', 'b']) != painted).any()


def test_legend_is_appended_and_wraps(image):
    names, colours = ['road', 'traffic light', 'vegetation'], PALETTE
    narrow = add_legend(image, names, colours)
    wide = add_legend(np.tile(image, (1, 6, 1)), names, colours)
    assert np.array_equal(narrow[:60], image)
    assert len(narrow) > len(wide) > 60  # one line where there is room, several where not
    for picture in (narrow[60:], wide[60:]):
        for colour in colours:
            assert (picture == colour).all(axis=2).sum() > 50
    assert np.array_equal(add_legend(image, [], []), image)


def test_a_legend_begins_with_its_heading():
    image = np.zeros((40, 400, 3), np.uint8)
    found = [add_legend(image, ['lost'], [(255, 0, 0)], heading)[40:] for heading in ('', 'wrong:')]
    starts = [(strip == (255, 0, 0)).all(2).any(0).argmax() for strip in found]
    assert starts[1] > starts[0] + 30
    assert (found[1][:, : starts[1] - 5] < 100).any()  # the words


def test_side_by_side(image):
    half = np.full((30, 20, 3), 7, np.uint8)
    row = side_by_side([image, half], ['first', 'second'])
    title = row.shape[0] - 60
    assert title > 10
    assert side_by_side([image], ['']).shape == side_by_side([image], ['first']).shape
    assert np.array_equal(row[title:, :90], image)
    assert (row[title:, 96:] == 7).all() and row.shape[1] == 90 + 6 + 40
    assert (row[:, 90:96] == 255).all()
    assert (row[:title, :90] < 128).any() and (row[:title, 96:] < 128).any()  # the titles


def test_a_title_wider_than_its_image_has_lines(image):
    """Models of one config differ in their names' ends."""
    name = 'fan_hybrid_s (seed_'
    one, other = (side_by_side([image, image], ['image', f'{name}{i})']) for i in (1, 2))
    title = one.shape[0] - 60
    assert one.shape[1] == 2 * 90 + 6 and np.array_equal(one[title:, 96:], image)
    assert np.array_equal(one[:, :90], other[:, :90]) and not np.array_equal(one, other)
    assert (one[:title, -2:] == 255).all()  # no letter is cut


def test_distinct_palette():
    for count in (0, 1, 19, 80, 1000):
        palette = distinct_palette(count)
        assert len(palette) == count
        assert all(0 <= v <= 255 for colour in palette for v in colour)
    assert len(set(distinct_palette(80))) == 80


@pytest.mark.parametrize('width', [20, 48, 90, 200])
def test_the_longest_name_of_a_legend_fits(width):
    names, colours = ['sky', 'traffic light'], [(0, 0, 255), (255, 0, 0)]
    picture = np.zeros((32, width, 3), np.uint8)
    found = add_legend(room_for_legend(picture, names), names, colours)
    assert np.array_equal(found[:32, :width], picture)
    assert (found[32:, -4:] == 255).all()  # nothing is cut
    assert found.shape[1] == max(width, room_for_legend(picture[:, :1], names).shape[1])
    assert room_for_legend(picture, []) is picture


def test_wrong_pixels_stand_out_from_a_pale_picture():
    image = np.array([[[255, 255, 255], [0, 0, 0], [0, 0, 0]]], np.uint8)
    painted = panels.paint_wrong(image, np.array([[False, False, True]]))
    assert painted[0, :2].tolist() == [[255] * 3, [128] * 3]
    assert tuple(painted[0, 2]) == tuple(panels.WRONG)
