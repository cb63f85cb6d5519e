"""Evaluators and metrics of every kind in the sweep, on the stripes of `tiny_cityscapes`.

Whatever it is, the clean cell is what mmengine measures with it, or one line says why not.
"""

import collections
import copy
import json

import pytest
import torch

pytest.importorskip('mmseg')

import mmseg.datasets  # noqa: F401  (registration)
from mmengine.dataset import ConcatDataset
from mmengine.evaluator import BaseMetric, DumpResults, Evaluator
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric
from stripe_model import StripeModel
from test_sweep_processes import on_ranks

from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep
from fan_mm.jobs.robustness import summary_text
from fan_mm.report import write_report

SMALL = dict(corruptions=['fog'], severities=[1])


def run(cfg, evaluator, model=None, loader=None, **options):
    loader = loader or cfg.test_dataloader
    sweep = RobustnessSweep(model or StripeModel(), loader, evaluator, **{**SMALL, **options})
    return sweep.run()


def measured(cfg, evaluator):
    """What mmengine's own loop measures."""
    loader = Runner.build_dataloader(cfg.test_dataloader)
    evaluator.dataset_meta = loader.dataset.metainfo
    model = StripeModel().eval()
    for batch in loader:
        evaluator.process(model.test_step(batch), batch)
    return evaluator.evaluate(len(loader.dataset))


def right(sample):
    """Share of pixels that are right."""
    truth = sample['gt_sem_seg']['data']
    return (sample['pred_sem_seg']['data'] == truth)[truth != 255].float().mean().item()


class Own(BaseMetric):
    """A metric of the user's own; ``compute`` makes its scores of the images' shares."""

    def __init__(self, compute=lambda shares: {'accuracy': sum(shares) / len(shares)}, **options):
        super().__init__(**options)
        self.compute = compute

    def process(self, data_batch, data_samples):
        self.results += [right(sample) for sample in data_samples]

    def compute_metrics(self, results):
        return self.compute(results)


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


class Halved(IoUMetric):
    def compute_metrics(self, results):
        return {name: value / 2 for name, value in super().compute_metrics(results).items()}


class HalvedWithin(IoUMetric):
    """Does otherwise in a function that the base's compute_metrics calls."""

    @classmethod
    def total_area_to_metrics(cls, *args, **kwargs):
        found = IoUMetric.total_area_to_metrics(*args, **kwargs)
        return {name: value / 2 for name, value in found.items()}


class InItsOwnWay(IoUMetric):
    def process(self, data_batch, data_samples):
        super().process(data_batch, data_samples)


class Prefixed(IoUMetric):
    def compute_metrics(self, results):
        half = len(results) // 2
        parts = {'all': results, 'a': results[: half + 1], 'b': results[half:]}
        return {
            f'{name}_{score}': value
            for name, part in parts.items()
            for score, value in super(Prefixed, self).compute_metrics(part).items()
        }


@pytest.mark.parametrize(
    ('metric', 'headline', 'intervals'),
    [
        (Halved, 'mIoU', False),
        (HalvedWithin, 'mIoU', False),
        (InItsOwnWay, 'mIoU', True),
        (Prefixed, 'all_mIoU', False),
    ],
)
def test_subclasses_say_their_own_scores(cfg, metric, headline, intervals):
    results = run(cfg, metric())
    expected = measured(cfg, Evaluator(metric()))
    assert results['metric']['name'] == headline
    assert results['cells'][0]['metrics'] == {
        name: pytest.approx(float(value), abs=1e-4) for name, value in expected.items()
    }
    assert (results['bootstrap'] is not None) == intervals
    if metric is Prefixed:
        assert list(results['other_summaries']) == ['a_mIoU', 'b_mIoU']


class IoUMetricNamesake(Own):
    pass


# a class of the user's own with the name of one that is known
IoUMetricNamesake.__name__ = 'IoUMetric'


