"""Predictions of a test written to a pickle, beside whatever evaluator the config has."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner


class PredictionDumpHook(Hook):
    """Passes every prediction of a test to a dumping metric.

    The metric is not part of the evaluator, because mmdet's MultiDatasetsEvaluator, for example, ignores
    metrics that do not belong to a dataset.

    Args:
        metric: mmengine's ``DumpResults`` or a subclass.
    """

    def __init__(self, metric: BaseMetric) -> None:
        self.evaluator = Evaluator([metric])

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Keep the predictions."""
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Write them, those of all processes."""
        self.evaluator.evaluate(len(runner.test_dataloader.dataset))
