"""Night images: Dark Zurich and Nighttime Driving."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.acdc import DARK_ZURICH_VAL
from fan_mm.datasets.shifts.pairs import Named, SegmentationSet, encodings_of
from fan_mm.datasets.shifts.paths import nearest
from fan_mm.datasets.shifts.record import add

_SPLITS = ('val', 'train', 'test', 'val_ref', 'train_ref', 'test_ref')
_TIMES = ('night', 'twilight', 'day')
# a reference's name ends like any other image's
_PICTURE = re.compile(r'(?P<key>.+_frame_\d+)(?P<ref>_ref)?_rgb_anon\.(png|jpe?g)', re.I)
_LABEL = re.compile(r'(?P<key>.+_frame_\d+)(?P<ref>_ref)?_gt_(?P<kind>label(Train)?Ids)\.png', re.I)
_NIGHT_DRIVING = re.compile(
    r'(?P<key>.+)_(leftImg8bit\.(png|jpe?g)|gtCoarse_(?P<kind>label(Train)?Ids)\.png)', re.I
)


def _dark_zurich(parts: Sequence[str]) -> Named | None:
    match = _PICTURE.fullmatch(parts[-1]) or _LABEL.fullmatch(parts[-1])
    if match is None:
        return None
    split = nearest(parts, _SPLITS)
    ref = '_ref' if match['ref'] or split.endswith('_ref') else ''
    split = split and split.removesuffix('_ref') + ref
    return Named(
        key=match['key'] + ref,
        encodings=encodings_of(match),
        split=split,
        condition=nearest(parts, _TIMES),
    )


def _night_driving(parts: Sequence[str]) -> Named | None:
    match = _NIGHT_DRIVING.fullmatch(parts[-1])
    if match is None:
        return None
    return Named(key=match['key'], encodings=encodings_of(match), split=nearest(parts, ('test',)))


DARK_ZURICH = add(
    SegmentationSet(
        name='dark_zurich',
        title='Dark Zurich',
        dataset_type='DarkZurichDataset',
        splits=_SPLITS,
        withheld=('test', 'train', 'val_ref', 'train_ref', 'test_ref'),
        conditions=_TIMES,
        splits_differ=True,
        counts={'val': {'night': 50}},
        weather={'night': 'night', 'day': 'clear'},
        files='rgb_anon/SPLIT/night/SEQUENCE/*_rgb_anon.png and '
        'gt/SPLIT/night/SEQUENCE/*_gt_labelTrainIds.png',
        protocol='test: IoU, UIoU and average UIoU on the server; val (50 images) differs considerably from test',
        source='W-zx-Y/DANNet, sakaridis/MGCDA, brdav/cma',
        licence='non-commercial',
        recognise=_dark_zurich,
        marks=re.compile(
            r'(^|/)(train|val|test)(_ref)?/(night|twilight|day)/.*_(rgb_anon|gt_label\w+)\.'
            r'|_ref_rgb_anon\.|_gt_invIds\.'
            rf'|(^|(^|/)val/){DARK_ZURICH_VAL}_frame_\d+_(rgb_anon|gt_label\w+)\.',
            re.I,
        ),
    )
)
NIGHT_DRIVING = add(
    SegmentationSet(
        name='night_driving',
        title='Nighttime Driving',
        dataset_type='NightDrivingDataset',
        splits=('test',),
        conditions=('night',),
        counts={'test': {'night': 50}},
        weather={'night': 'night'},
        files='leftImg8bit/test/night/*_leftImg8bit.png and '
        'gtCoarse_daytime_trainvaltest/test/night/*_gtCoarse_labelTrainIds.png',
        protocol='pooled over 50 images; the labels have known errors, and corrected copies change the score',
        source='brdav/refign, Attila94/CIConv',
        licence='[?]',
        recognise=_night_driving,
        marks=re.compile(
            r'gtCoarse_daytime_trainvaltest|NighttimeDriving|leftImg8bit/test/night/', re.I
        ),
    )
)