@pytest.mark.parametrize(
    ('scores', 'headline'),
    [
        (['accuracy'], 'accuracy'),
        (['loss', 'Top1'], 'Top1'),
        (['rmse', 'a_dice', 'mean_dice', 'b_dice'], 'mean_dice'),
        (['x/mIoU', 'aAcc'], 'x/mIoU'),
        (['val_F1'], 'val_F1'),
        (['error', 'quality'], None),
        (['mAP_error'], None),
        (['rmse', 'abs_rel'], None),
        ([], None),
    ],
)
def test_metrics_that_nobody_knows(cfg, scores, headline, tmp_path):
    kind = IoUMetricNamesake if 'aAcc' in scores else Own
    metric = kind(lambda shares: {name: -sum(shares) for name in scores}, prefix='own')
    model = StripeModel()
    if headline is None:
        with pytest.raises(InputError, match='that is known to be better when higher') as error:
            run(cfg, metric, model)
        assert '\n' not in str(error.value)
        assert len(model.seen) <= 3  # not the other cells
        return
    results = run(cfg, metric, model, work_dir=tmp_path)
    assert results['metric']['name'] == headline
    if len(scores) == 4:
        assert write_report(tmp_path, tmp_path).is_file()
    assert 'as returned by the metric' in summary_text(results)
    assert results['metric']['unit'] is None  # per cent or not, who knows
    assert results['task'] == 'other'
    expected = measured(cfg, Evaluator(kind(metric.compute, prefix='own')))
    assert results['cells'][0]['metrics'] == {
        name.removeprefix('own/'): pytest.approx(value, abs=1e-5)
        for name, value in expected.items()
    }


def test_what_is_no_number_is_left_out(cfg):
    metric = Own(
        lambda shares: {
            'matrix': torch.eye(2),
            'words': 'good',
            'none': None,
            'accuracy': torch.tensor([0.5]),
            'auc': float('nan'),
            'recall': float('inf'),
        }
    )
    cell = run(cfg, metric)['cells'][0]
    assert cell['metrics'] == {'accuracy': 0.5, 'auc': None, 'recall': None}


def test_metrics_that_write_predictions_are_left_out(cfg, tmp_path):
    files = [tmp_path / 'dump.pkl', tmp_path / 'labels']
    evaluator = [
        DumpResults(str(files[0])),
        IoUMetric(output_dir=str(files[1]), format_only=True, keep_results=True),
        IoUMetric(output_dir=str(tmp_path / 'kept')),
    ]
    results = run(cfg, evaluator)
    assert results['metric']['name'] == 'mIoU'
    assert not files[0].exists()
    assert not list(files[1].glob('*'))
    with pytest.raises(InputError, match='format_only'):
        run(cfg, evaluator[:2])


def test_two_metrics_of_one_name_need_prefixes(cfg):
    results = run(cfg, [IoUMetric(), Own(prefix='own'), IoUMetric(prefix='second', nan_to_num=0)])
    names = list(results['cells'][0]['metrics'])
    assert names[:3] == ['aAcc', 'mIoU', 'mAcc']
    assert 'second/mIoU' in names
    assert results['metric']['name'] == 'mIoU'
    with pytest.raises(InputError, match='different prefixes'):
        run(cfg, [IoUMetric(), IoUMetric()])


class Counting(BaseMetric):
    """Keeps a count outside of ``results``, reset when it has computed, as torchmetrics users do."""

    def __init__(self):
        super().__init__()
        self.total, self.sums = 0, torch.zeros(1)

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.total += 1
            self.sums += right(sample)
            self.results.append(None)

    def compute_metrics(self, results):
        found = {'accuracy': float(self.sums) / self.total}
        self.total = 0
        self.sums.zero_()
        return found


class Nested(BaseMetric):
    """Like mmpretrain's MultiTasksMetric: the metrics inside collect, and evaluate."""

    def __init__(self):
        super().__init__()
        self.inner = {'task': [Own()]}

    def process(self, data_batch, data_samples):
        self.inner['task'][0].process(data_batch, data_samples)

    def compute_metrics(self, results):
        raise NotImplementedError

    def evaluate(self, size):
        return {f'task_{k}': v for k, v in self.inner['task'][0].evaluate(size).items()}


Pair = collections.namedtuple('Pair', 'first second')


class PerBatch(Own):
    """One result for a batch, a named tuple."""

    def process(self, data_batch, data_samples):
        shares = [right(sample) for sample in data_samples]
        self.results.append(Pair(torch.tensor(shares), len(shares)))

    def compute_metrics(self, results):
        # mmengine makes plain tuples of them
        return {'accuracy': float(sum(s.sum() for s, _ in results) / sum(n for _, n in results))}


