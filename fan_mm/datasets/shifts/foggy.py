"""Real fog: Foggy Driving and Foggy Zurich."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.pairs import Named, SegmentationSet, Subset, by_folder, encodings_of
from fan_mm.datasets.shifts.paths import below, nearest
from fan_mm.datasets.shifts.record import add

_DRIVING_FOLDERS = ('test', 'test_extra')
_DRIVING = re.compile(
    r'(?P<key>.+)_(leftImg8bit\.(png|jpe?g)|gt(Fine|Coarse)_(?P<kind>label(Train)?Ids)\.png)', re.I
)
_FRAME = re.compile(r'.+_frame_\d+', re.I)
_ZURICH: dict[str, tuple[str, ...]] = {
    'rgb': (),
    'gt_labeltrainids': ('train_ids',),
    'gt_labelids': ('label_ids',),
}


def _foggy_driving(parts: Sequence[str]) -> Named | None:
    match = _DRIVING.fullmatch(parts[-1])
    if match is None:
        return None
    return Named(
        key=f'{below(parts, _DRIVING_FOLDERS)}/{match["key"]}',
        encodings=encodings_of(match),
        split=nearest(parts, _DRIVING_FOLDERS),
        rank=int('_gtcoarse_' in parts[-1].lower()),  # where both are there, the finer
    )


def _foggy_zurich(parts: Sequence[str]) -> Named | None:
    named = by_folder(parts, _ZURICH)
    if named is None or not _FRAME.fullmatch(named.key):
        return None
    return named._replace(key=f'{below(parts, _ZURICH)}/{named.key}')


FOGGY_DRIVING = add(
    SegmentationSet(
        name='foggy_driving',
        title='Foggy Driving',
        dataset_type='FoggyDrivingDataset',
        splits=('all', 'fine', 'dense'),
        subsets={
            'all': Subset(folders=_DRIVING_FOLDERS),
            'fine': Subset(folders=('test',)),
            'dense': Subset(list_file='leftImg8bit_testdense_filenames.txt'),
        },
        conditions=('fog',),
        counts={'all': {'fog': 101}, 'fine': {'fog': 33}, 'dense': {'fog': 21}},
        weather={'fog': 'fog'},
        files='leftImg8bit/{test,test_extra}/*/*_leftImg8bit.png, gtFine/test/*/*_gtFine_labelTrainIds.png '
        'and gtCoarse/test_extra/*/*_gtCoarse_labelTrainIds.png',
        protocol='pooled over 101 images: 33 with fine and 68 with coarse labels',
        source="the set's README, sohyun-l/fifo",
        licence='non-commercial',
        recognise=_foggy_driving,
        marks=re.compile(
            r'(^|/)(test|test_extra)/(pedestrian|public|web)/|leftImg8bit_test(all|fine|dense)_filenames',
            re.I,
        ),
    )
)
FOGGY_ZURICH = add(
    SegmentationSet(
        name='foggy_zurich',
        title='Foggy Zurich',
        dataset_type='FoggyZurichDataset',
        splits=('testv2', 'testv1'),
        subsets={
            'testv2': Subset(list_file='RGB_testv2_filenames.txt', or_labelled=True),
            'testv1': Subset(list_file='RGB_testv1_filenames.txt'),
        },
        conditions=('fog',),
        counts={'testv2': {'fog': 40}, 'testv1': {'fog': 16}},
        weather={'fog': 'fog'},
        files='RGB/SEQUENCE/*_frame_*.png and gt_labelTrainIds/SEQUENCE/ with the same names',
        protocol='testv2: pooled over the 40 labelled images, of 3808',
        source="the set's README, sohyun-l/fifo",
        licence='non-commercial',
        recognise=_foggy_zurich,
        marks=re.compile(
            r'(^|/)(RGB|gt_labelTrainIds)/.*_frame_\d+\.|RGB_testv[12]_filenames', re.I
        ),
    )
)
