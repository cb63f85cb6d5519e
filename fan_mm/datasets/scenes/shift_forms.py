"""Forms in which data sets of adverse conditions are stored: as downloaded, nested, flat, older.

Archives are unpacked into folders of their names, levels of folders are left out, releases differ
(docs/real_shifts.md).
"""

import functools
import re
from collections.abc import Callable
from dataclasses import replace

from fan_mm.datasets.scenes.shift_layouts import (
    SHIFT_LAYOUTS,
    Counts,
    Tree,
    idd,
    mapillary,
    wilddash,
)

PLAIN = 'plain'
_Rules = tuple[tuple[str, str], ...]
# Other forms in which people have a set: a layout of its own, or rules for the paths of the plain one.
_FORMS: dict[str, dict[str, _Rules | Callable[[Counts], Tree]]] = {
    'acdc': {
        'nested': (('^rgb_anon/', 'rgb_anon_trainvaltest/rgb_anon/'), ('^gt/', 'gt_trainval/gt/')),
        'flat': ((r'^(rgb_anon|gt)/\w+/(\w+)/\w+/', r'\1/\2/'),),  # the condition is lost
    },
    'acdc_boxes': {
        'nested': (
            ('^rgb_anon/', 'rgb_anon_trainvaltest/rgb_anon/'),
            ('^gt_', 'gt_detection_trainval/gt_'),
        )
    },
    'dark_zurich': {
        'nested': (
            ('^rgb_anon/train', 'Dark_Zurich_train_anon/rgb_anon/train'),
            ('^(rgb_anon|gt)/val', r'Dark_Zurich_val_anon/\1/val'),
            ('^rgb_anon/test', 'Dark_Zurich_test_anon_withoutGt/rgb_anon/test'),
        )
    },
    'night_driving': {'flat': (('^NighttimeDrivingTest/', ''),)},
    'foggy_cityscapes': {
        'nested': (('^', 'leftImg8bit_trainvaltest_foggy/'),),
        'flat': ((r'^(\w+/\w+)/\w+/', r'\1/'),),
    },
    'rain_cityscapes': {
        'nested': (('^', 'leftImg8bit_trainval_rain/'),),
        'older': (('_leftImg8bit_rain', '_rain'),),
    },
    'foggy_driving': {'nested': (('^', 'Foggy_Driving/'),)},
    'foggy_zurich': {'nested': (('^', 'Foggy_Zurich/Foggy_Zurich/'),)},
    'bdd100k': {
        'nested': (('^(?=images/|labels/)', 'bdd100k/'),),
        'older': (
            ('^images/10k/', 'seg/images/'),
            (r'^labels/sem_seg/masks/(.*)\.png$', r'seg/labels/\1_train_id.png'),
        ),
    },
    'muses': {
        'nested': (
            ('^frame_camera/', 'RGB_Frame_Camera_trainvaltest/muses/frame_camera/'),
            ('^gt_semantic/', 'Semantic_Annotations_trainval/muses/gt_semantic/'),
        ),
        'flat': ((r'^(\w+/\w+)/\w+/\w+/', r'\1/'),),  # meta.json tells the conditions
    },
    'idd': {
        'nested': (('^', 'idd20kII/'),),
        'older': functools.partial(idd, label='labelcsTrainIds', encoding='idd_train_ids'),
    },
    'wilddash': {
        'nested': (('^', 'wd_public_v2p0/'),),
        'older': functools.partial(wilddash, older=True),
    },
    'mapillary': {
        'nested': (('^', 'mapillary-vistas-dataset_public_v2.0/'),),
        'older': functools.partial(mapillary, older=True),
    },
    'coco_o': {'flat': (('^ood_coco/', ''),)},
}


def forms_of(layout: str) -> tuple[str, ...]:
    """The forms in which `shift_tree` knows a layout, the plain one first."""
    return (PLAIN, *_FORMS.get(layout, ()))


def shift_tree(layout: str, form: str, counts: Counts) -> Tree:
    """The tree of a data set.

    Args:
        layout: key of `SHIFT_LAYOUTS`.
        form: one of `forms_of` the layout.
        counts: images of 'train', 'val' and 'test', and condition where a set has several.
    """
    rules = () if form == PLAIN else _FORMS[layout][form]
    if callable(rules):
        return rules(counts)
    tree = SHIFT_LAYOUTS[layout](counts)

    def moved(path: str) -> str:
        for pattern, replacement in rules:
            path = re.sub(pattern, replacement, path)
        return path

    for number, shot in enumerate(tree.shots):
        tree.shots[number] = replace(
            shot,
            image=moved(shot.image),
            truths=tuple(replace(truth, file=moved(truth.file)) for truth in shot.truths),
            boxes=tuple(replace(boxes, file=moved(boxes.file)) for boxes in shot.boxes),
        )
    return tree
