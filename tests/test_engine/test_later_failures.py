"""What fails later than in the first batch is one line that names whose fault it is."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from fan_mm.engine.first_batch import hook


class FailsInTheEnd(BaseMetric):
    """As mmdet's proposal_fast does with more than one picture."""

    def process(self, data_batch, data_samples):
        self.results += [1] * len(data_samples)

    def compute_metrics(self, results):
        if len(results) > 1:
            raise ValueError('inhomogeneous')
        return {'images': len(results)}


class FailsOnOne(FailsInTheEnd):
    def process(self, data_batch, data_samples):
        for data_sample in data_samples:
            if data_sample['img_path'] == 'b.png':
                raise IndexError('another shape')


def test_a_metric_that_fails_on_a_later_sample():
    with pytest.raises(IndexError) as error:
        Evaluator(FailsOnOne()).process([dict(img_path='a.png'), dict(img_path='b.png')], {})
    line = 'FailsOnOne cannot process the output of the model for b.png: IndexError: another shape'
    assert str(hook.FirstBatchHook().explain(error.value)) == line


class ByWidth(BatchSampler):
    def __iter__(self):
        raise KeyError('width')


def test_a_sampler_that_fails():
    loader = DataLoader([1, 2], batch_sampler=ByWidth(SequentialSampler([1, 2]), 1, False))
    with pytest.raises(KeyError) as error:
        next(iter(loader))
    line = "ByWidth cannot choose samples: KeyError: 'width'"
    assert str(hook.FirstBatchHook().explain(error.value)) == line


class Painting(Hook):
    error = AssertionError

    def after_test_iter(self, *args, **kwargs):
        if args:
            raise self.error


@pytest.mark.parametrize('library', ['theirs', 'mmengine.hooks', 'fan_mm.evaluation.hook'])
def test_a_hook_that_fails(library, monkeypatch):
    monkeypatch.setattr(Painting, '__module__', library)
    runner = SimpleNamespace(_hooks=[Painting()])
    with pytest.raises(AssertionError) as error:
        Runner.call_hook(runner, 'after_test_iter')
    said = hook.FirstBatchHook().explain(error.value)
    if library == 'theirs':
        assert str(said).startswith('Painting fails: AssertionError: test_later_failures.py, line ')
        assert str(said).endswith(': raise self.error')
    else:
        assert said is None


def test_a_lost_process_is_not_the_first_steps_fault():
    tried = hook.FirstBatchHook()
    tried.began = True
    assert str(tried.explain(RuntimeError('x'))) == 'the first training step fails: RuntimeError: x'
    assert tried.explain(RuntimeError('[pair.cc:547] Connection closed by peer [::1]:9')) is None


def test_memory_is_not_a_hooks_fault(monkeypatch):
    monkeypatch.setattr(Painting, 'error', torch.OutOfMemoryError('CUDA out of memory.'))
    runner = SimpleNamespace(_hooks=[Painting()])
    with pytest.raises(torch.OutOfMemoryError) as error:
        Runner.call_hook(runner, 'after_test_iter')
    assert hook.FirstBatchHook().explain(error.value) is None


@pytest.mark.parametrize('ours', [False, True])
def test_a_metric_that_fails_on_the_whole(ours, monkeypatch):
    evaluator = Evaluator(FailsInTheEnd())
    evaluator.process([1, 2], {})
    if ours:
        monkeypatch.setitem(globals(), '__name__', 'fan_mm.evaluation.some')
    with pytest.raises(ValueError) as error:
        evaluator.evaluate(2)
    said = hook.FirstBatchHook().explain(error.value)
    line = 'FailsInTheEnd cannot compute on all samples: ValueError: inhomogeneous'
    assert said is None if ours else str(said) == line
