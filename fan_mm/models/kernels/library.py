"""The operators' place in PyTorch's dispatcher, and who takes them."""

import functools
import importlib.util

import torch
from torch import Tensor

LIBRARY = torch.library.Library('fan_mm', 'DEF')
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def has_kernels(x: Tensor) -> bool:
    """Whether the operators are made for ``x``: on a GPU, of 32 or 16 bits.

    A graph that leaves for another program keeps to PyTorch's own.
    """
    leaves = torch.jit.is_tracing() or torch.compiler.is_exporting()
    return x.is_cuda and x.dtype in TYPES and not leaves


@functools.cache
def triton_compiles() -> bool:
    """Whether there is a Triton, and one that compiles for this GPU."""
    if importlib.util.find_spec('triton') is None:
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability() >= (7, 0)


def parts_of(length: int, size: int) -> int:
    """How many parts of a size cover a length; Triton's own costs a tenth of a launch."""
    return -(-length // size)


def needs_gradient(*inputs: Tensor) -> bool:
    """Whether autograd follows what is computed from these."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
