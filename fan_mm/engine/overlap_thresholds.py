"""CocoMetric's ``iou_thrs`` in any form that mmdet documents: a number or a list of them.

mmdet passes them to pycocotools unchanged, which requires arrays: with a list or a number, every
evaluation would fail at its end.
"""

from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from fan_mm.config_parts import type_name
from fan_mm.engine.config.registered import base_named
from fan_mm.engine.evaluators import collectors
from fan_mm.errors import InputError

_SIXTH = 6  # mmdet's table per class uses the sixth threshold


def check_overlap_thresholds(place: str, metric: dict) -> None:
    """Check the ``iou_thrs`` of a metric derived from mmdet's CocoMetric.

    Raises:
        InputError: they are not between 0 and 1, or too few for the table per class.
    """
    given = metric.get('iou_thrs')
    if given is None:
        return
    thresholds = _as_array(given)
    if (
        thresholds is None
        or not thresholds.size
        or not ((thresholds > 0) & (thresholds <= 1)).all()
    ):
        raise InputError(f'{place}.iou_thrs must be numbers above 0 and up to 1, not {given!r}')
    if metric.get('classwise') and type_name(metric) == 'CocoMetric' and len(thresholds) < _SIXTH:
        raise InputError(
            f'{place}: classwise=True of mmdet shows the sixth of iou_thrs, which are {len(thresholds)}: '
            'use FastCocoMetric, or leave one of both out'
        )


class OverlapThresholdsHook(Hook):
    """Before a run, convert the ``iou_thrs`` of the built metrics to arrays."""

    def before_run(self, runner: Runner) -> None:
        """Convert those of validation and test."""
        for loop in (runner._val_loop, runner._test_loop):
            metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', ())
            for metric in (inner for outer in metrics for inner in collectors(outer)):
                given = getattr(metric, 'iou_thrs', None)
                if base_named(type(metric), 'CocoMetric', 'mmdet') and given is not None:
                    metric.iou_thrs = _as_array(given)


def _as_array(given: Any) -> np.ndarray | None:
    try:
        return np.atleast_1d(np.asarray(given, dtype=float)).reshape(-1)
    except (TypeError, ValueError):
        return None
