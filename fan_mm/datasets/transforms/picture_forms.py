"""The forms in which pipelines hold an image: arrays, Pillow images and tensors."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from fan_mm.errors import InputError

_PILLOW_MODES = ('L', 'RGB', 'RGBA')
_CHANNELS = (1, 3)


def pixels_of(picture: Any) -> np.ndarray:
    """The pixels of an image as an array ``(H, W)`` or ``(H, W, C)``, of its own type.

    Args:
        picture: array ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)``; tensor ``(H, W)``, ``(1, H, W)`` or
            ``(3, H, W)``; Pillow image of mode L, RGB or RGBA (the only one with four channels: of
            an array nobody knows whether the fourth is alpha).

    Raises:
        InputError: it is none of these; one line that says what it is.
    """
    if isinstance(picture, Image.Image):
        if picture.mode not in _PILLOW_MODES:
            raise InputError(
                f'the image to corrupt is a Pillow image of mode {picture.mode}, not '
                f"{', '.join(_PILLOW_MODES)}: convert it to 'RGB' where it is loaded"
            )
        return np.asarray(picture)
    if isinstance(picture, torch.Tensor):
        array = picture.detach().cpu().numpy()
        array, layout = (array.transpose(1, 2, 0), '(C, H, W)') if array.ndim == 3 else (array, '')
    else:
        array, layout = picture, '(H, W, C)'
    if not isinstance(array, np.ndarray):
        raise InputError(
            f'the image to corrupt is a {type(picture).__name__}: one array, Pillow image or tensor '
            'per sample is needed at this point'
        )
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in _CHANNELS):
        raise InputError(
            f'the image to corrupt has shape {tuple(picture.shape)}, where {layout or "(H, W)"} with '
            "one or three channels is needed: load it with color_type='color'"
        )
    return array


def in_form_of(picture: Any, pixels: np.ndarray) -> Any:
    """Other pixels in the form of an image."""
    if isinstance(picture, Image.Image):
        return Image.fromarray(pixels)  # the mode follows from the channels
    if isinstance(picture, torch.Tensor):
        pixels = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
        return torch.from_numpy(np.ascontiguousarray(pixels)).to(picture.device)
    return pixels
