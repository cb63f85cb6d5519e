"""The operators' place in PyTorch's dispatcher, and who takes them."""

import functools
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor

LIBRARY = torch.library.Library('fan_mm', 'DEF')
MANY = 2**23  # values above which GPU time, not Python overhead, dominates: docs/performance.md
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def has_kernels(x: Tensor) -> bool:
    """Whether the operators support ``x``: on a GPU, with 32 or 16 bits.

    Graphs exported for other programs and functions transformed by torch.func use PyTorch's operators.
    """
    return x.is_cuda and x.dtype in TYPES and not exporting() and not transformed()


def exporting() -> bool:
    """Whether `torch.jit.trace` or `torch.export` records a graph, for other programs and input sizes.

    `torch.compile` does not count: it checks the decisions made in Python and recompiles.
    """
    if not hasattr(torch.compiler, 'is_exporting'):  # before torch 2.7 they cannot be told apart
        return torch.jit.is_tracing() or torch.compiler.is_compiling()
    # Dynamo says that it is exporting in `torch.compile`, too. The flag tells strict exports, which also run Dynamo.
    exports = torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()
    strictly = getattr(torch.compiler, '_is_exporting_flag', False)
    return torch.jit.is_tracing() or exports or strictly


def transformed() -> bool:
    """Whether a transformation of torch.func (grad, jvp, vmap) is running, which our gradients lack."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def fuses(x: Tensor) -> bool:
    """Whether to take the operators that only save passes over memory, not needed by a compiler.

    For smaller inputs the GPU waits for Python, and these operators have more overhead than PyTorch's.
    """
    return has_kernels(x) and not torch.compiler.is_compiling() and x.numel() >= MANY


@functools.cache
def triton_compiles() -> bool:
    """Whether there is a Triton that compiles the kernels, which is one from 3.3 on, for this GPU."""
    try:
        from triton import __version__
    except ImportError:
        return False
    if Version(__version__) < Version('3.3'):  # of torch before 2.7
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability() >= (7, 0)


def implement(operator: str, plain: Callable, shapes: Callable, kernels: str) -> None:
    """Give an operator of the library its implementations.

    Args:
        operator: its name.
        plain: implementation with PyTorch's operators, for any device.
        shapes: implementation for fake tensors: the outputs' shapes and types; all outputs are contiguous.
        kernels: implementation with Triton, ``module:function`` next to this module, imported on first use.
    """

    def on_gpu(*inputs: Any) -> Any:
        # A list, because a generator takes 2 us more. Callers may pass any layout, and so may a compiler.
        dense = [x.contiguous() if isinstance(x, Tensor) else x for x in inputs]
        return _triton(kernels)(*dense) if triton_compiles() else plain(*dense)

    LIBRARY.impl(operator, plain, 'CompositeExplicitAutograd')
    LIBRARY.impl(operator, on_gpu, 'CUDA')
    torch.library.register_fake(f'fan_mm::{operator}', shapes, lib=LIBRARY)


@functools.cache
def _triton(kernels: str) -> Any:
    return pkgutil.resolve_name(f'fan_mm.models.kernels.{kernels}')


def parts_of(length: int, size: int) -> int:
    """How many parts of a size cover a length; Triton's own costs a tenth of a launch."""
    return -(-length // size)


def power_of_2(length: int) -> int:
    """The least one that is not smaller: how wide a block of Triton's is; its own costs as much."""
    return 1 << max(0, length - 1).bit_length()


def needs_gradient(*inputs: Tensor) -> bool:
    """Whether autograd records computations with these."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in inputs)


def differentiable_gradients(
    output: Tensor, inputs: Sequence[Tensor], gradient: Tensor
) -> list[Tensor | None]:
    """Gradients by a formula's own, for gradients of gradients; None for inputs that need none."""
    wanted = [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(output, wanted, gradient, create_graph=True))
    return [next(found) if x.requires_grad else None for x in inputs]


def beside(parameter: Tensor, x: Tensor) -> Tensor:
    """A parameter (C,), or (B, C) for each sample its own, in the shape that meets (B, ..., C)."""
    if parameter.dim() > 1:
        for _ in range(x.dim() - 2):
            parameter = parameter.unsqueeze(1)
    return parameter
