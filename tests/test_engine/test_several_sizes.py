"""The batch in which images of several sizes meet is tried before a run comes to it."""

from types import SimpleNamespace

import pytest
import torch
from first_batch_parts import Images, keeping_loop
from PIL import Image
from torch.utils.data import DataLoader

from fan_mm.engine.first_batch import trial
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
    ],
)
def test_the_batch(images, sizes, batch_size, batch):
    dataset = images(sizes)
    assert list(mixed_batch(dataset, range(len(sizes)), batch_size)) == batch
    assert list(mixed_batch(list(dataset), range(len(sizes)), batch_size)) == []  # says no paths


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
