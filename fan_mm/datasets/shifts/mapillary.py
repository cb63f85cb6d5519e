"""Mapillary Vistas, releases 1.2 and 2.0."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.pairs import Named, SegmentationSet, by_folder
from fan_mm.datasets.shifts.paths import nearest
from fan_mm.datasets.shifts.record import add

_SPLITS = ('validation', 'training', 'testing')
_V1 = ('mapillary_a', 'mapillary_b', 'mapillary_c')


def _recognise(parts: Sequence[str]) -> Named | None:
    labels = ('mapillary_v2',) if nearest(parts, ('v1.2', 'v2.0')) == 'v2.0' else _V1
    folders = {'images': (), 'labels': labels, 'instances': None, 'panoptic': None}
    return by_folder(parts, folders, _SPLITS)


MAPILLARY = add(
    SegmentationSet(
        name='mapillary',
        title='Mapillary Vistas',
        dataset_type='MapillaryVistasDataset',
        encodings=('mapillary_a',),
        on_request=('mapillary_b', 'mapillary_c', 'mapillary_v2'),
        splits=_SPLITS,
        withheld=('testing',),
        counts={'validation': 2000, 'training': 18000},
        files='SPLIT/images/*.jpg and SPLIT/v1.2/labels/*.png (release 1.2: SPLIT/labels)',
        protocol='validation: published numbers are not comparable: three maps to 19 classes (A, B, C) and '
        'several sizes (height 1536 and a centre crop of images and labels; half size). Here: map A, at the size '
        'of the labels',
        source='shachoi/RobustNet, lhoyer/HRDA, w1oves/Rein, maunzzz/cross-season-segmentation',
        licence='registration; non-commercial [?]',
        recognise=_recognise,
        marks=re.compile(r'(^|/)(training|validation|testing)/(images|labels|v1\.2|v2\.0)/', re.I),
    )
)
