from types import SimpleNamespace

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from fan_mm.engine.epoch_seed import ResumeSeedHook


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
