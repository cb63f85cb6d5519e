"""Whether the metrics' own annotation files have the images that are evaluated."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.evaluator import Evaluator

from fan_mm.engine.evaluators import truth_ids
from fan_mm.errors import InputError


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
