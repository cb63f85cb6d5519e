"""BDD100K's 10,000 images with label maps, and the list of its night images."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.pairs import Named, SegmentationSet, Subset
from fan_mm.datasets.shifts.paths import nearest
from fan_mm.datasets.shifts.record import add

_SPLITS = ('val', 'train', 'test')
_FILE = re.compile(r'(?P<key>.+?)(?P<old>_train_id)?\.(png|jpe?g)', re.I)
# images of same names in other forms
_NO_MASKS = (
    'colormaps',
    'color_labels',
    'bitmasks',
    'pan_seg',
    'ins_seg',
    'drivable',
    'lane',
    '100k',
)


def _told(parts: Sequence[str]) -> Named | None:
    match = _FILE.fullmatch(parts[-1])
    kind = nearest(parts, ('images', 'labels'))
    if match is None or not kind or nearest(parts, _NO_MASKS):
        return None
    split = nearest(parts, _SPLITS)
    if kind == 'images':
        return Named(key=match['key'], split=split)
    if not parts[-1].lower().endswith('.png'):
        return None
    return Named(key=match['key'], encodings=('train_ids',), split=split)


BDD100K = add(
    SegmentationSet(
        name='bdd100k',
        title='BDD100K',
        dataset_type='BDD100KDataset',
        encodings=('train_ids',),
        splits=(*_SPLITS, 'night'),
        withheld=('test',),
        subsets={
            'night': Subset(list_file='images_trainval_night_correct_filenames.txt'),
        },
        counts={'val': 998, 'night': 87},  # of 1000 two have no mask
        files='images/10k/SPLIT/*.jpg and labels/sem_seg/masks/SPLIT/*.png',
        protocol='val: 1000 images, two of them without a mask; night (MGCDA): 87 images, 74 of them from '
        'train: do not use it for a model trained on BDD100K',
        source='bdd100k/bdd100k, sakaridis/MGCDA',
        licence='education and research',
        told=_told,
        marks=re.compile(
            r'(^|/)(images/10k|labels/sem_seg|seg/images|seg/labels)/|_train_id\.png$', re.I
        ),
    )
)
