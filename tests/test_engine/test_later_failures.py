"""What fails later than in the first batch is one line that names whose fault it is."""

import contextlib
from types import FunctionType, SimpleNamespace

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import PolyLR
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from fan_mm.engine.first_batch import hook
from fan_mm.errors import InputError


class FailsInTheEnd(BaseMetric):
    """As mmdet's proposal_fast does with more than one picture."""

    def process(self, data_batch, data_samples):
        self.results += [1] * len(data_samples)

    def compute_metrics(self, results):
        return {'images': len(self.stacked(results))}

    def stacked(self, results):
        if len(results) > 1:
            raise ValueError('inhomogeneous')
        return results


class FailsOnOne(FailsInTheEnd):
    def process(self, data_batch, data_samples):
        for data_sample in data_samples:
            if data_sample['img_path'] == 'b.png':
                raise IndexError('another shape')


class FailsOnAll(FailsInTheEnd):
    error = IndexError('another shape')

    def process(self, data_batch, data_samples):
        raise self.error


@pytest.mark.parametrize(('kind', 'of'), [(FailsOnOne, 'b.png'), (FailsOnAll, 'a sample')])
def test_a_metric_that_fails_on_a_later_sample(kind, of):
    with pytest.raises(IndexError) as error:
        Evaluator(kind()).process([dict(img_path='a.png'), dict(img_path='b.png')], {})
    line = f'{kind.__name__} cannot process the output of the model for {of}: IndexError: another shape'
    assert str(hook.FirstBatchHook().explain(error.value)) == line


@pytest.mark.parametrize(
    ('name', 'whose'),
    [
        *((name, None) for name in ('process', 'compute_metrics', 'step', '__iter__', 'call_hook')),
        ('evaluate', FailsInTheEnd()),
        ('state_dict', object.__new__(PolyLR)),
        ('set_epoch', SequentialSampler([])),
    ],
)
def test_who_is_known_by_the_function_and_whose_it_is(name, whose):
    def function(self):
        raise KeyError

    with pytest.raises(KeyError) as error:
        FunctionType(function.__code__.replace(co_name=name), {})(whose)
    assert hook.FirstBatchHook().explain(error.value) is None


@pytest.mark.parametrize(
    ('step', 'epochs', 'at'),
    [
        (('before_train_epoch',), 1, ('train', 7)),  # iterations are counted
        (('before_train_epoch',), 2, ('train', 0)),
        (('after_train_iter', 4), 1, ('train', 5)),
        (('before_val_epoch',), 1, ('val', 0)),
        (('after_val_iter', 4), 1, ('val', 5)),
        (('after_val_epoch',), 1, ('train', 7)),
        (('after_val_epoch',), None, 'as before'),  # no training
        (('before_test_epoch',), 1, ('test', 0)),
        (('after_test_iter', 4), 1, ('test', 5)),
    ],
)
def test_the_batch_that_a_run_has_come_to(step, epochs, at):
    runner = SimpleNamespace(iter=7, max_epochs=epochs, train_loop=epochs)
    for name in ('train', 'val', 'test'):
        setattr(runner, f'{name}_dataloader', name)
    watching = hook.FirstBatchHook()
    watching.at = 'as before'
    name, *batch = step
    getattr(watching, name)(runner, *batch)
    assert watching.at == at


@pytest.mark.parametrize('loading', [True, False])
def test_a_sample_is_at_fault_only_while_loading(loading, monkeypatch):
    monkeypatch.setattr(hook, 'failed_sample', lambda *at: InputError(f'{at}'))
    watching = hook.FirstBatchHook()
    watching.at = 'train', 3
    with pytest.raises(ZeroDivisionError) as error:
        next(iter(DataLoader([1], collate_fn=lambda _: 1 / 0))) if loading else 1 / 0
    assert str(watching.explain(error.value)) == ("('train', 3)" if loading else 'None')


def test_samples_that_form_no_batch():
    watching = hook.FirstBatchHook()
    loader = DataLoader([torch.ones(2), torch.ones(2), torch.ones(2), torch.ones(3)], batch_size=2)
    watching.at = loader, 1
    with pytest.raises(RuntimeError) as error:
        list(loader)
    line = 'list: samples cannot form a batch: RuntimeError: stack expects each tensor to be equal size'
    assert str(watching.explain(error.value)).startswith(line)


class Segmentor(BaseModel):
    error = AssertionError

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise self.error('CUDA out of memory' if self.error is RuntimeError else 'sizes')


@pytest.mark.parametrize('step', ['train_step', 'val_step', 'test_step'])
@pytest.mark.parametrize(
    ('data', 'of'),
    [
        (dict(inputs=[], data_samples=[SimpleNamespace(), SimpleNamespace(img_path='b.png')]), 'b.png'),
        (dict(inputs=[], data_samples=None), 'some samples'),
        (([],), 'some samples'),
    ],
)  # fmt: skip
def test_a_model_that_fails_on_a_later_batch(step, data, of, monkeypatch):
    def explained():
        with pytest.raises(Segmentor.error) as error:
            getattr(Segmentor(), step)(data, *[optimizer] * (step == 'train_step'))
        return hook.FirstBatchHook().explain(error.value)

    optimizer = SimpleNamespace(optim_context=lambda model: contextlib.nullcontext())
    assert str(explained()) == f'the model fails on the batch of {of}: AssertionError: sizes'
    with monkeypatch.context() as patch:
        patch.setitem(globals(), '__name__', 'fan_mm.models.some')
        assert explained() is None  # perhaps a bug of ours
    monkeypatch.setattr(Segmentor, 'error', RuntimeError)
    assert explained() is None


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


@pytest.mark.parametrize(
    'error', [torch.OutOfMemoryError('CUDA out of memory.'), OSError(28, 'No space left on device')]
)
def test_memory_and_disks_are_no_fault_of_hooks_and_metrics(error, monkeypatch):
    monkeypatch.setattr(Painting, 'error', error)
    monkeypatch.setattr(FailsOnAll, 'error', error)
    with pytest.raises(type(error)) as by_hook:
        Runner.call_hook(SimpleNamespace(_hooks=[Painting()]), 'after_test_iter')
    with pytest.raises(type(error)) as by_metric:
        Evaluator(FailsOnAll()).process([{}], {})
    assert {hook.FirstBatchHook().explain(raised.value) for raised in (by_hook, by_metric)} == {
        None
    }


@pytest.mark.parametrize(('metric', 'caller', 'said'), [
    ('some', 'some', True),
    ('some', 'fan_mm.jobs.some', True),
    ('fan_mm.evaluation.some', 'some', False),  # a bug of ours
])  # fmt: skip
def test_a_metric_that_fails_on_the_whole(metric, caller, said, monkeypatch):
    evaluator = Evaluator(FailsInTheEnd())
    evaluator.process([1, 2], {})
    monkeypatch.setitem(globals(), '__name__', metric)
    call = FunctionType((lambda evaluator: evaluator.evaluate(2)).__code__, {'__name__': caller})
    with pytest.raises(ValueError) as error:
        call(evaluator)
    line = 'FailsInTheEnd cannot compute on all samples: ValueError: inhomogeneous'
    assert str(hook.FirstBatchHook().explain(error.value)) == (line if said else 'None')
