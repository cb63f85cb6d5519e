"""MUSES: clear, fog, rain and snow, each by day and by night."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fan_mm.datasets.shifts.pairs import Named, SegmentationSet, encodings_of
from fan_mm.datasets.shifts.paths import nearest
from fan_mm.datasets.shifts.record import add
from fan_mm.errors import InputError

_SPLITS = ('val', 'train', 'test')
_WEATHER, _TIMES = ('clear', 'fog', 'rain', 'snow'), ('day', 'night')
_FILE = re.compile(
    r'(?P<key>REC\d+_frame_\d+)_(frame_camera\.(png|jpe?g)|gt_(?P<kind>label(Train)?Ids)\.png)',
    re.I,
)


def _recognise(parts: Sequence[str]) -> Named | None:
    match = _FILE.fullmatch(parts[-1])
    if match is None:
        return None
    weather, time = nearest(parts, _WEATHER), nearest(parts, _TIMES)
    return Named(
        key=match['key'],
        encodings=encodings_of(match),
        split=nearest(parts, _SPLITS),
        condition=f'{weather}/{time}' if weather and time else '',  # else as meta.json says
    )


def _read_meta(file: Path) -> dict[str, str]:
    """Scene -> condition; scenes may lie in groups, as of splits.

    Raises:
        InputError: it is no such file.
    """

    def scenes(node: Mapping) -> dict[str, str]:
        found = {}
        for name, value in node.items():
            if isinstance(value, dict) and {'weather', 'time_of_day'} <= value.keys():
                found[name] = f'{value["weather"]}/{value["time_of_day"]}'.lower()
            elif isinstance(value, dict):
                found |= scenes(value)
        return found

    try:
        return scenes(json.loads(file.read_bytes()))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f'{file} is not a meta.json of MUSES: {error!r}') from None


MUSES = add(
    SegmentationSet(
        name='muses',
        title='MUSES',
        dataset_type='MUSESDataset',
        splits=_SPLITS,
        withheld=('test',),
        conditions=tuple('/'.join(pair) for pair in itertools.product(_WEATHER, _TIMES)),
        counts={'val': 250, 'train': 1500},
        # foggy nights are neither fog alone nor night alone
        weather={f'{name}/day': name for name in _WEATHER} | {'clear/night': 'night'},
        files='frame_camera/SPLIT/WEATHER/TIME/*_frame_camera.png and '
        'gt_semantic/SPLIT/WEATHER/TIME/*_gt_labelTrainIds.png',
        protocol='test: mIoU on the server; sources disagree on whether the test labels are public [?]',
        source='timbroed/MUSES, timbroed/CAFuser',
        licence='registration; non-commercial',
        recognise=_recognise,
        list_conditions=('meta.json', _read_meta),
        marks=re.compile(r'(^|/)REC\d+_frame_\d+_', re.I),
    )
)
