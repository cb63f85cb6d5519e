"""Other people's evaluators, built and left as they were."""

import functools

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, DumpResults, Evaluator

from fan_mm.engine.evaluators import (
    collectors,
    left_as_it_was,
    measures,
    only_these,
    with_sizes,
    writing_aside,
)


class Metric(BaseMetric):
    """Has all that a metric of somebody else may have."""

    def __init__(self, inner=None):
        super().__init__()
        self.count, self.names, self.array = 3, ['a'], np.zeros(2)
        self.tensor, self.table, self.lazy = torch.zeros(2), {'a': 1}, None
        self.same = self.names
        self.inner = inner

    def process(self, data_batch, data_samples):
        self.results.append(data_samples)
        self.count += 1
        self.names.append('b')
        self.array += 1
        self.tensor += 1
        self.table['b'] = 2
        self.lazy = object()
        self.new = 1

    def compute_metrics(self, results):
        return {'count': len(results)}


def content(metric):
    return {k: v.tolist() if hasattr(v, 'tolist') else v for k, v in vars(metric).items()}


def test_what_a_block_does_to_an_evaluator_is_undone():
    metric = Metric(inner={'task': [Metric()]})
    evaluator = Evaluator([metric])
    assert collectors(metric) == [metric, metric.inner['task'][0]]
    metric.results.append('before')
    before, array = content(metric), metric.array
    before['results'], before['names'], before['table'] = ['before'], ['a'], {'a': 1}
    with left_as_it_was(evaluator):
        evaluator.process([{}])
        metric.inner['task'][0].process(None, [{}])
        evaluator.evaluate(2)
        assert content(metric) != before
    assert content(metric) == before
    assert metric.array is array
    assert metric.same is metric.names
    assert metric.inner['task'][0].results == []
    assert metric.inner['task'][0].count == 3


def test_files_are_written_aside(tmp_path):
    metric = DumpResults(str(tmp_path / 'out.pkl'))
    metric.output_dir = str(tmp_path / 'labels')
    evaluator = Evaluator([metric])
    with left_as_it_was(evaluator), writing_aside(evaluator):
        evaluator.process([{'a': 1}])
        evaluator.evaluate(1)
        assert metric.out_file_path != str(tmp_path / 'out.pkl')
    assert metric.out_file_path == str(tmp_path / 'out.pkl')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('metric', 'answer'),
    [
        (dict(type='IoUMetric'), True),
        (dict(type='mmseg.IoUMetric', format_only=True), False),
        (dict(type='mmdet.DumpDetResults'), False),
        (dict(type=DumpResults), False),
        (dict(type='mmengine.evaluator.DumpResults'), False),
        (dict(type=functools.partial(Metric)), True),
        (dict(type=Metric), True),
        (Metric(), True),
        (DumpResults('a.pkl'), False),
    ],
)
def test_what_measures(metric, answer):
    assert measures(metric) == answer


class Api:
    def get_img_ids(self):
        return [1, 2, 3]


def test_only_these_images():
    metric = Metric()
    assert only_these(metric, [1]) == {}  # it has no file
    metric._coco_api, metric.img_ids = Api(), None
    assert only_these(metric, [3, 1, 3]) == {'img_ids': [3, 1]}
    assert only_these(metric, [3, 2, 1]) == {}  # all of them
    assert only_these(metric, [None, None]) == {}  # it is not known which


def test_sizes_of_the_parts():
    assert with_sizes({'classes': 'a'}, [1, 3]) == {'classes': 'a', 'cumulative_sizes': [1, 3]}
    assert with_sizes({'classes': 'a'}, []) == {'classes': 'a'}
    found = with_sizes([{'classes': 'a'}, {'classes': 'b'}], [1, 3])
    assert [part['cumulative_sizes'] for part in found] == [[1, 3]] * 2
