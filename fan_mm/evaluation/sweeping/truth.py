"""Whether the metrics' own annotation files have the images that are evaluated, and what they say of them."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric, Evaluator

from fan_mm.engine.evaluators import library_class, truth_ids
from fan_mm.errors import InputError

# Options that make a score of the same name another score.
_DECIDING = {
    'CocoMetric': ('iou_thrs',),
    'VOCMetric': ('iou_thrs', 'eval_mode'),
    'IoUMetric': ('ignore_index', 'nan_to_num'),
}


def check_truth(
    evaluator: Evaluator, infos: Sequence[Mapping[str, Any]], parts: Sequence[slice] | None
) -> None:
    """Check that every annotation file has every image, and that no metric is without any.

    Args:
        evaluator: built.
        infos: of the images that are evaluated: 'img_path' and 'img_id'.
        parts: which of them each metric is for, where it is not for all
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
        metric: any; of an unknown one nothing is known.
        ids: of the images that are evaluated.

    Returns:
        Options by their names, and a fingerprint of the 'annotations' of a COCO file of the metric's own.
    """
    base = library_class(metric, _DECIDING)
    options = _DECIDING[base.__name__] if base else ()
    found = {name: _as_json(getattr(metric, name, None)) for name in options}
    api: Any = getattr(metric, '_coco_api', None)
    if base is not None and api is not None:
        classes = (metric.dataset_meta or {}).get('classes') or ()
        found['annotations'] = _truth_sha256(api, set(ids), set(classes))
    return found


def _as_json(value: Any) -> Any:
    """Numbers as floats, so that 3 and 3.0 are equal, and arrays as lists."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_as_json(one) for one in value]
    return round(float(value), 6) if isinstance(value, int | float | np.number) else value


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
