"""Separate random numbers for every epoch, or at least for what follows a resume."""

import functools
import random

import numpy as np
import torch
from mmengine.dataset.utils import worker_init_fn
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fan_mm.errors import InputError


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Reseed this process and its loader workers at the start of every training epoch.

    The seeds are derived from the run's seed, the epoch and the rank, so after a resume, augmentation,
    mixing, drop path and sampled token labels are the same as in an uninterrupted training. Without the
    hook, mmengine starts every run, resumed or not, with the same random numbers, and workers restarted in
    each epoch repeat theirs.

    Raises:
        InputError: the training loader has persistent workers.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Check the loader."""
        if getattr(runner.train_dataloader, 'persistent_workers', False):
            raise InputError(
                'EpochSeedHook seeds the workers of every epoch: set '
                'train_dataloader.persistent_workers=False'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed for this epoch, or for this part of a training that counts iterations and is one epoch as a whole."""
        _seed(runner, runner.epoch or runner.iter)


class ResumeSeedHook(Hook):
    """Reseed this process and its loader workers when a training is resumed.

    The seeds are derived from the run's seed, the iteration and the rank, so that the resumed part does not
    repeat the random numbers of the beginning, as it would in mmengine. Trainings that are not resumed are not
    changed, and an `EpochSeedHook` takes precedence.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Seed if this training has been resumed."""
        if runner.iter > 0:
            _seed(runner, runner.iter)


def _seed(runner: Runner, step: int) -> None:
    sequence = np.random.SeedSequence([runner.seed, step, get_rank()])
    here, workers = (int(seed) for seed in sequence.generate_state(2))
    random.seed(here)
    np.random.seed(here)
    torch.manual_seed(here)
    loader = runner.train_dataloader
    # mmengine's function adds the worker's number; the sum must fit 32 bits.
    loader.worker_init_fn = functools.partial(
        worker_init_fn, num_workers=loader.num_workers, rank=0, seed=workers % 2**31
    )
