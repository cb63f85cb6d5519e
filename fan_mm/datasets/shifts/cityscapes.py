"""Cityscapes, the clean set, and the sets that are computed from its images: fog and rain."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.pairs import Named, SegmentationSet, encodings_of
from fan_mm.datasets.shifts.paths import nearest
from fan_mm.datasets.shifts.record import add

_SPLITS = ('val', 'train', 'test')
_PICTURE = re.compile(r'(?P<key>.+)_leftImg8bit\.(png|jpe?g)', re.I)
_LABEL = re.compile(r'(?P<key>.+)_gtFine_(?P<kind>label(Train)?Ids)\.png', re.I)
_FOGGY = re.compile(
    r'(?P<key>.+)_leftImg8bit_foggy(?P<filter>DBF)?_beta_(?P<beta>\d*\.\d+)\.(png|jpe?g)', re.I
)
# the lists of the authors leave out _leftImg8bit
_RAINY = re.compile(
    r'(?P<key>.+?)(_leftImg8bit)?_rain_alpha_(?P<alpha>\d*\.\d+)_beta_(?P<beta>\d*\.\d+)'
    r'_dropsize_(?P<drop>\d*\.\d+)_pattern_(?P<pattern>\d+)\.(png|jpe?g)',
    re.I,
)
_RAINS = ((0.01, 0.005, 0.01), (0.02, 0.01, 0.005), (0.03, 0.015, 0.002))


def _rain(alpha: float, beta: float, drop: float) -> str:
    return f'alpha_{alpha:g}_beta_{beta:g}_dropsize_{drop:g}'


def _label(parts: Sequence[str]) -> Named | None:
    match = _LABEL.fullmatch(parts[-1])
    split = nearest(parts, _SPLITS)
    if match is None or split == 'test':  # the public labels of test are dummies
        return None
    return Named(key=match['key'], encodings=encodings_of(match), split=split)


def _cityscapes(parts: Sequence[str]) -> Named | None:
    if match := _PICTURE.fullmatch(parts[-1]):
        return Named(key=match['key'], split=nearest(parts, _SPLITS))
    return _label(parts)


def _foggy(parts: Sequence[str]) -> Named | None:
    match = _FOGGY.fullmatch(parts[-1])
    if match is None:
        return _label(parts)
    beta = f'beta_{float(match["beta"]):g}'
    filtered = match['filter'] or nearest(parts, ('leftimg8bit_foggydbf',))
    return Named(
        key=match['key'],
        split=nearest(parts, _SPLITS),
        condition=beta,
        copy=beta,
        rank=int(bool(filtered)),
    )


def _rainy(parts: Sequence[str]) -> Named | None:
    match = _RAINY.fullmatch(parts[-1])
    if match is None:
        return _label(parts)
    rain = _rain(*(float(match[name]) for name in ('alpha', 'beta', 'drop')))
    return Named(
        key=match['key'],
        split=nearest(parts, _SPLITS),
        condition=rain,
        copy=f'{rain}_pattern_{int(match["pattern"])}',
    )


_BETAS = ('beta_0.005', 'beta_0.01', 'beta_0.02')
_RAIN_NAMES = tuple(_rain(*strength) for strength in _RAINS)
CITYSCAPES = add(
    SegmentationSet(
        name='cityscapes',
        title='Cityscapes',
        dataset_type='CityscapesDataset',
        splits=_SPLITS,
        withheld=('test',),
        counts={'val': 500, 'train': 2975},
        weather={'all': 'clear'},
        files='leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png',
        protocol='val: pooled over 500 images',
        source='mcordts/cityscapesScripts',
        licence='registration; its own terms',
        recognise=_cityscapes,
        marks=re.compile(
            r'(^|/)(?P<city>[^/_]+)/(?P=city)_\d{6}_\d{6}_(leftImg8bit|gtFine_\w+)\.', re.I
        ),
    )
)
FOGGY_CITYSCAPES = add(
    SegmentationSet(
        name='foggy_cityscapes',
        title='Foggy Cityscapes',
        dataset_type='FoggyCityscapesDataset',
        splits=_SPLITS,
        withheld=('test',),
        conditions=_BETAS,
        singly=True,
        counts={'val': dict.fromkeys(_BETAS, 500), 'train': dict.fromkeys(_BETAS, 2975)},
        weather=dict.fromkeys(_BETAS, 'fog'),
        files='leftImg8bit_foggy/SPLIT/CITY/*_leftImg8bit_foggy_beta_0.02.png, with the labels of Cityscapes',
        protocol='val: 500 images per beta; papers use one beta (mostly 0.02 for detection, 0.005 in FIFO) '
        'or all 1500 together: state which. leftImg8bit_foggyDBF is read only where leftImg8bit_foggy is missing',
        source='sakaridis/fog_simulation-SFSU_synthetic',
        licence='non-commercial',
        recognise=_foggy,
        labels_from='Cityscapes',
        marks=re.compile(r'_foggy(DBF)?_beta_', re.I),
    )
)
RAIN_CITYSCAPES = add(
    SegmentationSet(
        name='rain_cityscapes',
        title='RainCityscapes',
        dataset_type='RainCityscapesDataset',
        splits=_SPLITS,
        withheld=('test',),
        conditions=_RAIN_NAMES,
        counts={
            'val': dict.fromkeys(_RAIN_NAMES, 33 * 12),
            'train': dict.fromkeys(_RAIN_NAMES, 262 * 12),
        },
        weather=dict.fromkeys(_RAIN_NAMES, 'rain'),
        files='leftImg8bit_rain/SPLIT/CITY/*_rain_alpha_A_beta_B_dropsize_D_pattern_P.png, with the labels '
        'of Cityscapes',
        protocol='val: 33 scenes in 3 rains of 12 patterns; papers rarely say which of the 36 images they '
        'use; here each rain is one condition with all 12 patterns [own]',
        source='xw-hu/DAF-Net, naver/oasis',
        licence='[?]',
        recognise=_rainy,
        labels_from='Cityscapes',
        marks=re.compile(r'_rain_alpha_', re.I),
    )
)
