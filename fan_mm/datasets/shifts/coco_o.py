"""COCO-O: the 80 COCO classes in six other domains."""

import re

from fan_mm.datasets.shifts.boxes import BoxSet
from fan_mm.datasets.shifts.record import add

_DOMAINS = ('sketch', 'weather', 'cartoon', 'painting', 'tattoo', 'handmake')

COCO_O = add(
    BoxSet(
        name='coco_o',
        title='COCO-O',
        task='detection',
        dataset_type='mmdet.CocoDataset',
        splits=('val2017',),
        conditions=_DOMAINS,
        counts={'val2017': 6782},
        files='DOMAIN/val2017/*.jpg and DOMAIN/annotations/instances_val2017.json',
        protocol='box mAP per domain and the mean of six; effective robustness = mean - 0.45 x mAP on COCO '
        'val2017 (recomputed from easyrobust #21)',
        source='alibaba/easyrobust',
        licence='[?]',
        marks=re.compile(rf'(^|/)({"|".join(_DOMAINS)})/(val2017|annotations)/', re.I),
        boxes=re.compile(
            rf'(^|/)(?P<condition>{"|".join(_DOMAINS)})/annotations/instances_(?P<split>val2017)\.json$'
        ),
    )
)
