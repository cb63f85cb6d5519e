"""BDD100K's 10,000 images with label maps, and the list of its night images."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.pairs import Named, SegmentationSet, Subset, by_folder
from fan_mm.datasets.shifts.paths import nearest
from fan_mm.datasets.shifts.record import add

_SPLITS = ('val', 'train', 'test')
# images of same names in other forms
_NO_MASKS = (
    *('colormaps', 'color_labels', 'bitmasks', 'pan_seg', 'ins_seg', 'drivable', 'lane', '100k'),
)


def _recognise(parts: Sequence[str]) -> Named | None:
    if nearest(parts, _NO_MASKS):
        return None
    named = by_folder(parts, {'images': (), 'labels': ('train_ids',)}, _SPLITS)
    return named and named._replace(key=named.key.removesuffix('_train_id'))


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
        recognise=_recognise,
        marks=re.compile(
            r'(^|/)(images/10k|labels/sem_seg|seg/images|seg/labels)/|_train_id\.png$', re.I
        ),
    )
)
