"""The learning rate of every epoch is the recipe's (spec section 9)."""

import math

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS

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
        for lr, base in zip(pair, (4e-3, 1e-3), strict=True):
            if epoch < warmup:
                expected = 1e-6 + epoch * (base - 1e-6) / warmup
            elif epoch < 300:
                expected = 1e-6 + (base - 1e-6) * 0.5 * (1 + math.cos(math.pi * epoch / 300))
            else:
                expected = 1e-6
            assert lr == pytest.approx(expected, rel=1e-12)


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
    with pytest.raises(InputError, match='300 does not fit into 300 epochs'):
        build(sgd(1e-3), warmup_epochs=300)
