"""Observations of a model during prediction: batch norms that learn, layers with initial weights."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from fan_mm.engine.distributed import unwrapped

_ENOUGH = 1024  # number of weights needed to identify their distribution


class ModelWatch:
    """Inspects a model before and after it predicts a cell.

    Args:
        model: the model, possibly wrapped in DDP.
        clean: whether it is the clean cell, in which more is checked.
    """

    def __init__(self, model: Any, clean: bool) -> None:
        self.model: nn.Module = unwrapped(model)
        self.before = _statistics(self.model) if clean else {}
        self.ran: set[str] = set()
        self.unset = unset_layers(self.model) if clean else {}
        self.handles = [
            layer.register_forward_hook(lambda *_, name=name: self.ran.add(name))
            for name, layer in self.unset.items()
        ]

    def end(self) -> dict[str, list[str]]:
        """What was found, by the names of layers; empty where all is well.

        Returns:
            'batch_norms', the names of norms that use batch statistics, and 'unset', the names of layers
            that were used and still have initial weights.
        """
        for handle in self.handles:
            handle.remove()
        learning = [
            name
            for name, norm in _batch_norms(self.model).items()
            if norm.training or norm.running_mean is None
        ]
        after = _statistics(self.model) if self.before else {}
        learning += [n for n, was in self.before.items() if n not in learning and after[n] != was]
        unset = [name for name in self.unset if name in self.ran]
        found = {'batch_norms': learning, 'unset': unset}
        return {name: layers for name, layers in found.items() if layers}


def _batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    return {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}


def _statistics(model: nn.Module) -> dict[str, float]:
    """A number for each batch norm that changes when its statistics are updated."""
    sums = {
        name: norm.running_mean.double().sum() + norm.running_var.double().sum()
        for name, norm in _batch_norms(model).items()
        if norm.running_mean is not None and norm.running_var is not None
    }
    return dict(zip(sums, torch.stack([*sums.values()]).tolist(), strict=True)) if sums else {}


def unset_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of a model whose parameters equal those of a new layer.

    These are norms with weights of exactly 1 and biases of exactly 0, heads with biases of exactly 0,
    and weights with torch's uniform initial distribution; no training leaves them so.
    """
    return {
        name: layer
        for name, layer in model.named_modules()
        if _is_new_norm(layer) or _is_new_layer(name, layer)
    }


def _is_new_norm(layer: nn.Module) -> bool:
    weight, bias = (_parameter(layer, name) for name in ('weight', 'bias'))
    if 'Norm' not in type(layer).__name__ or weight is None or bias is None:
        return False
    if not bool((weight == 1).all() & (bias == 0).all()):
        return False
    mean: Any = getattr(layer, 'running_mean', None)
    variance: Any = getattr(layer, 'running_var', None)
    return mean is None or bool((mean == 0).all() & (variance == 1).all())


def _is_new_layer(name: str, layer: nn.Module) -> bool:
    weight, bias = (_parameter(layer, n) for n in ('weight', 'bias'))
    if not isinstance(layer, nn.Linear | _ConvNd) or weight is None or not bool(weight.any()):
        return False
    in_head = 'head' in name.partition('.')[0]
    if in_head and bias is not None and not bool(bias.any()):
        return True
    if weight.numel() < _ENOUGH:
        return False
    bound = 1 / math.sqrt(weight[0].numel())  # of torch's default initialisation
    values = weight.detach().float()
    largest, spread = values.abs().max().item(), values.std().item()
    return 0.99 * bound < largest < 1.005 * bound and (  # it may be rounded to half precision
        abs(spread - bound / math.sqrt(3)) < 0.03 * bound
    )


def _parameter(layer: nn.Module, name: str) -> Tensor | None:
    value: Any = layer._parameters.get(name)
    return value if isinstance(value, Tensor) and value.numel() else None
