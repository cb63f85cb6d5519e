"""Which pictures a sweep keeps, how they are written and what results.json says of them."""

import logging

import cv2
import numpy as np
import pytest
import torch

from fan_mm.evaluation.cells import CLEAN, Cell, CellRecord
from fan_mm.evaluation.gallery import (
    MAX_WIDTH,
    Gallery,
    commented,
    encode,
    entries,
    file_name,
    one_of_each,
)

RED = np.zeros((8, 12, 3), np.uint8) + np.array([200, 30, 10], np.uint8)


def read(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def paint(image, output):
    return {'image': image, 'prediction': output, 'ground_truth': RED}


@pytest.mark.parametrize(
    ('levels', 'kept'),
    [
        ((1, 2, 3, 4, 5), 3),
        ((5, 4), 4),
        ((2, 1), 2),
        ((1,), 1),
        ((4, 2), 2),
        ((5,), 5),
        ((3, 2), 3),
    ],
)
def test_one_severity_of_each_corruption_must_have_pictures(levels, kept):
    gallery = Gallery(2, paint, {'fog': levels, 'snow': (3,)}, samples=10)
    assert gallery.cells == {CLEAN, Cell('fog', kept), Cell('snow', 3)}
    shown = one_of_each(
        [dict(key=key, corruption='fog', severity=s) for s in levels for key in 'ab']
        + [dict(key='a', corruption='snow', severity=5)]
    )
    assert [(e['key'], e['corruption'], e['severity']) for e in shown] == [
        ('a', 'fog', kept),
        ('b', 'fog', kept),
        ('a', 'snow', 5),
    ]


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
def test_pictures_are_of_the_wanted_samples_in_rgb(order):
    gallery = Gallery(1, paint, {'fog': (1,)}, samples=4, channel_order=order)
    (wanted,) = gallery.positions
    given = RED[..., ::-1] if order == 'bgr' else RED
    inputs = [torch.from_numpy(given.copy()).permute(2, 0, 1)] * 4
    taken = gallery.take(Cell('fog', 1), range(4), {'inputs': inputs}, [RED] * 4)
    assert set(taken) == {wanted}
    assert set(taken[wanted]) == {'image', 'prediction'}
    assert np.abs(read(taken[wanted]['image']).astype(int) - RED).max() < 6
    clean = gallery.take(CLEAN, range(4), {'inputs': inputs}, [RED] * 4)
    assert set(clean[wanted]) == {'image', 'prediction', 'ground_truth'}  # the same in every cell
    assert gallery.take(CLEAN, range(4), {'inputs': [None] * 4}, [RED] * 4) == {}


def test_pictures_of_a_model_that_takes_grey_images():
    gallery = Gallery(1, paint, {'fog': (1,)}, samples=1)
    (taken,) = gallery.take(CLEAN, [0], {'inputs': [torch.full((1, 8, 9), 90)]}, [RED]).values()
    np.testing.assert_array_equal(read(taken['image']), np.full((8, 9, 3), 90))


def test_what_cannot_be_painted_is_said_once_and_fails_nothing(caplog):
    said = []
    gallery = Gallery(4, lambda *_: said.append(1) or 1 / 0, {'fog': (1,)}, samples=4)
    batch = {'inputs': [torch.zeros(3, 8, 8)] * 4}
    with caplog.at_level(logging.WARNING):
        assert gallery.take(CLEAN, range(4), batch, [RED] * 4) == {}
        assert gallery.take(CLEAN, range(4), batch, [RED] * 4) == {}
    assert said == [1]


@pytest.mark.parametrize(
    ('width', 'height', 'size'),
    [
        (MAX_WIDTH, 100, (100, MAX_WIDTH)),
        (2 * MAX_WIDTH, 100, (50, MAX_WIDTH)),
        (MAX_WIDTH + 1, 3, (3, MAX_WIDTH)),
        (4 * MAX_WIDTH, 1, (1, MAX_WIDTH)),
        (40, 900, (900, 40)),
    ],
)
def test_wide_pictures_are_made_smaller(width, height, size):
    picture = np.broadcast_to(RED[:1, :1], (height, width, 3))
    found = read(encode(picture))
    assert found.shape[:2] == size
    assert np.abs(found.astype(int) - RED[0, 0]).max() < 6


def test_file_names_are_in_the_samples_order():
    assert file_name(Cell('fog', 2), 7, 'error') == 'images/fog_2/000007_error.jpg'


def test_entries_join_each_corrupted_picture_with_its_clean_one():
    def record(cell, *images):
        return CellRecord(cell.corruption, cell.severity, 'done', images=list(images))

    a = dict(key='a', image='a0', prediction='p0', ground_truth='g', error='e0')
    found = entries(
        [
            record(CLEAN, a),
            record(Cell('fog', 2), dict(key='a', image='a1', prediction='p1', error='e1')),
            record(Cell('snow', 1), dict(key='b', image='b1', prediction='p2')),
        ]
    )
    assert [(e['key'], e['corruption'], e['severity']) for e in found] == [
        ('a', 'fog', 2),
        ('b', 'snow', 1),
    ]
    assert found[0]['images'] == dict(
        clean='a0',
        corrupted='a1',
        prediction_clean='p0',
        prediction_corrupted='p1',
        error_clean='e0',
        error_corrupted='e1',
        ground_truth='g',
    )
    assert found[1]['images'] == dict(corrupted='b1', prediction_corrupted='p2')


def test_a_comment_stands_behind_the_header():
    picture = encode(np.full((8, 8, 3), 90, np.uint8))
    said = commented(picture, 'ACDC val: fog, clean')
    header = 20  # start of the image, and JFIF's own segment
    assert said[:header] == picture[:header] and said[6:10] == b'JFIF'
    assert said[header:].startswith(b'\xff\xfe\x00\x16ACDC val: fog, clean\xff')
    whole = cv2.imdecode(np.frombuffer(said, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(whole, cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR))
