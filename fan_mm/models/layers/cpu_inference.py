"""On a CPU, wide hidden layers are computed in parts that fit the cache.

A hidden tensor has four times the channels of the layer's input and output. Computed at once, it costs
more time in page faults and cache misses than in arithmetic, and more memory. GPUs and compilers are
faster with whole tensors, so there the layers are plain.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fan_mm.models.kernels import transformed

PART_SIZE = 2**20  # values of a hidden tensor computed at once (4 MB)


def eager_on_cpu(x: Tensor) -> bool:
    """Whether ``x`` is computed eagerly on a CPU, not traced, compiled or transformed by torch.func."""
    recorded = torch.jit.is_tracing() or torch.compiler.is_compiling()
    return x.device.type == 'cpu' and not recorded and not transformed()


def writes_in_place(x: Tensor) -> bool:
    """Whether a layer with input ``x`` may overwrite its own hidden values: in inference."""
    return eager_on_cpu(x) and not torch.is_grad_enabled()


def gelu(x: Tensor) -> Tensor:
    """GELU (exact, erf); ``x`` must be the caller's own, it is overwritten where that is allowed."""
    return torch.ops.aten.gelu_(x) if writes_in_place(x) else F.gelu(x)
