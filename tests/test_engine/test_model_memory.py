"""What a model holds beside its weights is put back after a trial; what did not change is not touched."""

import pytest
import torch
from torch import nn

from fan_mm.engine.first_batch.model_memory import ModelMemory


class Fixed(list):
    def clear(self):
        raise AssertionError('touched, though it has not changed')


class Scripted(nn.Module):
    """Its compiled form has no attributes of Python's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Holding(nn.Module):
    def __init__(self):
        super().__init__()
        self.number, self.fixed = 1, Fixed([1])
        self.items, self.names, self.kinds = [1, [2]], dict(a=1, b=[2]), {1, 2}
        self.inner = nn.Dropout()
        self.scripted = torch.jit.script(Scripted())
        self.register_buffer('count', torch.zeros(2))
        self.register_buffer('expanded', torch.zeros(1).expand(2))  # cannot be written to


def held(model):
    """All that it holds, and which objects hold it."""
    attributes = {name: value for name, value in vars(model).items() if name[0] != '_'}
    containers = (model.items, model.names, model.kinds)
    copies = [list(model.items), list(model.names.items()), set(model.kinds)]
    modes = [module.training for module in model.modules()]
    objects = [id(value) for value in (*containers, *model.names.values())]
    return attributes, objects, copies, list(model._buffers), modes


def exchange(model):
    """As many as before, one of them another."""
    model.kinds.remove(1)
    model.kinds.add(3)


@pytest.mark.parametrize(
    'change',
    [
        lambda model: None,
        lambda model: setattr(model, 'number', 2),
        lambda model: delattr(model, 'number'),
        lambda model: setattr(model, 'more', 1),
        lambda model: setattr(model, 'items', []),
        lambda model: model.items.append(3),
        lambda model: model.items.__setitem__(1, [2]),  # another, though equal
        lambda model: model.names.update(c=3),
        lambda model: model.names.update(b=[2]),
        lambda model: model.names.update(a=model.names.pop('a')),  # another order
        lambda model: model.names.update(c=model.names.pop('b')),  # another name
        lambda model: model.kinds.add(3),
        exchange,
        lambda model: model.count.add_(1),
        lambda model: model.register_buffer('late', torch.ones(1)),
        lambda model: model.eval(),
        lambda model: model.inner.eval(),
        lambda model: model.scripted.eval(),
    ],
)
def test_what_changes_is_put_back(change):
    model = Holding()
    before, second = held(model), model.items[1]
    memory = ModelMemory(model)
    change(model)
    memory.put_back()
    assert held(model) == before
    assert model.items[1] is second and not model.count.any()
