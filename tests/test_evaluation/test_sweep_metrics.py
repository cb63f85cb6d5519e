"""Metrics of every kind in the sweep: mmengine measures the same with them, or one line says why not."""

import pytest

pytest.importorskip('mmseg')

import torch
from mmengine.evaluator import DumpResults, Evaluator
from mmseg.evaluation import IoUMetric
from own_metrics import Counting, Keyed, Nested, Own, PerBatch, measured, right, run
from stripe_model import StripeModel

from fan_mm.errors import InputError
from fan_mm.jobs.robustness import summary_text
from fan_mm.report import write_report


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


class Twice(Own):
    """Two results for an image; mmengine would drop the second half of them."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results += [right(sample), right(sample)]


class Adding(Own):
    """Does not reset what it keeps: tools/test.py lets it compute only once."""

    def __init__(self):
        super().__init__()
        self.total, self.shares, self.seen = 0.0, torch.zeros(1), []

    def process(self, data_batch, data_samples):
        super().process(data_batch, data_samples)
        for sample in data_samples:
            self.total += right(sample)
            self.shares += right(sample)
            self.seen.append(right(sample))

    def compute_metrics(self, results):
        count = len(self.seen)
        scores = (self.total / count, float(self.shares) / count, sum(self.seen) / count)
        return dict(zip(('accuracy', 'acc', 'auc'), scores, strict=True))


def test_metrics_that_do_not_reset_what_they_keep(cfg):
    expected = [c['metrics']['accuracy'] for c in run(cfg, Own(), severities=[1, 5])['cells']]
    found = [c['metrics'] for c in run(cfg, Adding(), severities=[1, 5])['cells']]
    assert [list(scores.values()) for scores in found] == [
        pytest.approx([score] * 3) for score in expected
    ]


@pytest.mark.parametrize('kind', [Counting, Nested, PerBatch, Twice, Keyed])
def test_metrics_that_collect_in_ways_of_their_own(cfg, kind):
    expected = [c['metrics']['accuracy'] for c in run(cfg, Own())['cells']]
    results = run(cfg, kind())
    name = results['metric']['name']
    found = [c['metrics'][name] for c in results['cells']]
    assert found == pytest.approx(expected, abs=1e-5)
