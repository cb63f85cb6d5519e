"""The input size of a classifier's test pipeline: read, and changed as ImageNet's test sets are read."""

from collections.abc import Sequence
from typing import Any

from fan_mm.config_parts import datasets_of, steps_of, type_name
from fan_mm.errors import InputError


def resize(pipeline: list[dict], size: int) -> None:
    """Crop ``size`` pixels from an image whose short side keeps the ratio to the crop.

    A pipeline that resizes to a square and crops nothing resizes to the new one.

    Raises:
        InputError: the pipeline has no such steps, or the size is part of the crop.
    """
    resizes = [step for step in steps_of(pipeline) if _is_resize(step)]
    crop = _centre_crop(pipeline)
    if crop is None:
        if not resizes:
            raise InputError(
                f'{size} pixels need ResizeEdge and CenterCrop, or Resize, in the test pipeline'
            )
        _set_pixels(resizes[-1], _key(resizes[-1], 'scale', 'size'), size)
        return
    option = _key(crop, 'crop_size', 'size')
    own = _pixels(crop, option)
    if own == size:
        return
    if 'EfficientNet' in type_name(crop) or not resizes:
        raise InputError(
            f'{size} pixels need ResizeEdge and CenterCrop in the test pipeline, '
            f'--size SET={own} keeps the original size'
        )
    edge = _key(resizes[-1], 'scale', 'size')
    _set_pixels(resizes[-1], edge, _short_side(size, own, _pixels(resizes[-1], edge)))
    _set_pixels(crop, option, size)


def _short_side(size: int, crop: int, side: int) -> int:
    """The short side for another crop: floor(size / ratio), as timm has it, of the ratio that gave the config's."""
    for digits in (1, 2, 3):  # 0.9 gives 224 of 248 pixels, 0.875 gives 224 of 256
        ratio = round(crop / side, digits)
        if ratio > 0 and int(crop / ratio) == side:
            return int(size / ratio)
    return size * side // crop


def crop_size(loader: dict) -> int | None:
    """The input size of the model in pixels; None if the pipeline does not say."""
    pipeline = next(datasets_of('', loader['dataset']))[1].get('pipeline')
    crop = _centre_crop(pipeline)
    if crop is not None:
        return _pixels(crop, _key(crop, 'crop_size', 'size'))
    resizes = [
        step for step in steps_of(pipeline) if type_name(step).rpartition('/')[2] == 'Resize'
    ]
    if resizes and (name := _key(resizes[-1], 'scale', 'size')):
        return _pixels(resizes[-1], name)
    return None


def _is_resize(step: Any) -> bool:
    name = type_name(step).rpartition('/')[2]
    return name in ('ResizeEdge', 'Resize') and _key(step, 'scale', 'size') != ''


def _centre_crop(pipeline: Sequence[dict] | None) -> dict | None:
    crops = (step for step in steps_of(pipeline) if type_name(step).endswith('CenterCrop'))
    return next((step for step in crops if _key(step, 'crop_size', 'size')), None)


def _key(step: dict, *names: str) -> str:
    """Which of the options is a size, one number or twice the same; '' if none is."""
    for name in names:
        value = step.get(name)
        if isinstance(value, list | tuple) and len(set(value)) == 1:
            value = value[0]
        if isinstance(value, int) and value > 0:
            return name
    return ''


def _pixels(step: dict, name: str) -> int:
    return step[name] if isinstance(step[name], int) else step[name][0]


def _set_pixels(step: dict, name: str, size: int) -> None:
    step[name] = size if isinstance(step[name], int) else type(step[name])([size] * len(step[name]))
