"""Data, loops and metrics that the tests of the first batch share."""

import random
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS
from torch.utils.data import (
    DataLoader,
    IterableDataset,
)


@HOOKS.register_module(force=True)
class StateHook(Hook):
    """Notes what the first iteration begins with, and each iteration's losses."""

    priority = 'LOWEST'
    seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        model = {name: value.clone() for name, value in runner.model.state_dict().items()}
        modes = [module.training for module in runner.model.modules()]
        states = [repr(random.getstate()), repr(np.random.get_state()), torch.get_rng_state()]
        paths = [sample.img_path for sample in data_batch['data_samples']]
        scalars = dict(runner.message_hub.log_scalars)
        self.seen.append((model, modes, states, paths, sorted(scalars), runner.iter))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append({name: value.item() for name, value in outputs.items()})


@METRICS.register_module(force=True)
class OwnMetric(BaseMetric):
    """Takes or refuses what it is given, as ``fails`` says: 'process', 'always', 'on few', 'never'."""

    def __init__(self, fails):
        super().__init__()
        self.fails, self.out_file = fails, None

    def process(self, data_batch, data_samples):
        if self.fails == 'process':
            raise KeyError('gt_sem_seg')
        self.results += [0] * len(data_samples)

    def compute_metrics(self, results):
        if self.out_file:
            with open(self.out_file, 'w') as file:
                file.write('scores')
        if self.fails == 'always' or (self.fails == 'on few' and len(results) < 3):
            raise ValueError('only one class present')
        return {'auc': 0.5}


class Stream(IterableDataset):
    """Of no known length."""

    def __iter__(self):
        return iter(())


class SizedStream(Stream):
    def __len__(self):
        return 0


class Samples:
    """A dataset whose second sample cannot be read, by an error that names no file."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index == 1:
            raise OSError('cannot identify image file <BytesIO>')
        return index

    def get_data_info(self, index):
        return dict(img_path=self.paths[0], seg_map_path=self.paths[1])


def keeping_loop(model, **options):
    dataset = [dict(inputs=index) for index in range(3)]
    runner = SimpleNamespace(model=model)
    evaluator = Evaluator([OwnMetric(fails='never')])
    return SimpleNamespace(
        **dict(runner=runner, evaluator=evaluator, fp16=False),
        dataloader=DataLoader(dataset, collate_fn=list, **options),
    )


class Images(list):
    """With classes, as a dataset that joins two of ``half`` and of the other images."""

    metainfo = dict(classes=('a', 'b'))

    def __init__(self, *paths, half=None):
        super().__init__(dict(img_path=path) for path in paths)
        if half:
            self.cumulative_sizes = [half, len(self)]

    def get_data_info(self, index):
        return self[index]


def fails(error):
    raise error
