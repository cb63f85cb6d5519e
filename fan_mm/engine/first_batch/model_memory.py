"""A model put back as it was after a trial, with whatever it keeps between two calls."""

import copy
from typing import Any

import torch
from torch import nn


class ModelMemory:
    """State of a model's modules apart from their weights: modes, buffers, cached values.

    mmpretrain's retrievers cache the features of their gallery, computed with the weights at the first
    call; other modules count calls or fill a queue.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modes = [(module, module.training) for module in model.modules()]
        self._attributes = [
            (vars(module), dict(vars(module)), _contents(vars(module)))
            for module in model.modules()
            if not isinstance(module, torch.jit.ScriptModule)
        ]
        self._buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]

    def put_back(self) -> None:
        """Restore it; what has not changed is not touched."""
        for attributes, values, contents in self._attributes:
            if not _same(attributes, values):
                attributes.clear()
                attributes.update(values)
            for value, content in contents:
                if not _same(value, content):
                    _refill(value, content)
        for buffer, value in self._buffers:
            if not torch.equal(buffer, value):
                buffer.copy_(value)
        for module, training in self._modes:
            module.training = training


def _contents(attributes: dict[str, Any]) -> list[tuple[Any, Any]]:
    found = (value for value in attributes.values() if isinstance(value, list | dict | set))
    return [(value, copy.copy(value)) for value in found]


def _same(one: Any, other: Any) -> bool:
    if len(one) != len(other):
        return False
    pairs = zip(one, other, strict=True)
    if isinstance(one, dict):
        return all(a == b and one[a] is other[b] for a, b in pairs)
    return all(a is b for a, b in pairs)


def _refill(value: Any, content: Any) -> None:
    value.clear()
    if isinstance(value, list):
        value.extend(content)
    else:
        value.update(content)
