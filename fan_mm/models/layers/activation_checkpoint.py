"""Activation checkpointing that leaves batch-norm statistics alone when it recomputes."""

import contextlib
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint as _checkpoint


class _RunningStatisticsUntouched:
    """Context in which a module's batch norms do not update their running statistics.

    They still run the same operations, because recomputation must save as many tensors as the first pass.
    """

    def __init__(self, module: nn.Module) -> None:
        norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
        self.norms = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]

    def __enter__(self) -> None:
        for norm, _, count in self.norms:
            norm.momentum = 0.0
            # A copy rather than None: SyncBN needs a counter.
            norm.num_batches_tracked = None if count is None else count.clone()

    def __exit__(self, *_: object) -> None:
        for norm, momentum, count in self.norms:
            norm.momentum, norm.num_batches_tracked = momentum, count


def checkpoint(module: nn.Module, *args: Any) -> Any:
    """Call ``module(*args)``, keep its inputs only and recompute the rest in the backward pass.

    Plain checkpointing would let every batch norm count each batch twice.
    """
    if not torch.is_grad_enabled():
        return module(*args)
    if torch.compiler.is_compiling():  # updates statistics only once, and does not support contexts
        return _checkpoint(module, *args, use_reentrant=False)

    def contexts() -> tuple:
        return contextlib.nullcontext(), _RunningStatisticsUntouched(module)

    return _checkpoint(module, *args, use_reentrant=False, context_fn=contexts)
