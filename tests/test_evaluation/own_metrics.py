"""Metrics of a user's own, a sweep with any evaluator, and what mmengine measures with it."""

import collections

import pytest
import torch

pytest.importorskip('mmseg')

import mmseg.datasets  # noqa: F401  (registration)
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from stripe_model import StripeModel

from fan_mm.evaluation import RobustnessSweep

SMALL = dict(corruptions=['fog'], severities=[1])


def run(cfg, evaluator, model=None, loader=None, **options):
    loader = loader or cfg.test_dataloader
    sweep = RobustnessSweep(model or StripeModel(), loader, evaluator, **{**SMALL, **options})
    return sweep.run()


def measured(cfg, evaluator):
    """What mmengine's own loop measures."""
    loader = Runner.build_dataloader(cfg.test_dataloader)
    evaluator.dataset_meta = loader.dataset.metainfo
    model = StripeModel().eval()
    for batch in loader:
        evaluator.process(model.test_step(batch), batch)
    return evaluator.evaluate(len(loader.dataset))


def right(sample):
    """Share of pixels that are right."""
    truth = sample['gt_sem_seg']['data']
    return (sample['pred_sem_seg']['data'] == truth)[truth != 255].float().mean().item()


class Own(BaseMetric):
    """A metric of the user's own; ``compute`` makes its scores of the images' shares."""

    def __init__(self, compute=lambda shares: {'accuracy': sum(shares) / len(shares)}, **options):
        super().__init__(**options)
        self.compute = compute

    def process(self, data_batch, data_samples):
        self.results += [right(sample) for sample in data_samples]

    def compute_metrics(self, results):
        return self.compute(results)


class Counting(BaseMetric):
    """Keeps a count outside of ``results``, reset when it has computed, as torchmetrics users do."""

    def __init__(self):
        super().__init__()
        self.total, self.sums = 0, torch.zeros(1)

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.total += 1
            self.sums += right(sample)
            self.results.append(None)

    def compute_metrics(self, results):
        found = {'accuracy': float(self.sums) / self.total}
        self.total = 0
        self.sums.zero_()
        return found


class Nested(BaseMetric):
    """Like mmpretrain's MultiTasksMetric: the metrics inside collect, and evaluate."""

    def __init__(self):
        super().__init__()
        self.inner = {'task': [Own()]}

    def process(self, data_batch, data_samples):
        self.inner['task'][0].process(data_batch, data_samples)

    def compute_metrics(self, results):
        raise NotImplementedError

    def evaluate(self, size):
        return {f'task_{k}': v for k, v in self.inner['task'][0].evaluate(size).items()}


Pair = collections.namedtuple('Pair', 'first second')


class PerBatch(Own):
    """One result for a batch, a named tuple."""

    def process(self, data_batch, data_samples):
        shares = [right(sample) for sample in data_samples]
        self.results.append(Pair(torch.tensor(shares), len(shares)))

    def compute_metrics(self, results):
        # mmengine makes plain tuples of them
        return {'accuracy': float(sum(s.sum() for s, _ in results) / sum(n for _, n in results))}


class Keyed(Own):
    """Collects in a dict."""

    def __init__(self):
        super().__init__()
        self.results = {}

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results[sample['img_path']] = right(sample)

    def evaluate(self, size):
        found = {'accuracy': sum(self.results.values()) / len(self.results)}
        self.results = {}
        return found
