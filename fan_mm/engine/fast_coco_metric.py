"""COCO's average precision computed by faster-coco-eval instead of pycocotools.

pycocotools is the reference; both give the same numbers, which a test checks. This module requires mmdet;
`fan_mm.engine.prepare_runtime` imports it, otherwise add it to ``custom_imports``.
"""

import tempfile
from typing import Any

import numpy as np
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load
from mmengine.registry import METRICS

from fan_mm.errors import InputError


@METRICS.register_module()
class FastCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric`` for boxes and masks, several times faster on large datasets.

    Takes the same arguments and returns the same scores with the same rounding. Requires
    ``pip install faster-coco-eval``; use ``--cfg-options test_evaluator.type=FastCocoMetric``.

    Raises:
        InputError: faster-coco-eval is not installed, or proposals are to be evaluated.
    """

    cat_ids: Any
    img_ids: Any

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        if not {'bbox', 'segm'}.issuperset(self.metrics):
            raise InputError('FastCocoMetric evaluates bbox and segm: use CocoMetric for proposals')
        try:
            import faster_coco_eval  # noqa: F401
        except ImportError:
            raise InputError(
                'FastCocoMetric needs faster-coco-eval: pip install faster-coco-eval, '
                'or use CocoMetric'
            ) from None

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the scores from what `process` collected."""
        if self.format_only or self._coco_api is None:
            return super().compute_metrics(results)
        if self.cat_ids is None:
            self.cat_ids = self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes'])
        if self.img_ids is None:
            self.img_ids = self._coco_api.get_img_ids()
        scores: dict[str, float] = {}
        with tempfile.TemporaryDirectory() as folder:
            files = self.results2json([found for _, found in results], f'{folder}/results')
            for kind in self.metrics:
                found = load(files[kind])
                if not found:
                    break  # like CocoMetric, if no image has a detection
                scores |= self._scores(kind, self._precision(kind, found))
        return scores

    def _precision(self, kind: str, found: list[dict]) -> np.ndarray:
        """Precisions (IoU thresholds, recalls, classes, area ranges, numbers of detections)."""
        from faster_coco_eval import COCO, COCOeval_faster

        if kind == 'segm':
            for detection in found:  # otherwise the box area would be used as mask area
                detection.pop('bbox', None)
        truth = COCO(self._coco_api.dataset)
        evaluation = COCOeval_faster(truth, truth.loadRes(found), kind)
        evaluation.params.catIds = self.cat_ids
        evaluation.params.imgIds = self.img_ids
        evaluation.params.maxDets = list(self.proposal_nums)
        evaluation.params.iouThrs = self.iou_thrs
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation.eval['precision']

    def _scores(self, kind: str, precision: np.ndarray) -> dict[str, float]:
        """What pycocotools' summary and CocoMetric take from the precisions."""
        ious = np.asarray(self.iou_thrs).round(6).tolist()

        def at(iou: float, area: int) -> float:
            chosen = precision[ious.index(iou)] if iou in ious else np.zeros(0)
            return _mean(chosen[..., area, -1] if chosen.size else chosen)

        hundred = [i for i, number in enumerate(self.proposal_nums) if number == 100]
        items = {
            'mAP': _mean(precision[..., 0, hundred]),
            'mAP_50': at(0.5, 0),
            'mAP_75': at(0.75, 0),
            **{f'mAP_{n}': _mean(precision[..., i, -1]) for i, n in enumerate('sml', start=1)},
        }
        names = self.metric_items or list(items)
        scores = {f'{kind}_{name}': round(items[name], 3) for name in names}
        if self.classwise:
            ids = sorted(self.cat_ids)  # like the evaluation; mmdet names classes as if it did not
            for id_ in self.cat_ids:
                name = self._coco_api.loadCats(id_)[0]['name']
                value = _mean(precision[:, :, ids.index(id_), 0, -1])
                scores[f'{name}_precision'] = float('nan') if value < 0 else round(value, 3)
        return scores


def _mean(precision: np.ndarray) -> float:
    """Mean over what is defined; -1, COCO's "no such objects", if nothing is."""
    defined = precision[precision > -1]
    return float(np.mean(defined)) if defined.size else -1.0
