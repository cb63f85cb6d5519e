"""Mixed precision without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """The counterpart of mmengine's ``AmpOptimWrapper``, which requires a GPU, for CPUs.

    Uses bfloat16 autocast. Losses need no scaling, because bfloat16 has the range of float32. Takes the
    arguments of ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast inside the usual gradient-accumulation context."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
