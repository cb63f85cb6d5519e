"""Building modules whose names and shapes are needed, but not their values: no memory, no initialisation."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_FILLS = {'uniform_', 'normal_', 'erfinv_', 'mul_', 'add_', 'clamp_', 'fill_', 'zero_'}


class _Unfilled(TorchFunctionMode):
    """Skips initialisation of tensors on the meta device, which PyTorch runs slowly in Python."""

    def __torch_function__(
        self,
        func: Callable,
        types: Any,
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, '__name__', None) in _FILLS and args and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def shapes_alone() -> Iterator[None]:
    """A context in which modules are built on the meta device, without initial values."""
    with torch.device('meta'), _Unfilled():
        yield
