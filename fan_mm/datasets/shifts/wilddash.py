"""WildDash 2: hazards all over the world."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.pairs import Named, SegmentationSet, by_folder
from fan_mm.datasets.shifts.record import add


def _recognise(parts: Sequence[str]) -> Named | None:
    return by_folder(parts, {'images': (), 'panoptic': ('wilddash',), 'labels': ('wilddash',)})


WILDDASH = add(
    SegmentationSet(
        name='wilddash',
        title='WildDash 2',
        dataset_type='WildDash2Dataset',
        encodings=('wilddash',),
        splits=('public',),
        counts={'public': 4256},
        files='images/*.jpg and panoptic/*.png with panoptic.json (or labels/*.png, older)',
        protocol='4256 public images without an official validation split; no published mIoU over the 19 '
        'classes is known [?]',
        source='ozendelait/wilddash_scripts, brdav/cma',
        licence='registration; non-commercial',
        recognise=_recognise,
        marks=re.compile(r'wd_public_|(^|/)wd\d{4}_', re.I),
    )
)
