"""India Driving Dataset, parts I and II."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.pairs import Named, SegmentationSet, encodings_of
from fan_mm.datasets.shifts.paths import below, nearest
from fan_mm.datasets.shifts.record import add

_SPLITS = ('val', 'train', 'test')
_FILE = re.compile(
    r'(?P<key>.+)_(leftImg8bit\.(png|jpe?g)|gtFine_(?P<kind>label(level3Ids|csTrainIds))\.png)',
    re.I,
)


def _recognise(parts: Sequence[str]) -> Named | None:
    match = _FILE.fullmatch(parts[-1])
    if match is None:
        return None
    return Named(
        # frames of every drive have the same names
        key=f'{below(parts, _SPLITS)}/{match["key"]}',
        encodings=encodings_of(match),
        split=nearest(parts, _SPLITS),
    )


IDD = add(
    SegmentationSet(
        name='idd',
        title='IDD',
        dataset_type='IDDDataset',
        encodings=('idd_level3', 'idd_train_ids'),
        splits=_SPLITS,
        withheld=('test',),
        files='leftImg8bit/SPLIT/DRIVE/*_leftImg8bit.png (or .jpg) and '
        'gtFine/SPLIT/DRIVE/*_gtFine_labellevel3Ids.png',
        protocol="the server scores IDD's own 26 classes, resized to 1920x1080 (older) or 1280x720; here the "
        'Cityscapes classes in the labels are scored (level 3: 17, without terrain and train) [own], at the size '
        'of the labels',
        source='AutoNUE/public-code, naver/relis',
        licence='registration [?]',
        recognise=_recognise,
        suffixes_mix=True,
        make_labels="AutoNUE's public-code converts the polygons to label maps: "
        'preperation/createLabels.py --datadir DIR --id-type level3Id',
        marks=re.compile(
            r'_gtFine_label(level3Ids|csTrainIds|csIds|ids)\.|(^|/)(leftImg8bit|gtFine)/(train|val|test)/\d+/'
        ),
    )
)
