"""The metrics of a sweep, cell by cell: fed with batches, computed, and reset."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import Evaluator

from fan_mm.engine.evaluators import Memory, collectors
from fan_mm.evaluation.calibration.of_sweep import SweepCalibration
from fan_mm.evaluation.collected import Scores
from fan_mm.evaluation.scores import compute_scores
from fan_mm.evaluation.sweeping.gathering import RankPart, in_order, to_cpu


class CellMetrics:
    """The evaluator of a sweep, and the calibration metric.

    Args:
        evaluator: the sweep's evaluator.
        calibration: the sweep's calibration; None if it is not measured.
        image_ids: COCO ids of the samples, None for samples without one.
        parts: the samples that each metric evaluates, if not all
            (`fan_mm.engine.evaluators.parts_of`).
    """

    def __init__(
        self,
        evaluator: Evaluator,
        calibration: SweepCalibration | None,
        image_ids: Sequence[Any],
        parts: Sequence[slice] | None,
    ) -> None:
        self.evaluator = evaluator
        self.calibration = calibration
        self.image_ids = image_ids
        self.parts = parts
        self._before: Memory | None = None
        self._collectors = [m for metric in evaluator.metrics for m in collectors(metric)]
        if calibration:
            self._collectors.append(calibration.metric)

    def begin(self) -> None:
        """Start a cell."""
        self._before = Memory(self.evaluator)

    def counting(self) -> str | None:
        """The name of a metric that has counted outside of its results since the cell began; else None."""
        return None if self._before is None else self._before.counting()

    def process(self, batch: Any, outputs: Sequence) -> None:
        """Let the metrics take a batch, as it was loaded and as it was predicted."""
        self.evaluator.process(data_samples=outputs, data_batch=batch)
        if self.calibration:
            self.calibration.evaluator.process(data_samples=outputs, data_batch=batch)

    def collected(self) -> list[Any]:
        """What each collecting metric holds of this process's samples; for `scores`."""
        return [to_cpu(metric.results) for metric in self._collectors]

    def scores(self, of_ranks: Sequence[RankPart]) -> tuple[Scores, np.ndarray | None]:
        """What the metrics say about the cell, and the statistics of its calibration.

        The evaluator then is as it was before the cell, also after an error: a metric that does not reset its
        own counts would add the cells up.

        Raises:
            InputError: there is no score that a sweep can be about.
        """
        results = in_order(of_ranks)
        sums = results.pop() if self.calibration else []
        try:
            found = compute_scores(self.evaluator, results, self.image_ids, self.parts)
        finally:
            self.put_back()
            self.empty()
        return found, self.calibration.of_cell(sums) if self.calibration else None

    def put_back(self) -> None:
        """Restore what the evaluator held before the cell."""
        if self._before is not None:
            self._before.put_back()

    def empty(self) -> None:
        """Let the metrics forget their collected results."""
        for metric in self._collectors:
            metric.results = type(metric.results)()
