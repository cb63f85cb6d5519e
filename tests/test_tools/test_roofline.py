"""What `benchmarks/backbone.py --roofline` counts, and its table."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / 'benchmarks'))

from operations import COUNT, costs_of, flops_of, roofline

X = torch.randn(2, 8, 6, 10)
SPARE = dict(requires_grad=True)


def trained(function):
    return lambda: function().sum().backward()


@pytest.mark.parametrize(
    ('work', 'flops'),
    [
        (lambda: F.linear(torch.randn(5, 3), torch.randn(7, 3)), 2 * 5 * 3 * 7),
        (lambda: F.conv2d(X, torch.randn(4, 8, 1, 1)), 2 * 2 * 60 * 8 * 4),
        (lambda: F.conv2d(X, torch.randn(8, 1, 3, 3), padding=1, groups=8), 2 * X.numel() * 9),
        (
            trained(lambda: F.conv2d(X, torch.randn(8, 1, 3, 3, **SPARE), padding=1, groups=8)),
            2 * 2 * X.numel() * 9,
        ),
        (
            lambda: F.scaled_dot_product_attention(*torch.randn(3, 1, 2, 20, 16).unbind()),
            2 * 2 * 2 * 20 * 20 * 16,
        ),
        (lambda: X + X, 0),
    ],
)
def test_arithmetic(work, flops):
    assert flops_of(work) == flops


def test_traffic_and_calls():
    def work():
        for _ in range(3):
            X.add(X)

    ((key, cost),) = costs_of(work, 2).items()
    assert key == ('add', '2x8x6x10 2x8x6x10')
    assert cost.calls == 3
    assert cost.bytes == 3 * 3 * X.nbytes
    assert cost.seconds > 0


def test_the_table_has_the_costliest_operations_and_the_whole():
    work = trained(lambda: F.gelu(F.conv2d(X, torch.randn(4, 8, 1, 1, **SPARE))).exp().sin().cos())
    table = roofline('a step', work, 2, 'what the machine can do')
    assert table.row_count <= COUNT + 2
    names = list(table.columns[0].cells)
    assert names[-2:] == ['all, timed one by one', 'as a whole']
    assert 'convolution_backward' in names
