from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from fan_mm.engine import epoch_seed
from fan_mm.engine.epoch_seed import EpochSeedHook, ResumeSeedHook


class Noise(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return np.random.rand()


@pytest.mark.parametrize('workers', [0, 2])
def test_the_numbers_after_a_resume_follow_from_seed_and_iteration(workers):
    def numbers(iteration, seed=7):
        loader = DataLoader(Noise(), num_workers=workers)
        runner = SimpleNamespace(seed=seed, iter=iteration, train_dataloader=loader)
        ResumeSeedHook().before_train(runner)
        return tuple(float(batch) for batch in loader)

    assert numbers(3) == numbers(3)
    assert len({*numbers(3), *numbers(4), *numbers(3, seed=8)}) == 12


def test_a_training_that_begins_is_left_alone():
    loader = DataLoader(Noise())
    np.random.seed(5)
    ResumeSeedHook().before_train(SimpleNamespace(seed=7, iter=0, train_dataloader=loader))
    after = np.random.rand()
    np.random.seed(5)
    assert after == np.random.rand()
    assert loader.worker_init_fn is None


def test_every_epoch_and_every_process_has_numbers_of_its_own(monkeypatch):
    def numbers(epoch, rank):
        monkeypatch.setattr(epoch_seed, 'get_rank', lambda: rank)
        loader = DataLoader(Noise(), num_workers=2)
        EpochSeedHook().before_train_epoch(
            SimpleNamespace(seed=7, epoch=epoch, iter=9 * epoch, train_dataloader=loader)
        )
        loader.worker_init_fn(0)
        return np.random.rand(), float(torch.initial_seed())

    cases = [(epoch, rank) for epoch in range(2) for rank in range(2)]
    assert len({numbers(*case) for case in cases}) == 4
    assert numbers(0, 0) == numbers(0, 0)


def test_a_resumed_training_of_iterations_does_not_repeat_its_beginning():
    def number(iteration):
        loader = DataLoader(Noise())
        runner = SimpleNamespace(seed=7, epoch=0, iter=iteration, train_dataloader=loader)
        ResumeSeedHook().before_train(runner)
        EpochSeedHook().before_train_epoch(runner)
        return np.random.rand()

    assert len({number(0), number(3), number(4)}) == 3


def test_seeds_of_workers_stay_within_32_bits():
    loader = DataLoader(Noise(), num_workers=2)
    for epoch in range(30):
        EpochSeedHook().before_train_epoch(
            SimpleNamespace(seed=7, epoch=epoch, iter=9 * epoch, train_dataloader=loader)
        )
        assert loader.worker_init_fn.keywords['seed'] < 2**31  # the worker's number is added
