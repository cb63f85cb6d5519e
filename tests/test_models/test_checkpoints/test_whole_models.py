"""Whole models are loaded strictly: each way not to fit is one line that says how."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from fan_mm.errors import InputError
from fan_mm.models.checkpoints import whole_models
from fan_mm.models.checkpoints.whole_models import load_strictly


class Model(nn.Sequential):
    """Six tensors, under the names of a backbone and a head, and one that counts."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.head = nn.Linear(2, 3)


ALL = {name: torch.ones_like(value) for name, value in Model().state_dict().items()}
HEAD = ['head.weight', 'head.bias']
COUNT = 'backbone.1.num_batches_tracked'


def but(*names, **changes):
    return {name: value for name, value in ALL.items() if name not in names} | changes


def renamed(*names):
    return but(*names, **{f'x.{name}': ALL[name] for name in names})


@pytest.mark.parametrize(
    ('state', 'given', 'words'),
    [
        (ALL, [], None),
        (but(more=torch.ones(1)), [], None),
        (but(*HEAD), HEAD, None),
        (but(*HEAD), HEAD[:1], r'^s: it lacks 1 of 9 tensors, such as head\.bias$'),
        (but(*HEAD), [], r'^s: it lacks 2 of 9 tensors, such as head\.weight$'),
        (but(*list(ALL)[:4]), [], r'^s: it lacks 4 of 9 tensors, such as backbone\.0\.weight$'),
        (
            but('head.bias', **{f'more.{i}': torch.ones(1) for i in range(30)}),
            [],
            r'^s: it lacks 1 of 9 tensors, such as head\.bias$',
        ),
        # a half of the model and less: of a part, or of another model
        (
            {name: ALL[name] for name in HEAD},
            [],
            r'^s: it contains part of the model and lacks 6 of 9 tensors, such as backbone\.0\.weight$',
        ),
        ({}, [], r'^s: it contains part of the model and lacks 8 of 9 tensors'),
        (
            renamed(*list(ALL)[:4]),
            [],
            r'^s: it lacks 4 of 9 tensors, such as backbone\.0\.weight$',
        ),
        (renamed(*list(ALL)[:5]), [], r"^s: it has 4 of the model's 9 tensors, so it belongs to"),
        (renamed(*list(ALL)[:5]), ['backbone.0.bias'], r'^s: it lacks 4 of 9'),
        # a backbone's own file, of which nothing is loaded: its names count, though
        (
            {name.removeprefix('backbone.'): value for name, value in ALL.items()},
            [],
            r'^s: it lacks 6 of 9 tensors, such as backbone\.0\.weight$',
        ),
        (
            but(**{'head.bias': torch.ones(5)}),
            [],
            r'^s: the shape of head\.bias differs \(\[5\] instead of \[3\]\)$',
        ),
        (
            {'head.bias': torch.ones(5)},
            [],
            r"^s: it has 1 of the model's 9 tensors, so it belongs to another model$",
        ),
        (but(**{'head.bias': torch.tensor([1.0, torch.nan, 1.0])}), [], r'^s: .*head\.bias'),
    ],
)
def test_what_fits(state, given, words):
    model = Model()
    with pytest.raises(InputError, match=words) if words else nullcontext():
        load_strictly(model, state, 's', given)
        assert (model.backbone[0].weight == 1).all()


def test_a_count_may_be_missing():
    state = Model().state_dict()  # of this version, whose batch norms do not make it up
    del state[COUNT]
    load_strictly(Model(), state, 's')


def test_what_torch_says_otherwise():
    model = Model()

    def refuse(*_, **__):
        raise RuntimeError('Error(s) in loading:\n\twhile copying the parameter\n ')

    model.load_state_dict = refuse
    with pytest.raises(InputError, match=r'^s: while copying the parameter$'):
        load_strictly(model, ALL, 's')


def test_fans_inside_have_our_names_too(monkeypatch):
    monkeypatch.setattr(whole_models, 'fans_inside', lambda module: ['b.'])
    monkeypatch.setattr(
        whole_models,
        'translate',
        lambda state: {name.upper(): value for name, value in state.items()},
    )
    found = whole_models.in_our_names(nn.Module(), {'b.x': 1, 'y': 2})
    assert found == {'b.x': 1, 'y': 2, 'b.X': 1}
