"""Samplers of evaluations in several processes: mmengine joins results in one way alone."""

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from fan_mm.engine.first_batch import dealing


class InChunks(DefaultSampler):
    """As mmpretrain's SequentialSampler with subsample_type='sequential'."""

    def __iter__(self):
        indices = (list(range(len(self.dataset))) * 2)[: self.total_size]
        share = self.total_size // self.world_size
        return iter(indices[self.rank * share : (self.rank + 1) * share])


class Reversed(BatchSampler):
    """Gives a process its batches in another order, as those that sort by shape do."""

    def __iter__(self):
        return iter(list(super().__iter__())[::-1])


class All(DefaultSampler):
    """Knows of one process only."""

    def __iter__(self):
        return iter(range(len(self.dataset)))


def loader_of(rank, size, kind, batches=BatchSampler, processes=3, drop_last=False, **options):
    sampler = kind(range(size), **options)
    sampler.rank, sampler.world_size = rank, processes
    if kind is not InfiniteSampler:
        share = -(-size // processes) if sampler.round_up else -(-(size - rank) // processes)
        sampler.num_samples = share
        sampler.total_size = share * processes if sampler.round_up else size
    return DataLoader(range(size), batch_sampler=batches(sampler, 1, drop_last))


@pytest.mark.parametrize(
    ('size', 'how', 'lost', 'twice'),
    [
        (7, dict(kind=DefaultSampler, seed=0), 0, 0),
        (7, dict(kind=DefaultSampler, shuffle=False), 0, 0),
        (7, dict(kind=DefaultSampler, shuffle=False, round_up=False), 0, 0),
        (2, dict(kind=DefaultSampler, shuffle=False), 0, 0),
        (2, dict(kind=DefaultSampler, shuffle=False, round_up=False), 0, 0),
        (6, dict(kind=InChunks), 0, 0),
        (7, dict(kind=InChunks), 1, 1),
        (7, dict(kind=InChunks, round_up=False), 1, 0),
        (6, dict(kind=DefaultSampler, shuffle=False, batches=Reversed), 0, 0),
        (7, dict(kind=DefaultSampler, shuffle=False, batches=Reversed), 1, 1),
        (9, dict(kind=All), 6, 3),
        (9, dict(kind=All, drop_last=True), 0, 0),  # said elsewhere
    ],
)
def test_images_left_out_and_counted_twice(size, how, lost, twice, monkeypatch):
    """The line says what mmengine's metrics compute on."""
    loaders = [loader_of(rank, size, **how) for rank in range(3)]
    said = []
    monkeypatch.setattr(dealing, 'get_world_size', lambda: 3)
    monkeypatch.setattr(
        dealing, 'all_gather_object', lambda own: [dealing._own(loader) for loader in loaders]
    )
    monkeypatch.setattr(dealing, 'warn', lambda line: said.append(line))
    dealing.say_dealing('val_dataloader', loaders[0])
    words = f'to 3 processes, the scores leave out {lost} of them and count {twice} twice: use '
    assert [words in line for line in said] == [True] * bool(lost + twice)


def test_one_process_and_samplers_that_nobody_can_ask(monkeypatch):
    dealing.say_dealing('val_dataloader', loader_of(0, 7, All))
    assert dealing._own(loader_of(0, 4, InfiniteSampler)) is None
    frames = DataLoader(range(4), batch_sampler=[[(0, 1)], [(0, 2)]])
    assert dealing._own(frames) is None
    assert dealing.joined_wrongly([None, [1]], 4) == (0, 0)
    assert dealing.joined_wrongly([[], []], 4) == (4, 0)
    assert dealing._own(DataLoader(range(2), sampler=np.array([0, 1]))) == [0, 1]


class Endless(IterableDataset):
    """A stream that says a length."""

    def __len__(self):
        return 4

    def __iter__(self):
        return iter(range(4))


class Unsized:
    """Its length is not known."""

    def __getitem__(self, index):
        return index


@pytest.mark.parametrize(
    'loader', [None, [1, 2], DataLoader(Endless()), DataLoader(Unsized(), sampler=[0, 1])]
)
def test_data_without_places_are_not_asked(loader, monkeypatch):
    monkeypatch.setattr(dealing, 'get_world_size', lambda: 3)
    monkeypatch.setattr(dealing, 'all_gather_object', lambda _: pytest.fail('asked'))
    dealing.say_dealing('val_dataloader', loader)
    dealing.say_left_out(loader)


class Halves(DefaultSampler):
    """Takes every other sample."""

    def __iter__(self):
        return iter(list(super().__iter__())[::2])


@pytest.mark.parametrize(
    ('kind', 'said'),
    [
        (DefaultSampler, []),
        (InfiniteSampler, []),
        (Halves, ['fan_mm: Halves takes 4 of 7 images in tools/test.py; here all are taken']),
    ],
)
def test_a_sampler_that_leaves_samples_out(kind, said, monkeypatch):
    lines = []
    monkeypatch.setattr(dealing, 'warn', lambda line: lines.append(line))
    options = {} if kind is InfiniteSampler else dict(shuffle=False)
    dealing.say_left_out(loader_of(0, 7, kind, processes=1, **options))
    assert [line.partition(':')[0] + ':' + line.split(':')[1] for line in lines] == said


def test_samples_of_several_processes_count_together(monkeypatch):
    lines = []
    loaders = [loader_of(rank, 7, DefaultSampler, shuffle=False) for rank in range(3)]
    parts = [dealing._own(loader) for loader in loaders]
    monkeypatch.setattr(dealing, 'warn', lambda line: lines.append(line))
    monkeypatch.setattr(dealing, 'all_gather_object', lambda _: parts)
    dealing.say_left_out(loaders[0])
    assert not lines
    parts.pop()
    dealing.say_left_out(loaders[0])
    assert len(lines) == 1 and 'takes 5 of 7 images' in lines[0]
