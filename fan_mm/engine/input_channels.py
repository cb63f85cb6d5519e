"""How many channels the images have that a model takes: not all take colour images."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_WANTED = re.compile(r'to have (\d+) channels')  # in torch's error about a convolution's input


@torch.no_grad()
def input_channels(model: nn.Module, run: Callable[[Tensor], Any], size: tuple[int, int]) -> int:
    """As many as a model's data_preprocessor has means, or 3; or else as many as its convolution wants.

    The convolution's input may not be the image itself (YOLOX: 2x2 pixels stacked as channels), so it is used only if
    the model does not accept colour images.

    Args:
        model: a model of mmpretrain, mmseg or mmdet.
        run: runs the model on images ``(1, C, H, W)``.
        size: height and width.
    """
    mean = getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    usual = mean.numel() if isinstance(mean, Tensor) and mean.numel() > 1 else 3
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first.in_channels == usual:
        return usual
    try:
        run(torch.zeros(1, usual, *size))
    except Exception as error:  # models may raise anything
        wanted = _WANTED.search(str(error))
        return int(wanted[1]) if wanted else usual
    return usual
