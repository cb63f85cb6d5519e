"""Label encodings of street data sets as tables to Cityscapes trainIds: 0 to 18, 255 is ignored.

A value that an encoding does not have differs from one that it has but nobody scores: the latter is
ignored, the former means that a file has another encoding, and is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fan_mm.datasets.segmentation import IGNORED
from fan_mm.errors import InputError

CLASSES = 19


@dataclass(frozen=True)
class LabelMap:
    """The mapping from the values of a label file to trainIds.

    Attributes:
        title: what such labels are called, for messages.
        train_ids: value -> trainId; legal values that are not listed are ignored.
        legal: values that a file can hold.
        source: where the table is from.
        is_closed: whether `legal` is known to be complete; if not, other values are ignored, not refused.
    """

    title: str
    train_ids: Mapping[int, int]
    legal: frozenset[int]
    source: str
    is_closed: bool = True

    @cached_property
    def table(self) -> np.ndarray:
        """uint8 (256,): the trainId, or 255, of each value of 8 bits."""
        table = np.full(256, IGNORED, np.uint8)
        for value, train_id in self.train_ids.items():
            table[value] = train_id
        return table

    @cached_property
    def illegal(self) -> np.ndarray:
        """Bool (256,): the values that no file of this encoding holds."""
        return self.is_closed & ~np.isin(np.arange(256), list(self.legal))

    @property
    def scored(self) -> tuple[int, ...]:
        """The trainIds that labels of this encoding can hold, ascending; others cannot be scored."""
        return tuple(sorted(set(self.train_ids.values())))


def _read(*rows: str) -> dict[int, int]:
    """A table of rows like ``13,20-22:0 2:1``: values and ranges of values before their trainId."""
    table = {}
    for pair in ' '.join(rows).split():
        values, _, train_id = pair.partition(':')
        for part in values.split(','):
            first, _, last = part.partition('-')
            for value in range(int(first), int(last or first) + 1):
                if value in table:
                    raise ValueError(f'{value} is listed twice')
                table[value] = int(train_id)
    return table


def _values(last: int, *others: int) -> frozenset[int]:
    return frozenset({*range(last + 1), *others})


def _without(table: Mapping[int, int], values: Iterable[int]) -> dict[int, int]:
    return {value: train_id for value, train_id in table.items() if value not in set(values)}


_SAME = {train_id: train_id for train_id in range(CLASSES)}
_CITYSCAPES = _read(
    '7:0 8:1 11:2 12:3 13:4 17:5 19:6 20:7 21:8 22:9 23:10 24:11 25:12 26:13 27:14 28:15 31:16 32:17',
    '33:18',
)
_WILDDASH = _CITYSCAPES | _read(
    '34:14 35:13 38:0 41:0 43:0 45:5 46:5 47:12 48:12 49:12 52:1 56:3 58:17 61:0 64:0 65:1 70:0 74:0',
    '75:0 76:0 77:1 78:9 79:0 80:1',
)
_IDD = _read(
    '0:0 2:1 22:2 14:3 15:4 20:5 19:6 18:7 24:8 25:10 4:11 5:12 9:13 10:14 11:15 6:17 7:18'
)
_MAPILLARY_A = _read(
    '13,24,41:0 2,15:1 17:2 6:3 3:4 45,47:5 48:6 50:7 30:8 29:9 27:10 19:11 20-22:12 55:13 61:14 54:15',
    '58:16 57:17 52:18',
)
_MAPILLARY_B = _without(_MAPILLARY_A, [41]) | _read('7,8,10,14,23:0 9,11:1 44:5 46,49:7')
_MAPILLARY_C = _without(_MAPILLARY_A, [2, 41]) | _read('8,13,14,23,24:0 15:1 44,45,47:5')
_MAPILLARY_V2 = _read(
    '21,35-44,46-55,57,58,74:0 4,24:1 27:2 12:3 5:4 85,88:5 90-95:6 99-101,103:7 64:8 63:9 61:10',
    '30,31:11 32-34:12 108:13 114:14 107:15 111:16 110:17 105:18',
)

LABEL_MAPS: dict[str, LabelMap] = {
    'train_ids': LabelMap('Cityscapes trainIds', _SAME, _values(18, 255), 'cityscapesScripts'),
    # the license plate is -1, which is 255 in 8 bits
    'label_ids': LabelMap(
        'Cityscapes labelIds', _CITYSCAPES, _values(33, 255), 'cityscapesScripts, labels.py'
    ),
    'idd_level3': LabelMap('IDD level3Ids', _IDD, _values(25, 255), 'naver/relis'),
    'idd_train_ids': LabelMap(
        'IDD csTrainIds', _SAME, _values(18, 255), 'AutoNUE/public-code, anue_labels.py'
    ),
    'wilddash': LabelMap(
        'WildDash ids',
        _WILDDASH,
        _values(80, 255),
        'ozendelait/wilddash_scripts; brdav/cma agrees',
        is_closed=False,  # the highest id that is nobody's class is not in our sources
    ),
    'mapillary_a': LabelMap(
        'Mapillary Vistas v1.2, map A',
        _MAPILLARY_A,
        _values(65, 255),
        'shachoi/RobustNet, lhoyer/HRDA',
    ),
    'mapillary_b': LabelMap(
        'Mapillary Vistas v1.2, map B', _MAPILLARY_B, _values(65, 255), 'w1oves/Rein'
    ),
    'mapillary_c': LabelMap(
        'Mapillary Vistas v1.2, map C',
        _MAPILLARY_C,
        _values(65, 255),
        'maunzzz/cross-season-segmentation',
    ),
    'mapillary_v2': LabelMap(
        'Mapillary Vistas v2.0, our own map, untested',
        _MAPILLARY_V2,
        _values(123, 255),
        'none published; made like map A',
    ),
}


def label_map(name: str) -> LabelMap:
    """An encoding by its name.

    Raises:
        InputError: there is no encoding of that name.
    """
    if name not in LABEL_MAPS:
        raise InputError(f'the label encoding must be one of {", ".join(LABEL_MAPS)}, not {name!r}')
    return LABEL_MAPS[name]
