"""Evaluators of every form in the sweep, with one dataset or several, in one process or two."""

import copy
import json

import pytest

pytest.importorskip('mmseg')

from forked import on_ranks
from mmengine.dataset import ConcatDataset
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS
from mmseg.evaluation import IoUMetric
from own_metrics import Counting, Keyed, Nested, PerBatch, measured, run
from stripe_model import StripeModel

from fan_mm.errors import InputError
from fan_mm.report import write_report

IOU = dict(type='IoUMetric', iou_metrics=['mIoU'])
FORMS = {
    'metric': IOU,
    'scoped': dict(IOU, type='mmseg.IoUMetric'),
    'class': dict(IOU, type=IoUMetric),
    'list': [IOU],
    'tuple': (IOU,),
    'metrics': dict(metrics=IOU),
    'several': dict(type='Evaluator', metrics=[IOU]),
    'class of the evaluator': dict(type=Evaluator, metrics=[IOU]),
    'built metric': lambda: IoUMetric(),
    'list of built': lambda: [IoUMetric()],
    'built': lambda: Evaluator(IoUMetric()),
}


@pytest.mark.parametrize('form', FORMS)
def test_every_form_of_an_evaluator(cfg, form):
    evaluator = FORMS[form]() if callable(FORMS[form]) else copy.deepcopy(FORMS[form])
    kept = copy.deepcopy(evaluator) if not callable(FORMS[form]) else None
    results = run(cfg, evaluator)
    expected = measured(cfg, Evaluator(IoUMetric()))
    assert results['cells'][0]['metrics']['mIoU'] == pytest.approx(expected['mIoU'], abs=1e-4)
    assert results['summary']['mean']['interval']
    assert kept is None or evaluator == kept


@pytest.mark.parametrize('evaluator', [None, 'IoUMetric', 3, [], dict(metrics=[]), StripeModel])
def test_what_is_no_evaluator_is_one_line(cfg, evaluator):
    with pytest.raises(InputError, match=r'not an evaluator|no metric'):
        run(cfg, evaluator)


class MyEvaluator(Evaluator):
    """Scores of its own out of those of the metrics."""

    def evaluate(self, size):
        values = super().evaluate(size)
        return {'mIoU': values['mIoU'] / 2, 'images': size}


def test_the_evaluators_own_evaluate_says_the_scores(cfg):
    results = run(cfg, MyEvaluator(IoUMetric()))
    whole = run(cfg, IoUMetric())
    for own, other in zip(results['cells'], whole['cells'], strict=True):
        assert own['metrics']['mIoU'] == pytest.approx(other['metrics']['mIoU'] / 2)
        assert own['metrics']['images'] == 3
    assert results['bootstrap'] is None  # the statistics give another number
    assert whole['bootstrap'] is not None


def part(cfg, names):
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    dataset.full_init()
    dataset.get_subset_(names)  # not get_subset, whose memo of copies outlives the call
    return dataset


@pytest.fixture
def two_datasets(cfg):
    """A loader over parts of one and two images, and what tells them apart: the first is rougher."""
    loader = copy.deepcopy(cfg.test_dataloader)
    loader.dataset = ConcatDataset([part(cfg, [0]), part(cfg, [1, 2])])
    return loader


def multi(kind=IoUMetric, **options):
    evaluator = pytest.importorskip('mmdet.evaluation').MultiDatasetsEvaluator
    return evaluator([kind(), kind()], **{'dataset_prefixes': ['a', 'b'], **options})


def test_each_dataset_has_its_scores(cfg, two_datasets, tmp_path):
    results = run(cfg, multi(), loader=two_datasets, work_dir=tmp_path)
    assert 'b/mIoU' in write_report(tmp_path, tmp_path).with_suffix('.md').read_text()
    assert results['metric']['name'] == 'a/mIoU'
    assert list(results['other_summaries']) == ['b/mIoU']
    for name, samples in (('a', [0]), ('b', [1, 2])):
        alone = dict(cfg.test_dataloader, dataset=part(cfg, samples))
        expected = run(cfg, IoUMetric(), loader=alone)
        for cell, other in zip(results['cells'], expected['cells'], strict=True):
            assert cell['metrics'][f'{name}/mIoU'] == other['metrics']['mIoU']


def test_parts_of_the_datasets(cfg, two_datasets):
    results = run(cfg, multi(), loader=two_datasets, max_samples=2)  # one of each
    alone = dict(cfg.test_dataloader, dataset=part(cfg, [1]))
    expected = run(cfg, IoUMetric(), loader=alone)
    assert results['cells'][0]['metrics']['b/mIoU'] == expected['cells'][0]['metrics']['mIoU']
    with pytest.raises(InputError, match='no image is left for IoUMetric of b'):
        run(cfg, multi(), loader=two_datasets, max_samples=1)
    with pytest.raises(InputError, match='2 datasets, 1 dataset_prefixes and 2 metrics'):
        run(cfg, multi(dataset_prefixes=['a']), loader=two_datasets)


def test_evaluators_in_two_processes(cfg, two_datasets, tmp_path):
    """The evaluators' own way of collecting is never met: rank 0 has everything, in order."""
    kinds = {
        'multi': (multi, two_datasets),
        'own': (MyEvaluatorOfOne, None),
        'nested': (Nested, None),
        'batches': (PerBatch, None),
    }
    expected = {
        name: run(cfg, make(), loader=data)['cells'] for name, (make, data) in kinds.items()
    }

    def rank_main(rank):
        found = {n: run(cfg, make(), loader=data)['cells'] for n, (make, data) in kinds.items()}
        (tmp_path / f'rank{rank}.json').write_text(json.dumps(found))
        for kind in (Keyed, Counting):
            with pytest.raises(
                InputError, match=f'{kind.__name__} does not keep its results in a way'
            ):
                run(cfg, kind())

    on_ranks(rank_main, 2, tmp_path / 'store')
    for rank in range(2):
        found = json.loads((tmp_path / f'rank{rank}.json').read_text())
        for name, cells in expected.items():
            values = [cell['metrics'] for cell in found[name]]
            assert values == [pytest.approx(cell['metrics'], abs=1e-5) for cell in cells]


def MyEvaluatorOfOne():
    return MyEvaluator(IoUMetric())
