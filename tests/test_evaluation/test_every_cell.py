"""Which failures end a sweep at once because every cell would fail so, and which do not."""

from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from first_batch_parts import Images
from mmengine.evaluator import BaseMetric, Evaluator
from PIL import Image
from torch.utils.data import DataLoader

from fan_mm.evaluation import every_cell
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.every_cell import EveryCell, EveryCellFails
from fan_mm.evaluation.sweeping.cell_metrics import CellMetrics

FOG, SNOW = Cell('fog', 1), Cell('snow', 2)


class Accuracy(BaseMetric):
    """A user's metric, and what it is told to raise."""

    error = None

    def process(self, data_batch, data_samples):
        self.results += [sample['right'] for sample in data_samples]

    def compute_metrics(self, results):
        if self.error:
            raise self.error
        return {'accuracy': 100 * sum(results) / len(results)}


class Silent(Accuracy):
    """Keeps what it collects elsewhere."""

    def process(self, data_batch, data_samples):
        self.kept = len(data_samples)


class Beside(Accuracy):
    """Also keeps something beside its results, in one way or another."""

    def __init__(self, before, keep):
        super().__init__()
        self.held, self.keep = before, keep

    def process(self, data_batch, data_samples):
        super().process(data_batch, data_samples)
        self.held = self.keep(self.held)


def watch(metric=Accuracy, parts=None):
    evaluator = Evaluator([metric()])
    evaluator.dataset_meta = {'classes': ('a', 'b')}
    return EveryCell(CellMetrics(evaluator, None, [None] * 4, parts))


def tried(found, world=(0, 1), monkeypatch=None):
    found.metrics.begin()
    found.evaluator.process([{'right': True}, {'right': False}], [{}, {}])
    if monkeypatch:
        monkeypatch.setattr(every_cell, 'get_dist_info', lambda: world)
    return found.try_metrics([0, 1])


class Sized(torch.nn.Module):
    """Takes no batch of images of several sizes, or says what it is told to."""

    def __init__(self, words='sizes'):
        super().__init__()
        self.words, self.seen = words, 0

    def test_step(self, batch):
        self.seen += 1
        if len({Image.open(sample['img_path']).size for sample in batch}) > 1:
            raise RuntimeError(self.words)


@pytest.mark.parametrize(
    ('model', 'batch_size', 'seen'),
    [
        (Sized(), 2, 'several sizes: RuntimeError: sizes; resize or crop'),
        (Sized(), 1, None),
        (Sized(), 4, None),  # the first batch itself
        (Sized('Default process group has not been initialized, please'), 2, None),
    ],
)
def test_a_batch_of_several_sizes(tmp_path, model, batch_size, seen):
    paths = [str(tmp_path / f'{number}.png') for number in range(4)]
    for path, width in zip(paths, (8, 8, 8, 9), strict=True):
        Image.new('RGB', (width, 8)).save(path)
    dataset = Images(*paths)
    dataset.samples = range(4)
    loader = DataLoader(dataset, batch_size=batch_size, collate_fn=list)
    with pytest.raises(EveryCellFails, match=seen) if seen else nullcontext():
        watch().try_several_sizes(model, dataset, loader, fp16=False)
    assert model.seen == 0  # as it was before


def test_two_cells_that_fail_alike_speak_for_all():
    found = watch()
    found.compare(FOG, 'no memory')
    found.compare(FOG, 'no memory')  # the same cell again says nothing of the others
    found.compare(SNOW, 'another thing')
    found.compare(FOG, 'no memory')
    with pytest.raises(
        EveryCellFails, match='snow/2 fails like fog/1, and so would every cell: no'
    ):
        found.compare(SNOW, 'no memory')


def test_a_cell_that_fails_as_the_first_batch_did_speaks_for_all():
    found = watch()
    found.agree(None)
    found.doubt = 'too few'
    found.compare(FOG, 'another thing')
    with pytest.raises(EveryCellFails, match=r'fog/1 fails like its first batch.*too few'):
        found.compare(FOG, 'too few')


