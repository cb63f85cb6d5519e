"""A metric that fails: on a part of the images, on all, on a first batch, or once."""

import pytest

pytest.importorskip('mmseg')

from mmseg.evaluation import IoUMetric
from own_metrics import Counting, Nested, Own, run
from stripe_model import StripeModel
from stripe_sweeps import Failing

from fan_mm.errors import InputError


@pytest.mark.parametrize('kind', [Counting, Nested, Own])
def test_what_a_failed_try_collected_is_forgotten(cfg, kind):
    name = run(cfg, kind())['metric']['name']
    expected = [c['metrics'][name] for c in run(cfg, kind())['cells']]
    results = run(cfg, kind(), Failing(at=4, times=1))
    assert [c['metrics'][name] for c in results['cells']] == expected


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
