"""How long training and sweeping will take here: a step of each is measured, the rest computed."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from fan_mm.engine.config.building import building, used_so
from fan_mm.engine.first_batch.samples import failed_sample, one_line
from fan_mm.engine.runtime import build_runner
from fan_mm.errors import InputError
from fan_mm.jobs.testing import refuse_several


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
        cfg: changed in place; its training counts iterations. Without a test split, as where a backbone is
            pre-trained, there are no images to sweep.

    Raises:
        InputError: a mistake in the config; its training counts epochs; a batch or a step fails.
    """
    refuse_several(cfg)
    runner = build_runner(cfg, training=True)
    if 'max_iters' not in cfg.train_cfg:
        raise InputError(
            'train_cfg has no max_iters: only iteration-based training can be measured'
        )
    model, optimizer = runner.model, runner.build_optim_wrapper(cfg.optim_wrapper)
    model.train()
    iteration, _, _ = _second(
        'train_dataloader', cfg, lambda data: model.train_step(data, optimizer)
    )
    if not cfg.get('test_dataloader'):
        return RunTime(iteration, cfg.train_cfg.max_iters, 0.0, 0)
    model.eval()
    with torch.no_grad():
        batch, outputs, images = _second('test_dataloader', cfg, model.test_step)
    return RunTime(iteration, cfg.train_cfg.max_iters, batch / len(outputs), images)


def _second(name: str, cfg: Config, step: Callable) -> tuple[float, Any, int]:
    """Seconds of a step with the second batch of a loader, its result, and the length of the dataset."""
    of_workers = ('prefetch_factor', 'timeout', 'multiprocessing_context')
    here = {key: value for key, value in cfg[name].items() if key not in of_workers}
    here |= dict(num_workers=0, persistent_workers=False)
    with building(cfg):
        seed = (cfg.get('randomness') or {}).get('seed') or 0
        loader = Runner.build_dataloader(here, seed=seed)
    batches, given, seconds = iter(loader), None, 0.0
    for number in range(2):
        try:
            data = next(batches, None)
        except Exception as error:  # whatever a dataset may raise
            if explained := failed_sample(loader, number):
                raise explained from explained.__cause__
            raise InputError(f'{name}: {one_line(error)}') from error
        if data is None:
            break
        begin = time.perf_counter()
        with used_so(f'{name}: the model fails on a batch'):
            given = step(data)
        if get_device() == 'cuda':
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
    if given is None:
        raise InputError(f'{name} gives no batch: it has fewer images than one takes')
    pictures: Any = loader.dataset
    return seconds, given, len(pictures)
