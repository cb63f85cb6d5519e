"""What metrics collected on several ranks: in the order of the samples, and on the CPU."""

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import BaseDataElement

from fan_mm.evaluation.sweeping import gathering
from fan_mm.evaluation.sweeping.gathering import Gathering, RankPart, in_order, to_cpu

Pair = namedtuple('Pair', 'first second')


def test_one_entry_per_sample_comes_in_the_samples_order():
    parts = [
        RankPart(positions=[0, 1, 4], results=[['a', 'b', 'e'], [10, 11, 14]]),
        RankPart(positions=[2, 3], results=[['c', 'd'], [12, 13]]),
    ]
    assert in_order(parts) == [['a', 'b', 'c', 'd', 'e'], [10, 11, 12, 13, 14]]


def test_other_entries_come_rank_after_rank():
    parts = [
        RankPart(positions=[0, 3], results=[['a', 'd'], ['several', 'per', 'sample']]),
        RankPart(positions=[1, 2], results=[['b', 'c'], ['and', 'more']]),
    ]
    expected = ['several', 'per', 'sample', 'and', 'more']
    assert in_order(parts) == [['a', 'b', 'c', 'd'], expected]
    assert in_order(parts[:1]) == parts[0].results


def test_results_that_compare_with_nothing_are_sorted_by_their_place():
    parts = [RankPart(positions=[1], results=[[{}]]), RankPart(positions=[0], results=[[{'a': 1}]])]
    assert in_order(parts) == [[{'a': 1}, {}]]


def test_tensors_take_their_own_storage_along_whatever_holds_them():
    batch = torch.arange(12.0).reshape(3, 4)
    held = {
        'row': batch[1],
        'list': [batch[2], 'text'],
        'tuple': (batch[0],),
        'names': Pair(batch[0], 3),
        'element': BaseDataElement(scores=batch[0]),
        'whole': batch,
    }
    found = to_cpu(held)
    assert list(found) == list(held)
    for row in (found['row'], found['list'][0], found['tuple'][0], found['names'].first):
        assert row.untyped_storage().nbytes() == row.nbytes
    assert torch.equal(found['row'], batch[1]) and torch.equal(found['list'][0], batch[2])
    assert found['list'][1] == 'text' and type(found['tuple']) is tuple
    assert type(found['names']) is Pair and found['names'].second == 3
    assert isinstance(found['element'], BaseDataElement)
    assert found['whole'].data_ptr() == batch.data_ptr()


@pytest.mark.parametrize(
    ('device', 'named', 'has_work_dir', 'folders'),
    [
        ('cpu', None, True, ['.collect/1', '.collect/2']),  # never one name twice
        ('cpu', None, False, [None, None]),
        ('cpu', 'elsewhere', True, ['elsewhere', 'elsewhere']),
        ('gpu', None, True, [None, None]),
    ],
)
def test_parts_are_sent_as_the_first_metric_says(
    device, named, has_work_dir, folders, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(gathering, 'get_dist_info', lambda: (1, 3))
    monkeypatch.setattr(gathering, 'collect_results', lambda *given: asked.append(given))
    metrics = [
        SimpleNamespace(collect_device=device, collect_dir=named),
        SimpleNamespace(collect_device='gpu', collect_dir='of another metric'),
    ]
    found = Gathering(SimpleNamespace(metrics=metrics), tmp_path if has_work_dir else None)
    part = RankPart(positions=[0])
    for _ in folders:
        found.gather(part)
    wanted = [str(tmp_path / f) if f and f != named else f for f in folders]
    assert asked == [([part], 3, device, folder) for folder in wanted]
    found.tidy()  # of nothing
    (tmp_path / '.collect/9').mkdir(parents=True)
    found.tidy()
    assert Path(tmp_path / '.collect').exists() != has_work_dir
