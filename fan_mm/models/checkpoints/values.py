"""Weights that a model would accept and compute nonsense with: NaN, quantised, without values."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fan_mm.errors import InputError


def check_values(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse weights that a model would take and compute nonsense with.

    Args:
        state: the weights to load.
        own: the state dict of the module that loads them.

    Raises:
        InputError: a tensor is not finite (an ``attn_mask`` may hold infinities), is quantised or sparse, or
            has no values.
    """
    for name, value in state.items():
        if name not in own:
            continue
        mine = own[name]
        if value.layout is not torch.strided:
            raise InputError(f'{name} is sparse: save the weights as dense tensors')
        if value.is_quantized or (mine.is_floating_point() and not value.is_floating_point()):
            kind = str(value.dtype).removeprefix('torch.')
            raise InputError(f'{name} is quantised ({kind}): save the weights as float')
        if value.is_meta and not mine.is_meta:
            raise InputError(f'{name} has no values (meta device): save the weights themselves')
        if not value.is_meta and not name.endswith('mask') and not _finite(value):
            raise InputError(
                f'{name} has values that are NaN or infinite, so the weights are useless'
            )


def _finite(value: Tensor) -> bool:
    if not value.is_floating_point() or not value.numel():
        return True
    if value.dtype.itemsize == 1:  # torch implements few operators for 8-bit types
        value = value.float()
    return bool(torch.isfinite(torch.stack(value.aminmax())).all())
