"""The batch in which images of several sizes meet is tried before a run comes to it."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from first_batch_parts import Images, keeping_loop
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader

from fan_mm.engine.first_batch import several_sizes, trial
from fan_mm.engine.first_batch.several_sizes import mixed_batch
from fan_mm.errors import InputError


@pytest.fixture
def images(tmp_path):
    def made(sizes):
        for number, size in enumerate(sizes):
            Image.new('RGB', (size, 8)).save(tmp_path / f'{number}.png')
        return Images(*(str(tmp_path / f'{number}.png') for number in range(len(sizes))))

    return made


@pytest.mark.parametrize(
    ('sizes', 'batch_size', 'batch'),
    [
        ([8, 8, 8], 2, []),
        ([8, 8, 8, 9, 9], 2, [2, 3]),
        ([8, 8, 9, 9], 2, []),
        ([8, 9], 1, []),
        ([8, 8, 9], 8, [0, 1, 2]),
        ([8, 8, 9, 9, 8, 8, 8, 9], 2, [6, 7]),
        ([8] * 50 + [9] * 51, 4, [48, 49, 50, 51]),
    ],
)
def test_the_batch(images, sizes, batch_size, batch):
    dataset = images(sizes)
    assert list(mixed_batch(dataset, range(len(sizes)), batch_size)) == batch
    assert list(mixed_batch(list(dataset), range(len(sizes)), batch_size)) == []  # says no paths


@pytest.mark.parametrize(('first', 'start'), [(611, 608), (614, 612)])
def test_neighbours_between_those_that_are_looked_at(images, first, start):
    small, wide = images([8, 9])
    dataset = Images(*[small['img_path']] * first, *[wide['img_path']] * (1000 - first))
    assert list(mixed_batch(dataset, range(1000), 4)) == [*range(start, start + 4)]


@pytest.mark.parametrize(
    ('sizes', 'words'),
    [
        ([8, 8, 8, 9], 'on a batch of images of several sizes: ValueError: sizes; resize or crop'),
        ([8, 9, 8, 8], 'on the first batch: ValueError: sizes$'),
        ([8, 8, 9, 9], None),
    ],
)
def test_a_model_that_takes_one_size_per_batch(images, sizes, words, monkeypatch):
    monkeypatch.setattr(trial, 'ValLoop', SimpleNamespace)
    dataset, seen = images(sizes), []

    def step(batch):
        seen.append(len(batch))
        if len({Image.open(sample['img_path']).size for sample in batch}) > 1:
            raise ValueError('sizes')
        return [{} for _ in batch]

    loop = keeping_loop(torch.nn.Module())
    loop.dataloader = DataLoader(dataset, batch_size=2, collate_fn=list)
    if words:
        with pytest.raises(InputError, match=f'^val_dataloader: the model fails {words}'):
            trial.try_loop(loop, step, 'val')
    else:
        trial.try_loop(loop, step, 'val')
        assert seen == [2]


def test_a_model_alone_takes_one_of_several_sizes(images):
    loader = DataLoader(images([8, 8, 8, 9, 8, 8]), batch_size=2, collate_fn=list)

    def step(batch):
        seen.append([Image.open(sample['img_path']).width for sample in batch])
        if len(set(seen[-1])) > 1:
            raise ValueError('sizes')

    for order, found in ((None, [[8, 8], [8, 9]]), ([3, 0, 1, 2], [[9, 8]]), ([0, 1, 2, 4], [])):
        seen = []
        several = 'a batch of images of several sizes: ValueError: sizes; resize or crop'
        words = several if len(found) > 1 else 'the first batch: ValueError: sizes$'
        with (
            pytest.raises(InputError, match=f'^set: the model fails on {words}')
            if found
            else nullcontext()
        ):
            assert not trial.try_model(step, loader, 'set', order)
        assert seen == (found or [[8, 8]])


def test_a_later_set_is_only_asked_for_its_batch_of_several_sizes(images):
    dataset, seen = images([8, 8, 8, 9, 9, 9]), []
    loader = DataLoader(dataset, batch_size=2, collate_fn=list)

    def step(batch):
        seen.append([Image.open(sample['img_path']).width for sample in batch])

    for order, first, several, batches in (
        ([0, 1, 4, 5], True, False, [[8, 8]]),
        ([0, 1, 4, 5], False, False, []),
        ([0, 1, 2, 3], True, True, [[8, 8], [8, 9]]),
        ([0, 1, 2, 3], False, True, [[8, 9]]),
        ([2, 3, 0, 1], True, True, [[8, 9]]),
        ([2, 3, 0, 1], False, True, [[8, 9]]),
    ):
        seen.clear()
        assert trial.try_model(step, loader, 'set', order, first) == several
        assert seen == batches


def test_few_headers_are_read_where_images_are_sorted_by_size(monkeypatch):
    asked = []

    def size_of(dataset, index):
        asked.append(index)
        return (index >= 70_001, 8)

    monkeypatch.setattr(several_sizes, '_size_of', size_of)
    assert list(mixed_batch(None, range(100_000), 2)) == [70_000, 70_001]
    assert len(asked) < 300


class OfOneSize(BatchSampler):
    """Puts images of one size together, as one of a user's own may."""


def test_samplers_that_may_part_images_by_size_are_left_alone(images, monkeypatch):
    monkeypatch.setattr(trial, 'mixed_batch', lambda *args: pytest.fail('asked'))
    monkeypatch.setattr(trial, 'ValLoop', SimpleNamespace)
    dataset = images([8, 8, 8, 9])
    batches = OfOneSize(range(4), 2, False)
    for options in (dict(batch_sampler=batches), dict(batch_size=2, sampler=[0, 1, 2, 3])):
        loop = keeping_loop(torch.nn.Module())
        loop.dataloader = DataLoader(dataset, collate_fn=list, **options)
        trial.try_loop(loop, lambda batch: [{} for _ in batch], 'val')
