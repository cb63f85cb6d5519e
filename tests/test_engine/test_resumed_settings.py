import re
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import (
    LinearLR,
    LinearMomentum,
    MultiStepLR,
    OptimWrapper,
    OptimWrapperDict,
    PolyLR,
)
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from fan_mm.engine.resumed_settings import ResumedSettingsHook
from fan_mm.errors import InputError


def trained(lr=0.1, decay=0.01, groups=1, steps=2, **schedules):
    """Optimizer and schedulers as a Runner has them, after some steps."""
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(groups)]
    parts = [dict(params=[weight]) for weight in weights]
    wrapper = OptimWrapper(torch.optim.SGD(parts, lr, weight_decay=decay))
    schedulers = [
        schedule(wrapper, by_epoch=False, **options) for schedule, options in schedules.values()
    ]
    for _ in range(steps):
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    return wrapper, schedulers


POLY = dict(a=(PolyLR, dict(end=9)))


@pytest.mark.parametrize(
    ('kind', 'before', 'words'),
    [
        (
            EpochBasedTrainLoop,
            12,
            r' \(epochs of 3 steps, now of 2: other processes, batches or images\)',
        ),
        (EpochBasedTrainLoop, 8, ''),
        (IterBasedTrainLoop, 12, ''),
    ],
)
def test_epochs_of_another_number_of_processes_are_the_reason(kind, before, words):
    info = dict(max_iters=before, max_epochs=4)
    wrapper, schedulers = trained(a=(PolyLR, dict(end=8)))
    said = []
    runner = SimpleNamespace(
        **dict(_resume=True, _load_from='a.pth', optim_wrapper=wrapper, max_iters=8, max_epochs=4),
        **dict(train_loop=kind.__new__(kind), param_schedulers=schedulers),
        logger=SimpleNamespace(log=lambda level, line: said.append(line)),
    )
    saved = [scheduler.state_dict() | dict(end=12) for scheduler in schedulers]
    content = dict(param_schedulers=saved, message_hub=dict(runtime_info=info))
    ResumedSettingsHook().after_load_checkpoint(runner, content)
    assert re.search(f': param_scheduler.0: end is 12, not 8{words}; load_from', said.pop())


@pytest.mark.parametrize('several', [False, True])
@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({}, None),
        (dict(steps=0), None),
        (dict(lr=0.2), r'optimizer( o)?: lr is 0\.1, not 0\.2; load_from'),
        (dict(decay=0.0), r'optimizer( o)?: weight_decay is 0\.01, not 0;'),
        (dict(groups=2), r'optimizer( o)?, parameter groups: 1 of them, not 2'),
        (dict(a=(PolyLR, dict(end=20))), r'param_scheduler(\.o)?\.0: end is 9, not 20'),
        (
            dict(a=(LinearLR, dict(end=9))),
            r'param_scheduler(\.o)?\.0: one of another kind \(with eta_min, .*power.*, not end_factor, start_factor',
        ),
        (dict(b=(PolyLR, dict(end=9))), r'param_scheduler(\.o)?: 1 of them, not 2'),
        (
            dict(a=(MultiStepLR, dict(milestones=[3]))),
            r'param_scheduler(\.o)?\.0: one of another kind .*, param_scheduler(\.o)?\.0: end is 9, not',
        ),
    ],
)
def test_settings_that_resuming_sets_back(change, words, several):
    before, after = trained(**POLY), trained(**{**POLY, 'steps': 0, **change})
    if several:
        before, after = named(*before), named(*after)
    assert_said(before, after, words)


@pytest.mark.parametrize(
    ('before', 'after', 'words'),
    [
        ({}, {}, None),
        ({}, dict(lr=0.2), r'optimizer: lr is 0\.1, not 0\.2;'),
        (POLY, dict(lr=0.1), r'param_scheduler: 1 of them, not 0; load_from'),
        ({}, dict(POLY, lr=0.2), r'optimizer: lr is 0\.1, not 0\.2;'),
        (
            dict(groups=3),
            dict(groups=3, lr=0.2),
            r'optimizer: lr is 0\.1, not 0\.2 \(and so in 3 parameter groups\); load_from',
        ),
    ],
)
def test_the_learning_rate_with_and_without_schedulers(before, after, words):
    assert_said(trained(**before), trained(**{'steps': 0, **after}), words)


def test_only_the_optimizer_that_changed():
    def two(**changed):
        made = {'g': trained(**POLY), 'd': trained(**{**POLY, **changed})}
        wrappers = OptimWrapperDict(**{name: wrapper for name, (wrapper, _) in made.items()})
        return wrappers, {name: schedulers for name, (_, schedulers) in made.items()}

    assert_said(two(), two(), None)
    assert_said(two(), two(lr=0.2), r'optimizer d: lr is 0\.1, not 0\.2; load_from')
    words = r'param_scheduler\.d\.0: end is 9, not 20; load_from'
    assert_said(two(), two(a=(PolyLR, dict(end=20))), words)
    words = r'param_scheduler\.d: 1 of them, not 2; load_from'
    assert_said(two(), two(b=(PolyLR, dict(end=9))), words)


def named(wrapper, schedulers):
    """As one of several optimizers."""
    return OptimWrapperDict(o=wrapper), {'o': schedulers}


class Plain(torch.optim.Optimizer):
    """Of the user's own; torch adds settings to its defaults when it takes up a state."""

    def __init__(self, params, lr):
        super().__init__(params, dict(lr=lr))

    def step(self):
        pass


