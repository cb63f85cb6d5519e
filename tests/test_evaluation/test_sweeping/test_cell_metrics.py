"""The metrics of a sweep from cell to cell: fed, sent, computed; emptied and put back."""

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator

from fan_mm.evaluation.sweeping.cell_metrics import CellMetrics
from fan_mm.evaluation.sweeping.gathering import RankPart


class Counting(BaseMetric):
    """Keeps a row of each batch, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.calls = [0]

    def process(self, data_batch, data_samples):
        self.calls[0] += 1
        self.results += [row + data_batch for row in data_samples]

    def compute_metrics(self, results):
        if len(results) > 2:
            raise ValueError('too many')
        return {'auc': float(sum(results)) / 100}


class Calibration:
    """Counts what it is given, and sums it up."""

    def __init__(self):
        self.metric = Counting()
        self.evaluator = Evaluator([self.metric])

    def of_cell(self, results):
        return sum(results)


@pytest.mark.parametrize('calibration', [None, Calibration()])
def test_a_cell_after_the_other(calibration):
    counting = Counting()
    metrics = CellMetrics(Evaluator([counting]), calibration, [None, None], None)
    for cell in range(2):
        metrics.begin()
        for batch in range(2):
            metrics.process(batch, torch.ones(4)[cell : cell + 1])
        collected = metrics.collected()
        assert collected == [[1, 2]] * (1 + bool(calibration))
        assert all(row.untyped_storage().nbytes() == row.nbytes for row in collected[0])
        metrics.empty()
        scores, sums = metrics.scores([RankPart(results=collected, positions=[0, 1])])
        assert scores.metrics == {'auc': 0.03} and sums == (3 if calibration else None)
        assert counting.results == [] and counting.calls == [0]
        if calibration:
            assert calibration.metric.results == []


def test_an_error_puts_the_metrics_back():
    counting = Counting()
    metrics = CellMetrics(Evaluator([counting]), None, [None] * 3, None)
    metrics.put_back()  # nothing has begun
    metrics.begin()
    metrics.process(0, torch.ones(3))
    with pytest.raises(ValueError, match='too many'):
        metrics.scores([RankPart(results=metrics.collected(), positions=[0, 1, 2])])
    assert counting.calls == [0] and counting.results == []


def test_what_cannot_be_written_has_not_changed():
    counting = Counting()
    counting.weights, counting.table = torch.ones(1).expand(3), np.broadcast_to(np.ones(1), 3)
    metrics = CellMetrics(Evaluator([counting]), None, [None] * 2, None)
    metrics.begin()
    metrics.process(0, torch.ones(2))
    scores, _ = metrics.scores([RankPart(results=metrics.collected(), positions=[0, 1])])
    assert scores.metrics == {'auc': 0.02}


def test_collections_of_their_own_kind_stay_so():
    counting, inner = Counting(), Counting()
    counting.parts, inner.results = [inner], deque([1])
    metrics = CellMetrics(Evaluator([counting]), None, [], None)
    counting.results.append(1)
    metrics.empty()
    assert counting.results == [] and inner.results == deque()
    assert isinstance(inner.results, deque)
    # evaluating empties the outer one alone
    metrics.scores([RankPart(results=[[1], deque([1])])])
    assert inner.results == deque()


def test_what_belongs_to_which_dataset_is_passed_on(monkeypatch):
    given = []
    monkeypatch.setattr(
        'fan_mm.evaluation.sweeping.cell_metrics.compute_scores',
        lambda *args: given.append(args) or 'scores',
    )
    evaluator = SimpleNamespace(metrics=[])
    metrics = CellMetrics(evaluator, None, ['ids'], [slice(0, 1)])
    assert metrics.scores([RankPart(results=[['a']])]) == ('scores', None)
    assert given == [(evaluator, [['a']], ['ids'], [slice(0, 1)])]
