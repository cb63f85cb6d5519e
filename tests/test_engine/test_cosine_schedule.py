"""The learning rate of every epoch is the recipe's (spec section 9)."""

import math

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS

from fan_mm.engine import cosine_schedule
from fan_mm.errors import InputError


def build(optimizer, **options):
    options = dict(type='WarmupCosineCooldownLR', epochs=300, warmup_epochs=5) | options
    return PARAM_SCHEDULERS.build(dict(options, optimizer=optimizer))


def sgd(*rates):
    groups = [dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=lr) for lr in rates]
    return torch.optim.SGD(groups)


def rates_of(optimizer, scheduler, epochs):
    found = []
    for _ in range(epochs):
        found.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize('warmup', [0, 5, 20])
def test_warms_up_follows_the_unshifted_cosine_and_cools_down(warmup):
    optimizer = sgd(4e-3, 1e-3)
    found = rates_of(optimizer, build(optimizer, warmup_epochs=warmup), 310)
    for epoch, pair in enumerate(found):
        if epoch < warmup:
            expected = 1e-6 + epoch * (4e-3 - 1e-6) / warmup
        elif epoch < 300:
            expected = 1e-6 + (4e-3 - 1e-6) * 0.5 * (1 + math.cos(math.pi * epoch / 300))
        else:
            expected = 1e-6
        # decayed layer-wise, the second group keeps its quarter: its floor is lower, too
        assert pair == pytest.approx([expected, expected / 4], rel=1e-12)


def test_goes_on_after_a_resume():
    optimizer = sgd(2e-3)
    whole = rates_of(optimizer, build(optimizer), 40)
    optimizer = sgd(2e-3)
    scheduler = build(optimizer, end=17)  # mmengine fills in the length of the run
    first = rates_of(optimizer, scheduler, 17)
    state = scheduler.state_dict(), optimizer.state_dict()
    optimizer = sgd(2e-3)
    scheduler = build(optimizer)
    optimizer.load_state_dict(state[1])
    scheduler.load_state_dict(state[0])
    assert first + rates_of(optimizer, scheduler, 23) == whole


def test_warmup_longer_than_the_whole_is_refused():
    with pytest.raises(InputError, match='300 is longer than 300 epochs'):
        build(sgd(1e-3), warmup_epochs=300)


def test_a_run_shorter_than_the_cosine_is_said(monkeypatch):
    said = []
    monkeypatch.setattr(cosine_schedule, 'warn', lambda line: said.append(line))
    build(sgd(1e-3), end=300)
    build(sgd(1e-3), end=310)
    assert not said
    build(sgd(1e-3), end=100)
    assert 'ends at epoch 100, but the learning rate falls until epoch 300' in said[0]
