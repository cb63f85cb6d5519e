"""Launching Triton's kernels in less of Python's time than Triton takes for it.

``kernel[grid](...)`` binds every argument and looks up the compiled kernel by a string of all types and
options. Here the types themselves are the key, which saves 9 of the 34 us of an operator with one kernel
(docs/performance.md); a training step launches about three hundred.
"""

from typing import Any

import torch
from torch import Tensor

# Bytes. PyTorch allocates memory with this alignment; for views without it, Triton compiles other machine code.
ALIGNED = 16
# On AMD the machine code also depends on whether a tensor is larger than 2 GiB.
BY_TYPES = torch.version.hip is None
_compiled: dict[tuple, Any] = {}


def launch(kernel: Any, grid: tuple[int, int, int], *args: Any, **options: Any) -> None:
    """``kernel[grid](*args, **options)`` on the GPU of the first argument.

    Args:
        kernel: made by ``triton.jit`` with ``do_not_specialize`` for all its numbers; otherwise the machine
            code would depend on their values.
        grid: number of programs along three axes.
        args: a tensor, then tensors, numbers below 2^31 and None, in the order of the kernel's parameters.
        options: the kernel's remaining parameters, its constants, in order, and ``num_warps`` last.
    """
    device = args[0].device
    if device.type == 'cuda' and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):  # Triton launches on the current device
            launch(kernel, grid, *args, **options)
        return
    key = [kernel.fn, device, *options.values()]
    aligned = BY_TYPES
    for value in args:
        if isinstance(value, Tensor):
            key.append(value.dtype)
            aligned = aligned and not value.data_ptr() % ALIGNED
        else:
            key.append(value is None)
    if not aligned:
        kernel[grid](*args, **options)
        return
    known = tuple(key)
    found = _compiled.get(known)
    if found is None:  # or in the interpreter, which compiles nothing
        _compiled[known] = kernel[grid](*args, **options)
    else:
        found[grid](*args, *(value for name, value in options.items() if name != 'num_warps'))
