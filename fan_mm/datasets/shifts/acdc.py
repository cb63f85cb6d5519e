"""ACDC: fog, night, rain and snow, with reference pictures of the same places in good weather."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.pairs import SegmentationSet
from fan_mm.datasets.shifts.paths import nearest
from fan_mm.datasets.shifts.record import Named, add

_SPLITS = ('val', 'train', 'test', 'val_ref', 'train_ref', 'test_ref')
_CONDITIONS = ('fog', 'night', 'rain', 'snow')
_PICTURE = re.compile(r'(?P<key>.+_frame_\d+)_rgb(?P<ref>_ref)?_anon\.(png|jpe?g)', re.I)
_LABEL = re.compile(
    r'(?P<key>.+_frame_\d+)_gt(?P<ref>_ref)?_(?P<kind>labelTrainIds|labelIds)\.png', re.I
)
_ENCODINGS = {'labeltrainids': 'train_ids', 'labelids': 'label_ids'}


def _told(parts: Sequence[str]) -> Named | None:
    match = _PICTURE.fullmatch(parts[-1]) or _LABEL.fullmatch(parts[-1])
    if match is None:
        return None
    kind = match.groupdict().get('kind')
    split = nearest(parts, _SPLITS).removesuffix('_ref')
    ref = '_ref' if match['ref'] else ''
    return Named(
        key=match['key'] + ref,
        encodings=(_ENCODINGS[kind.lower()],) if kind else (),
        split=split and split + ref,
        condition=nearest(parts, _CONDITIONS),
    )


ACDC = add(
    SegmentationSet(
        name='acdc',
        title='ACDC',
        dataset_type='ACDCDataset',
        encodings=('train_ids', 'label_ids'),
        splits=_SPLITS,
        withheld=('test', 'test_ref'),
        conditions=_CONDITIONS,
        weather={name: name for name in _CONDITIONS},
        protocol='test: the server scores the subsets all, fog, night, rain, snow; papers quote "all", '
        'taken to be pooled over conditions (official wording not seen). The mean of four differs.',
        source='brdav/cma, Wally0924/Pair-SAM',
        licence='registration; non-commercial (not verified)',
        told=_told,
        marks=re.compile(
            r'(^|/)(fog|night|rain|snow)/(train|val|test)(_ref)?/.*_rgb_(ref_)?anon\.', re.I
        ),
    )
)