def test_ranks_agree_on_a_mistake(monkeypatch):
    found = watch()
    monkeypatch.setattr(
        every_cell, 'all_gather_object', lambda mine: [mine, (None, 'odd'), (None, 'odder')]
    )
    found.agree(None)
    assert found.doubt == 'odd'
    monkeypatch.setattr(every_cell, 'all_gather_object', lambda mine: [mine, ('wrong', None)])
    with pytest.raises(EveryCellFails, match='the first batch fails: wrong'):
        found.agree(None)


@pytest.mark.parametrize(
    ('cell', 'error', 'ends'),
    [
        (CLEAN, ValueError('bad'), True),
        (FOG, ValueError('bad'), False),
        (CLEAN, MemoryError('bad'), False),  # another try may do
        (CLEAN, OSError('bad'), False),
        (CLEAN, ValueError('known'), False),
    ],
)
def test_a_metric_that_fails_on_the_whole_clean_cell(cell, error, ends):
    found = watch()
    found.doubt = 'ValueError: known'
    if ends:
        with pytest.raises(EveryCellFails, match=r'the metric fails on clean, and so.*bad'):
            found.metric_failed(cell, error)
    else:
        found.metric_failed(cell, error)


def test_metrics_that_compute_leave_no_doubt_and_what_they_hold():
    found = watch()
    assert tried(found) is None
    assert found.doubt is None
    assert len(found.evaluator.metrics[0].results) == 2


def test_a_users_metric_may_need_more_than_a_batch():
    found = watch()
    found.evaluator.metrics[0].error = ValueError('too few')
    assert tried(found) is None
    assert found.doubt.endswith('too few')


@pytest.mark.parametrize(
    ('metric', 'wrong'), [(Silent, 'Silent does not keep its results'), (Accuracy, None)]
)
def test_what_cannot_be_gathered(metric, wrong, monkeypatch):
    said = tried(watch(metric), (0, 2), monkeypatch)
    assert said is None if wrong is None else said.startswith(wrong)
    assert tried(watch(metric), (1, 2), monkeypatch) is None
    broken = watch()
    broken.evaluator.metrics[0].error = ValueError('bad')
    assert tried(broken, (1, 2), monkeypatch) is None and broken.doubt is None  # rank 0's to try


@pytest.mark.parametrize(
    ('before', 'keep', 'counts'),
    [
        ([], lambda held: held.append('a') or held, True),
        (['a'], lambda held: [*held, 'b'], True),
        ({}, lambda held: held.update(a=1) or held, True),
        ({'a': 1}, lambda held: held | {'a': 2}, True),
        ({1}, lambda held: held.add(2) or held, True),
        (np.int64(1), lambda held: held + 1, True),
        (np.ones(2), lambda held: held + 1, True),
        (['a', 'b'], list, False),
        ({'a': 1, 'b': 2}, dict, False),
        (set('abcdefgh'), set, False),
        (None, lambda held: ['classes'], False),  # read when they are needed
        ('text', lambda held: held + '!', False),
    ],
)
def test_what_is_counted_beside_the_results_cannot_be_gathered(before, keep, counts, monkeypatch):
    said = tried(watch(partial(Beside, before, keep)), (0, 2), monkeypatch)
    assert (said is not None and said.startswith('Beside does not keep its results')) == counts


def test_of_several_datasets_the_first_is_tried():
    evaluators = pytest.importorskip('mmdet.evaluation')
    meta = [{'classes': ('a', 'b'), 'name': name} for name in ('first', 'second')]
    evaluator = evaluators.MultiDatasetsEvaluator([Accuracy(), Accuracy()], ['first', 'second'])
    evaluator.dataset_meta = [{**m, 'cumulative_sizes': [3, 5]} for m in meta]
    seen = []
    for metric, name in zip(evaluator.metrics, ('first', 'second'), strict=True):
        metric.compute_metrics = lambda results, metric=metric, name=name: (
            seen.append((name, len(results), metric.dataset_meta)) or {'accuracy': 50.0}
        )
        metric.results = [True, False, True, True]
    parts = [slice(0, 3), slice(3, 5)]
    found = EveryCell(CellMetrics(evaluator, None, [None] * 5, parts))
    found._score([0, 1, 2, 3])
    # three of the four are of the first dataset
    assert seen == [('first', 3, {**meta[0], 'cumulative_sizes': [3]})]
    assert len(evaluator.metrics) == 2
