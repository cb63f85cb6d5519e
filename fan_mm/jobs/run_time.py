"""How long training and sweeping will take here: a step of each is measured, the rest reckoned."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from fan_mm.engine.runtime import build_runner
from fan_mm.errors import InputError


@dataclass(frozen=True)
class RunTime:
    """What a config's steps take on this machine, in seconds.

    Attributes:
        iteration: a training step of one batch, without the loading that workers do meanwhile.
        iterations: of the whole training.
        image: a prediction.
        images: of the test, once.
    """

    iteration: float
    iterations: int
    image: float
    images: int

    def seconds(self, cells: int, max_samples: int | None = None) -> float:
        """Of the training and of a sweep with ``cells`` cells, at most ``max_samples`` images each."""
        images = min(self.images, max_samples or self.images)
        return self.iteration * self.iterations + self.image * images * cells

    def line(self, cells: int, max_samples: int | None = None) -> str:
        """All of it in words."""
        total = timedelta(seconds=round(self.seconds(cells, max_samples)))
        return (
            f'{self.iterations} iterations of {self.iteration:.2f} s, {self.image:.3f} s an image in '
            f'each of {cells} cells: {total}'
        )


def measure_run_time(cfg: Config) -> RunTime:
    """Take the second training step and the second test batch of a config as typical.

    Args:
        cfg: changed in place; its training counts iterations.

    Raises:
        InputError: a mistake in the config; its training counts epochs.
    """
    runner = build_runner(cfg, training=True)
    if 'max_iters' not in cfg.train_cfg:
        raise InputError(
            'train_cfg has no max_iters: only iteration-based training can be measured'
        )
    model, optimizer = runner.model, runner.build_optim_wrapper(cfg.optim_wrapper)
    model.train()
    train = _loader(cfg.train_dataloader, cfg)
    iteration, _ = _second(train, lambda data: model.train_step(data, optimizer))
    model.eval()
    test = _loader(cfg.test_dataloader, cfg)
    with torch.no_grad():
        batch, size = _second(test, model.test_step)
    pictures: Any = test.dataset
    return RunTime(iteration, cfg.train_cfg.max_iters, batch / size, len(pictures))


def _loader(loader: dict, cfg: Config) -> torch.utils.data.DataLoader:
    here = dict(num_workers=0, persistent_workers=False)
    return Runner.build_dataloader(dict(loader, **here), seed=cfg.randomness.get('seed', 0))


def _second(loader: torch.utils.data.DataLoader, step: Callable) -> tuple[float, int]:
    """Seconds of the step with the second batch, and how many samples that has."""
    for data in itertools.islice(loader, 2):
        begin = time.perf_counter()
        step(data)
        if get_device() == 'cuda':
            torch.cuda.synchronize()
    return time.perf_counter() - begin, len(data['inputs'])
