"""The metrics' own annotation files, which must fit the evaluated images, and settings."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric, Evaluator

from fan_mm.engine.evaluators import library_class, truth_ids
from fan_mm.errors import InputError

# Options that change the definition of a score without changing its name.
_DECIDING = {
    'CocoMetric': ('iou_thrs',),
    'VOCMetric': ('iou_thrs', 'eval_mode'),
    'OpenImagesMetric': ('iou_thrs', 'ioa_thrs', 'use_group_of'),
    'CrowdHumanMetric': ('eval_mode', 'iou_thres', 'compare_matching_method'),
    'IoUMetric': ('ignore_index', 'nan_to_num', 'beta'),
    'DepthMetric': ('min_depth_eval', 'max_depth_eval', 'crop_type'),
    'Accuracy': ('thrs',),
    'SingleLabelMetric': ('thrs',),
}
# Values equivalent to the default: a score threshold of 0 or None removes nothing.
_USUAL: dict[str, list] = {'ignore_index': [255], 'nan_to_num': [None], 'thrs': [[0], [None]]}
_COCO_OVERLAPS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def check_truth(
    evaluator: Evaluator, infos: Sequence[Mapping[str, Any]], parts: Sequence[slice] | None
) -> None:
    """Check that every annotation file has every image, and that no metric is without any.

    Args:
        evaluator: the built evaluator.
        infos: data infos of the evaluated images, with 'img_path' and 'img_id'.
        parts: the samples that each metric evaluates, if not all
            (`fan_mm.engine.evaluators.parts_of`).

    Raises:
        InputError: a file lacks an image that is evaluated, or a metric has no images at all.
    """
    for number, metric in enumerate(evaluator.metrics):
        own = infos[parts[number]] if parts else infos
        if not own:
            raise InputError(
                f'no image is left for {type(metric).__name__} of '
                f'{evaluator.dataset_prefixes[number]}: use more than max_samples {len(infos)}'
            )
        truth = truth_ids(metric)
        missing = [] if truth is None else [i for i in own if i['img_id'] not in truth]
        if missing and missing[0]['img_id'] is not None:
            raise InputError(
                f'the annotation file of {type(metric).__name__} lacks {len(missing)} of '
                f'{len(own)} images of the dataset, for example {missing[0]["img_path"]} (id '
                f'{missing[0]["img_id"]}): give both the same ann_file'
            )


def settings_of(metric: BaseMetric, ids: Iterable[Any]) -> dict[str, Any]:
    """What two results of a metric must share to be compared: settings and truth, as JSON has them.

    Args:
        metric: any metric; the result is empty for unknown ones.
        ids: ids of the evaluated images.

    Returns:
        Option name -> value, and 'annotations', a fingerprint of the metric's own COCO file if it has one.
    """
    base = library_class(metric, _DECIDING)
    options = _DECIDING[base.__name__] if base else ()
    found = {name: _as_json(getattr(metric, name, None)) for name in options}
    api: Any = getattr(metric, '_coco_api', None)
    if base is not None and api is not None:
        classes = (metric.dataset_meta or {}).get('classes') or ()
        found['annotations'] = _truth_sha256(api, set(ids), set(classes))
    return found


def differing_settings(one: Mapping | None, other: Mapping | None) -> list[str]:
    """Names of the settings that two results of a metric have, but not in common; usual ones are alike.

    Args:
        one: result of `settings_of`; None in results of earlier versions.
        other: result of `settings_of`; None in results of earlier versions.
    """
    one, other = one or {}, other or {}
    both = {name: (one[name], other[name]) for name in one if name in other}
    return [name for name, (a, b) in both.items() if a != b and not _are_usual(name, a, b)]


def unusual(settings: Mapping | None) -> list[str]:
    """Names of the settings that are not those of published evaluations, the libraries' defaults; but overlaps."""
    return [
        name
        for name, value in (settings or {}).items()
        if name in _USUAL and not _are_usual(name, value)
    ]


def _are_usual(name: str, *values: Any) -> bool:
    return all(value in _USUAL.get(name, ()) for value in values)


def other_overlaps(settings: Mapping | None) -> list[float] | None:
    """The overlaps that an AP averages over, where they are not COCO's 0.5 to 0.95."""
    found = (settings or {}).get('iou_thrs', _COCO_OVERLAPS)
    return None if found == _COCO_OVERLAPS else found


def _as_json(value: Any) -> Any:
    """Numbers as floats, so that 3 and 3.0 are equal, and arrays as lists."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_as_json(one) for one in value]
    if not isinstance(value, int | float | np.number):
        return value
    return round(float(value), 6) if math.isfinite(value) else str(value)


def _truth_sha256(api: Any, ids: set, classes: set[str]) -> str:
    """Hash of the boxes of these images and classes; evaluating changes the entries' masks and flags."""
    names = {id_: category['name'] for id_, category in api.cats.items()}
    rows = sorted(
        repr(
            (a['image_id'], name, *map(_as_json, (a.get('bbox'), a.get('area'), a.get('iscrowd'))))
        )
        for a in api.dataset.get('annotations') or ()
        if a['image_id'] in ids and (name := names.get(a['category_id'])) in classes
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