class Counting(torch.optim.Adam):
    """Knows its weights, as no other instance does."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.steps = {id(weight): 0 for weight in self.param_groups[0]['params']}

    def step(self, closure=None):
        for weight in self.param_groups[0]['params']:
            self.steps[id(weight)] += 1
        super().step(closure)


class Listed(torch.optim.Adam):
    """Looks its weights up in a list of all models, by which any other weight is missed."""

    known: dict = {}

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.known.update((id(weight), weight) for weight in self.param_groups[0]['params'])

    def step(self, closure=None):
        for weight in self.param_groups[0]['params']:
            self.known[id(weight)]
        super().step(closure)


class EightBits(torch.optim.Optimizer):
    """Quantises its state, as bitsandbytes does."""

    def __init__(self, params, lr):
        super().__init__(params, dict(lr=lr))

    def step(self):
        for weight in self.param_groups[0]['params']:
            self.state[weight].setdefault('state1', weight.new_zeros(1, dtype=torch.uint8))


def optimizer(kind, **options):
    weight = torch.nn.Parameter(torch.ones(1))
    wrapper = OptimWrapper(kind([weight], lr=0.1, **options))
    weight.sum().backward()
    wrapper.step()
    return wrapper


SGD, ADAM, ADAMW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
ADAMAX = torch.optim.Adamax


@pytest.mark.parametrize('several', [False, True])
@pytest.mark.parametrize(
    ('before', 'after', 'lacking'),
    [
        (SGD, ADAMW, 'betas, eps, which AdamW needs'),
        (ADAMW, SGD, 'dampening, momentum, which SGD needs'),
        (Plain, SGD, 'dampening, momentum, weight_decay, which SGD needs'),
        (ADAM, ADAMW, None),
        (SGD, Plain, None),
        (Plain, Plain, None),
        (ADAM, ADAMAX, 'exp_inf, which Adamax needs'),
        (ADAMAX, ADAM, 'exp_avg_sq, which Adam needs'),
        (ADAMAX, ADAMAX, None),
        (ADAM, torch.optim.RAdam, None),
        (torch.optim.Adagrad, torch.optim.Adagrad, None),
        (torch.optim.Rprop, torch.optim.Rprop, None),
        (ADAM, Counting, None),
        (ADAM, Listed, None),
        (EightBits, EightBits, None),
        (ADAMW, partial(ADAMW, fused=True), None),
        (partial(ADAMW, fused=True), partial(ADAMW, foreach=True), None),
        (partial(SGD, momentum=0.9), partial(SGD, nesterov=True, momentum=0.8), None),
        (SGD, partial(SGD, momentum=0.9), None),
        (ADAM, partial(ADAM, amsgrad=True), None),
    ],
)
def test_the_state_of_another_kind_of_optimizer(before, after, lacking, several):
    state, wrapper = optimizer(before).state_dict(), optimizer(after)
    runner = SimpleNamespace(
        **dict(_resume=True, _load_from='a.pth', param_schedulers=[]),
        optim_wrapper=OptimWrapperDict(o=wrapper) if several else wrapper,
        logger=SimpleNamespace(log=lambda *args: None),
    )
    content = dict(optimizer=dict(o=state) if several else state)
    line = rf"^a\.pth is of another config's training .*: its optimizer has no {lacking}$"
    with pytest.raises(InputError, match=line) if lacking else nullcontext():
        ResumedSettingsHook().after_load_checkpoint(runner, content)
    wrapper.load_state_dict(state)
    with pytest.raises(KeyError) if lacking else nullcontext():  # all that torch would say
        wrapper.step()


@pytest.mark.parametrize(
    ('before', 'after', 'words'),
    [
        (dict(betas=(0.9, 0.99)), dict(betas=[0.9, 0.99]), None),
        (
            dict(betas=(0.9, 0.99)),
            dict(betas=(0.8, 0.99)),
            r'optimizer: betas is \[0.9, 0.99\], not',
        ),
        (dict(eps=1e-8), dict(eps=1e-6), r'optimizer: eps is 1e-08, not 1e-06'),
    ],
)
def test_other_settings_of_an_optimizer(before, after, words):
    assert_said((optimizer(ADAM, **before), []), (optimizer(ADAM, **after), []), words)


@pytest.mark.parametrize('kind', [SGD, ADAM])
def test_a_momentum_that_schedulers_change_is_none_of_the_settings(kind):
    def made(steps):
        wrapper = optimizer(kind, **({} if kind is ADAM else dict(momentum=0.9)))
        scheduler = LinearMomentum(wrapper, end=9, by_epoch=False)
        for _ in range(steps):
            wrapper.step()
            scheduler.step()
        return wrapper, [scheduler]

    assert_said(made(3), made(0), None)


def assert_said(before, after, words):
    wrapper, schedulers = before
    lists = schedulers if isinstance(schedulers, dict) else {'': schedulers}
    saved = {name: [one.state_dict() for one in several] for name, several in lists.items()}
    content = dict(optimizer=wrapper.state_dict(), param_schedulers=saved.get('', saved))
    wrapper, schedulers = after
    said = []
    runner = SimpleNamespace(
        **dict(_resume=True, _load_from='a.pth', optim_wrapper=wrapper),
        param_schedulers=schedulers,
        logger=SimpleNamespace(log=lambda level, line: said.append(line)),
    )
    ResumedSettingsHook().after_load_checkpoint(runner, content)
    if words is not None:
        assert re.search(f'settings in a.pth, not those of the config: {words}', said.pop())
    assert said == []
    runner._resume = False
    ResumedSettingsHook().after_load_checkpoint(runner, content)
    assert said == []
