"""Images that a pipeline pads or crops: mmseg stretches the prediction of what is left over the whole image."""

from collections.abc import Sequence
from typing import Any

from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS

from fan_mm.engine.config.registered import base_named, registered

_INSTEAD = {  # advice for mmcv's transforms
    'Pad': ', and set model.data_preprocessor.test_cfg=dict(size_divisor=...) or dict(size=...)',
    'CenterCrop': '',
}
_KNOWN_TO_MODEL = ('img_padding_size', 'padding_size')  # padding that mmseg's segmentors remove


def stretched_frame(place: str, pipeline: Any, samples: Sequence[dict]) -> list[str]:
    """A line for the log if a transform pads or crops images that are evaluated.

    mmseg 0.x removed all padding; since 1.0, only that of ``data_preprocessor`` is removed.
    """
    steps = list(pipeline or ())
    kinds = [_kind(place, step) for step in steps]
    at = next((index for index, kind in enumerate(kinds) if kind), None)
    if at is None:
        return []
    for sample in samples:
        try:
            results = Compose(steps[:at])(dict(sample, seg_fields=[]))
            height, width = results['img'].shape[:2]
            framed = Compose(steps[at : at + 1])(results)
        except Exception:  # will be reported with the first batch
            return []
        shape = framed['img'].shape[:2]
        if shape != (height, width) and not any(name in framed for name in _KNOWN_TO_MODEL):
            return [
                f'{place}.pipeline: {kinds[at]} makes {shape[1]}x{shape[0]} pixels of {width}x{height}, and mmseg '
                'stretches the prediction of these over the whole image, so scores are too low: leave '
                f'{kinds[at]} out{_INSTEAD[kinds[at]]}'
            ]
    return []


def _kind(place: str, step: Any) -> str:
    """Which of the transforms above a pipeline's config names, or a class derived from it; '' if none."""
    cls = registered(TRANSFORMS, place, step) if isinstance(step, dict) else None
    return next((name for name in _INSTEAD if base_named(cls, name, 'mmcv')), '')
