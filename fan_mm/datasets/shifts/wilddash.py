"""WildDash 2: hazards all over the world."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.pairs import Named, SegmentationSet
from fan_mm.datasets.shifts.paths import nearest
from fan_mm.datasets.shifts.record import add

_FILE = re.compile(r'(?P<key>.+)\.(png|jpe?g)', re.I)


def _told(parts: Sequence[str]) -> Named | None:
    match = _FILE.fullmatch(parts[-1])
    kind = nearest(parts, ('images', 'panoptic', 'labels'))
    if match is None or not kind:
        return None
    if kind == 'images':
        return Named(key=match['key'])
    if not parts[-1].lower().endswith('.png'):
        return None
    return Named(key=match['key'], encodings=('wilddash',), rank=int(kind == 'labels'))


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
        told=_told,
        marks=re.compile(r'wd_public_|(^|/)wd\d{4}_', re.I),
    )
)
