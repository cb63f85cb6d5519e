"""Objects that mmdet and pycocotools take, and that mean something else: said, and nothing else is."""

import copy
import re

import pytest
from test_coco_files import CLASSES, write

from fan_mm.engine.checks.coco_files import check_as_dataset, check_as_truth, read_coco
from fan_mm.engine.checks.coco_oddities import _extent, _overlap, odd_objects
from fan_mm.errors import InputError

MASKS = 'LoadAnnotations(with_mask=True)'


def each(**keys):
    def change(content):
        for entry in content['annotations']:
            entry.update(copy.deepcopy(keys))

    return change


def two_points(content):
    content['annotations'][2]['segmentation'] = [[1, 2, 3, 4], [1, 2, 3]]


def scaled(x, y=None):
    """Outlines by other units than the boxes'; y before x without any."""

    def change(content):
        for entry in content['annotations']:
            entry['bbox'] = [10, 30, 20, 20]
            corners = [(10, 30), (30, 30), (30, 50), (10, 50)]
            points = [(a * x, b * y) if y else (b, a) for a, b in corners]
            entry['segmentation'] = [[value for point in points for value in point]]

    return change


def half_hidden(content):
    each(segmentation=[[10, 10, 18, 10, 18, 40, 10, 40]])(content)


def flat_without_area(content):
    content['annotations'][2].update(segmentation=[1, 2, 3, 4, 5, 6], area=0)


def without_area(number, area=0, **keys):
    def change(content):
        for entry in content['annotations'][:number]:
            entry.update(area=area, **keys)

    return change


def one_right(content):
    each(bbox=[50, 30, 79, 59])(content)
    content['annotations'][3]['bbox'] = [50, 30, 20, 20]


@pytest.mark.parametrize(
    ('change', 'masks', 'words'),
    [
        (each(), MASKS, None),
        (each(bbox=[50, 30, 79, 59]), None, '4 of 4 boxes extend beyond .* as .x1, y1, x2, y2.'),
        (one_right, None, None),  # a box that has no other reading
        (each(bbox=[10, 10, 30, 30]), None, None),  # boxes in both readings, inside
        (each(bbox=[70, 50, 30, 30]), None, None),  # beyond, as where objects were cut off
        (each(bbox=[50, 30, 79, 59], iscrowd=1), None, None),
        (two_points, MASKS, r'1 of 4 objects have no polygon .* annotation 12\): LoadAnnotations'),
        (two_points, None, None),
        (each(segmentation={'counts': [1], 'size': [60, 80]}), MASKS, None),
        (flat_without_area, MASKS, None),
        (scaled(1, 1), MASKS, None),
        (
            scaled(1 / 80, 1 / 60),
            MASKS,
            r'4 of 4 objects are not where .* annotation 10\): polygons',
        ),
        (scaled(4, 4), MASKS, '4 of 4 objects are not where their boxes are'),
        (scaled(1), MASKS, '4 of 4 objects are not where their boxes are'),
        (scaled(1 / 80, 1 / 60), None, None),
        (half_hidden, MASKS, None),
        (without_area(3), None, r'3 of 4 objects have no area above 0 \(.* annotation 10\): mmdet'),
        (without_area(3, -400.0), None, '3 of 4 objects have no area above 0'),
        (without_area(2), None, None),  # COCO has some, by rounding
        (without_area(3, bbox=[5, 5, 0.4, 9]), None, None),  # too small for mmdet anyhow
        (without_area(3, None, bbox=[90, 5, 9, 9]), None, None),  # outside, where nobody looks
    ],
)
def test_odd_objects(tmp_path, change, masks, words):
    file = read_coco(write(tmp_path, change))
    check_as_dataset(file, CLASSES, masks)
    notes = odd_objects(file, CLASSES, masks)
    assert len(notes) == (words is not None)
    assert words is None or re.search(words, notes[0]), notes


def crowd_outside(content):
    content['annotations'][2].update(iscrowd=1, bbox=[80, 60, 1, 1])


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (each(), None),
        (each(bbox=[5, 5, -1, 3]), 'annotation 10 has bbox .*: of negative size, it always'),
        (each(bbox=[0, 5, 0, 3]), 'annotation 10 has bbox .* of no size, it always'),
        (each(bbox=[80, 5, 9, 9]), 'outside its image, it always counts as missed'),
        (each(bbox=[5, -9, 9, 9]), 'outside its image'),
        (each(bbox=[-5, -5, 9, 9]), None),
        (crowd_outside, None),
        (
            each(iscrowd=1),
            'all 4 evaluated annotations have iscrowd 1, so there is no score',
        ),
        (lambda content: content.pop('annotations'), 'has no annotations, so there is no score'),
    ],
)
def test_truth_that_never_counts(tmp_path, change, words):
    notes = check_as_truth(read_coco(write(tmp_path, change)), CLASSES, None, ['bbox'])
    assert len(notes) == (words is not None)
    assert words is None or re.search(words, notes[0]), notes


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'it is empty'),
        (b'{"images": [', 'it is not JSON in UTF-8 .Expecting value'),
        ('{"images": []}'.encode('utf-16'), 'it is not JSON in UTF-8 .*utf-8'),
        (b'[]', 'it needs lists of images, annotations and categories'),
        (b'{"images": [], "annotations": []}', 'it needs lists of'),
    ],
)
def test_what_is_no_annotation_file(tmp_path, content, words):
    file = tmp_path / 'a.json'
    file.write_bytes(content)
    with pytest.raises(
        InputError, match=rf'a\.json is not a COCO annotation file: {words}'
    ) as error:
        read_coco(file)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('box', 'extent', 'share'),
    [
        ([10, 20, 30, 0], (10, 20, 40, 20), 1),  # lines, which lie on each other
        ([10, 20, 0, 30], (10, 20, 10, 50), 1),
        ([0, 0, 9, 9], (0, 0, 9, 4), 0.5),
        ([0, 0, 9, 9], (5, 5, 14, 14), 25 / 175),
        ([0, 0, 9, 9], (20, 20, 29, 29), 0),  # apart on both axes
        ([10, 10, -2, 3], (20, 20, 23, 20), 0),  # of negative size
    ],
)
def test_the_share_that_boxes_and_outlines_have_in_common(box, extent, share):
    assert _overlap(box, extent) == pytest.approx(share)


@pytest.mark.parametrize(
    ('segmentation', 'extent'),
    [
        ([[1, 8, 3, 2], [7, 4, 5, 6]], (1, 2, 7, 8)),
        *((value, None) for value in ([], [[]], [[1]], [['a', 'b']], {'counts': [1]}, None)),
    ],
)
def test_the_extent_of_polygons(segmentation, extent):
    assert _extent({'segmentation': segmentation}) == extent
