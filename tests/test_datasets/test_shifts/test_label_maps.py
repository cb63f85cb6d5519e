"""Every value of every table from labels to trainIds (tables written out again, by trainId)."""

import numpy as np
import pytest

from fan_mm.datasets.shifts.label_maps import LABEL_MAPS, label_map
from fan_mm.errors import InputError

# trainId -> values, in the order of the 19 classes; and how many values from 0 upwards a file can hold
CITYSCAPES = [
    *([7], [8], [11], [12], [13], [17], [19], [20], [21], [22], [23], [24], [25], [26], [27], [28]),
    *([31], [32], [33]),
]
WILDDASH = [
    [7, 38, 41, 43, 61, 64, 70, 74, 75, 76, 79],
    [8, 52, 65, 77, 80],
    *([11], [12, 56], [13], [17, 45, 46], [19], [20], [21], [22, 78], [23], [24]),
    [25, 47, 48, 49],
    *([26, 35], [27, 34], [28], [31], [32, 58], [33]),
]
IDD = [
    *([0], [2], [22], [14], [15], [20], [19], [18], [24], [], [25], [4], [5], [9], [10], [11], []),
    *([6], [7]),
]
MAPILLARY_A = [
    *([13, 24, 41], [2, 15], [17], [6], [3], [45, 47], [48], [50], [30], [29], [27], [19]),
    *([20, 21, 22], [55], [61], [54], [58], [57], [52]),
]
MAPILLARY_B = [
    [7, 8, 10, 13, 14, 23, 24],
    [2, 9, 11, 15],
    *([17], [6], [3], [44, 45, 47], [48], [46, 49, 50], [30], [29], [27], [19], [20, 21, 22]),
    *([55], [61], [54], [58], [57], [52]),
]
MAPILLARY_C = [
    *([8, 13, 14, 23, 24], [15], [17], [6], [3], [44, 45, 47], [48], [50], [30], [29], [27], [19]),
    *([20, 21, 22], [55], [61], [54], [58], [57], [52]),
]
MAPILLARY_V2 = [
    [21, *range(35, 45), *range(46, 56), 57, 58, 74],
    *(
        [4, 24],
        [27],
        [12],
        [5],
        [85, 88],
        [90, 91, 92, 93, 94, 95],
        [99, 100, 101, 103],
        [64],
        [63],
    ),
    *([61], [30, 31], [32, 33, 34], [108], [114], [107], [111], [110], [105]),
]
SAME = [[train_id] for train_id in range(19)]
TABLES = {
    'train_ids': (SAME, 19),
    'label_ids': (CITYSCAPES, 34),
    'idd_level3': (IDD, 26),
    'idd_train_ids': (SAME, 19),
    'wilddash': (WILDDASH, 255),
    'mapillary_a': (MAPILLARY_A, 66),
    'mapillary_b': (MAPILLARY_B, 66),
    'mapillary_c': (MAPILLARY_C, 66),
    'mapillary_v2': (MAPILLARY_V2, 124),
}


@pytest.mark.parametrize('name', LABEL_MAPS)
def test_every_value(name):
    by_class, legal = TABLES[name]
    expected = np.full(256, 255)
    for train_id, values in enumerate(by_class):
        expected[values] = train_id
    found = label_map(name)
    np.testing.assert_array_equal(found.table, expected)
    np.testing.assert_array_equal(np.flatnonzero(~found.illegal), [*range(legal), 255])
    assert found.scored == tuple(t for t, values in enumerate(by_class) if values)
    assert found.source


def test_idd_scores_seventeen_classes():
    assert set(range(19)) - set(label_map('idd_level3').scored) == {9, 16}  # terrain, train


def test_no_such_encoding():
    with pytest.raises(InputError, match=r"train_ids, label_ids.*not 'ids'"):
        label_map('ids')
