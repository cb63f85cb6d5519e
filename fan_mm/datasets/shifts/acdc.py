"""ACDC: fog, night, rain and snow, with reference images of the same places in good weather."""

import re
from collections.abc import Sequence

from fan_mm.datasets.shifts.boxes import BoxSet
from fan_mm.datasets.shifts.pairs import Named, SegmentationSet, encodings_of
from fan_mm.datasets.shifts.paths import nearest
from fan_mm.datasets.shifts.record import add

CONDITIONS = ('fog', 'night', 'rain', 'snow')
_SPLITS = ('val', 'train', 'test', 'val_ref', 'train_ref', 'test_ref')
_PICTURE = re.compile(r'(?P<key>.+_frame_\d+)_rgb(?P<ref>_ref)?_anon\.(png|jpe?g)', re.I)
_LABEL = re.compile(r'(?P<key>.+_frame_\d+)_gt(?P<ref>_ref)?_(?P<kind>label(Train)?Ids)\.png', re.I)
# A flattened tree tells nothing of conditions, but Dark Zurich has one sequence in val, two in test. (ACDC
# has them in its test, too; train cannot be told apart.)
DARK_ZURICH_VAL, DARK_ZURICH_TEST = 'GOPR0356', ('GOPR0364', 'GP010364')
_MARKS = re.compile(
    r'(^|/)(fog|night|rain|snow)/(train|val|test)(_ref)?/.*_(rgb_anon|rgb_ref_anon|gt_\w+)\.'
    r'|_rgb_ref_anon\.|_gt_ref_label|instancesonly_(fog|night|rain|snow)_'
    rf'|(^|(^|/)val/([^/]+/)*)(?!{DARK_ZURICH_VAL}_)[^/]+_frame_\d+_(rgb_anon|gt_label\w+)\.'
    rf'|(^|/)test/([^/]+/)*(?!{"_|".join(DARK_ZURICH_TEST)}_)[^/]+_frame_\d+_rgb_anon\.',
    re.I,
)
_SOURCE = 'brdav/cma, Wally0924/Pair-SAM'
_LICENCE = 'registration; non-commercial [?]'


def _recognise(parts: Sequence[str]) -> Named | None:
    match = _PICTURE.fullmatch(parts[-1]) or _LABEL.fullmatch(parts[-1])
    if match is None:
        return None
    ref = '_ref' if match['ref'] else ''
    split = nearest(parts, _SPLITS)
    return Named(
        # sequences recur in other splits and conditions, frames do not
        key=match['key'] + ref,
        encodings=encodings_of(match),
        split=split and split.removesuffix('_ref') + ref,
        condition=nearest(parts, CONDITIONS),
    )


ACDC = add(
    SegmentationSet(
        name='acdc',
        title='ACDC',
        dataset_type='ACDCDataset',
        splits=_SPLITS,
        withheld=('test', 'test_ref'),
        conditions=CONDITIONS,
        counts={
            'val': dict.fromkeys(CONDITIONS, 100) | {'night': 106},
            'train': dict.fromkeys(CONDITIONS, 400),
        },
        weather={name: name for name in CONDITIONS},
        files='rgb_anon/CONDITION/SPLIT/SEQUENCE/*_rgb_anon.png and '
        'gt/CONDITION/SPLIT/SEQUENCE/*_gt_labelTrainIds.png',
        protocol='test: the server scores the subsets all, fog, night, rain and snow; papers quote "all", '
        'which we take to be pooled over conditions (official wording not seen [?]), unlike the mean of four',
        source=_SOURCE,
        licence=_LICENCE,
        recognise=_recognise,
        marks=_MARKS,
    )
)
ACDC_BOXES = add(
    BoxSet(
        name='acdc_boxes',
        title="ACDC's boxes",
        task='detection',
        dataset_type='mmdet.CityscapesDataset',
        splits=('val', 'train'),
        conditions=CONDITIONS,
        weather={name: name for name in CONDITIONS},
        files='gt_detection/CONDITION/instancesonly_CONDITION_SPLIT_gt_detection.json and rgb_anon/',
        protocol='mAP50 of the 8 classes with instances, per condition',
        source='DINO-Teacher',
        licence=_LICENCE,
        marks=_MARKS,
        boxes=re.compile(
            r'(^|/)instancesonly_(?P<condition>fog|night|rain|snow)_(?P<split>\w+)_gt_detection\.json$'
        ),
    )
)