class Twice(Own):
    """Two results for an image; mmengine would drop the second half of them."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results += [right(sample), right(sample)]


class Keyed(Own):
    """Collects in a dict."""

    def __init__(self):
        super().__init__()
        self.results = {}

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results[sample['img_path']] = right(sample)

    def evaluate(self, size):
        found = {'accuracy': sum(self.results.values()) / len(self.results)}
        self.results = {}
        return found


@pytest.mark.parametrize('kind', [Counting, Nested, PerBatch, Twice, Keyed])
def test_metrics_that_collect_in_ways_of_their_own(cfg, kind):
    expected = [c['metrics']['accuracy'] for c in run(cfg, Own())['cells']]
    results = run(cfg, kind())
    name = results['metric']['name']
    found = [c['metrics'][name] for c in results['cells']]
    assert found == pytest.approx(expected, abs=1e-5)


class Once(StripeModel):
    """Fails on its n-th image, once."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if len(self.seen) == self.at:
            self.at = None
            raise RuntimeError('out of memory')
        return super().forward(inputs, data_samples, mode)


@pytest.mark.parametrize('kind', [Counting, Nested, Own])
def test_what_a_failed_try_collected_is_forgotten(cfg, kind):
    name = run(cfg, kind())['metric']['name']
    expected = [c['metrics'][name] for c in run(cfg, kind())['cells']]
    results = run(cfg, kind(), Once(at=4))
    assert [c['metrics'][name] for c in results['cells']] == expected


def part(cfg, names):
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    dataset.full_init()
    return dataset.get_subset(names)


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


def failing(where):
    """A metric that fails on parts: 'one' image, fewer than 'all', or 'always'."""

    def compute(shares):
        if where == 'always' or len(shares) < {'one': 2, 'all': 3}[where]:
            raise ValueError('only one class present')
        return {'auc': sum(shares) / len(shares)}

    return Own(compute)


@pytest.mark.parametrize('where', ['one', 'all'])
def test_metrics_that_need_more_than_a_batch_are_not_refused(cfg, where):
    results = run(cfg, failing(where))
    assert [cell['status'] for cell in results['cells']] == ['done', 'done']


@pytest.mark.parametrize('on_error', ['retry', 'skip'])
def test_a_metric_that_fails_on_all_ends_the_sweep_with_the_clean_cell(cfg, on_error):
    model = StripeModel()
    with pytest.raises(InputError, match=r'clean fails like its first batch.*only one class'):
        run(cfg, failing('always'), model, on_error=on_error)
    assert len(model.seen) == 3


@pytest.mark.parametrize('on_error', ['retry', 'skip', 'stop'])
def test_a_metric_that_fails_on_the_clean_cell_ends_the_sweep(cfg, on_error):
    """On its first batch it computed."""

    def compute(shares):
        if len(shares) > 1:
            raise ValueError('cannot add up')
        return {'auc': sum(shares)}

    model = StripeModel()
    line = 'the metric fails on clean, and so it would on every cell: ValueError: cannot add up'
    with pytest.raises(InputError, match=line):
        run(cfg, Own(compute), model, on_error=on_error)
    assert len(model.seen) == 3


def test_a_sweep_without_truth_ends_with_the_clean_cell(cfg, tmp_path):
    class Ignored(StripeModel):
        def forward(self, *args, **kwargs):
            samples = super().forward(*args, **kwargs)
            for sample in samples:
                sample.gt_sem_seg.data[:] = 255
            return samples

    model = Ignored()
    with pytest.raises(
        InputError, match=r'clean images have no mIoU .undefined., and so would every'
    ):
        run(cfg, IoUMetric(), model, work_dir=tmp_path)
    alone = run(cfg, IoUMetric(), model, work_dir=tmp_path / 'alone', corruptions=[])
    assert alone['cells'][0]['metrics']['mIoU'] is None, 'as of a real condition'


@pytest.mark.parametrize('metric', [IoUMetric, Own])
def test_a_metric_that_cannot_take_the_outputs_ends_the_sweep_at_once(cfg, metric):
    class Other(StripeModel):
        def forward(self, *args, **kwargs):
            samples = super().forward(*args, **kwargs)
            for sample in samples:
                del sample.gt_sem_seg
            return samples

    model = Other()
    with pytest.raises(InputError, match="the first batch fails: KeyError: 'gt_sem_seg'"):
        run(cfg, metric(), model)
    assert len(model.seen) == 1
