"""What tests of RobustnessSweep share: few cells of `stripe_model`, what they gave, and faults on the way."""

import pytest

pytest.importorskip('mmseg')

import mmseg.datasets
import mmseg.evaluation  # noqa: F401  (registers CityscapesDataset, IoUMetric and their transforms)
from stripe_model import StripeModel

SMALL = dict(corruptions=['gaussian_noise', 'fog'], severities=[1, 3])
CELLS = ['clean', *(f'{name}/{s}' for name in ('gaussian_noise', 'fog') for s in (1, 3))]


def table(results):
    """What two runs of the same sweep have in common: all but times."""
    cells = [{k: v for k, v in cell.items() if k != 'seconds'} for cell in results['cells']]
    return cells, results['summary']


def status(results):
    return {
        f'{c["corruption"]}/{c["severity"]}' if c['severity'] else 'clean': c['status']
        for c in results['cells']
    }


def changed_weights():
    model = StripeModel()
    model.colours[0, 0] += 1
    return {'model': model}


class Failing(StripeModel):
    """Fails on the n-th image it sees, ``times`` times."""

    def __init__(self, at, times):
        super().__init__()
        self.at, self.times = at, times

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if len(self.seen) == self.at and self.times:
            self.times -= 1
            raise RuntimeError('out of memory\nwith more lines')
        return super().forward(inputs, data_samples, mode)


def half(data):
    return data[: len(data) // 2]
