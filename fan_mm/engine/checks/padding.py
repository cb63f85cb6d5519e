"""Images that a pipeline pads: mmseg stretches the prediction of image and padding over the image alone."""

from collections.abc import Sequence
from typing import Any

from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS

from fan_mm.engine.config.registered import base_named, registered

_KNOWN_TO_MODEL = ('img_padding_size', 'padding_size')  # which mmseg's segmentors cut off again


def stretched_padding(place: str, pipeline: Any, samples: Sequence[dict]) -> list[str]:
    """A line for the log if ``Pad`` changes the size of images that are evaluated.

    mmseg 0.x cut the padding off; since 1.0 only that of ``data_preprocessor`` is.

    Args:
        place: of the dataset in the config.
        pipeline: its config.
        samples: a few of it.
    """
    steps = list(pipeline or ())
    pads = [
        isinstance(step, dict)
        and base_named(registered(TRANSFORMS, place, step), 'Pad', 'mmcv') is not None
        for step in steps
    ]
    if not any(pads):
        return []
    first = pads.index(True)
    for sample in samples:
        try:
            results = Compose(steps[:first])(dict(sample, seg_fields=[]))
            size = results['img'].shape[:2]
            padded = Compose(steps[first : first + 1])(results)
        except Exception:  # said with the first batch
            return []
        shape = padded['img'].shape[:2]
        if shape != size and not any(name in padded for name in _KNOWN_TO_MODEL):
            return [
                f'{place}.pipeline: Pad makes {shape[1]}x{shape[0]} pixels of {size[1]}x{size[0]}, and mmseg '
                'stretches the prediction of all of them over the image, so scores are too low: leave Pad out, and '
                'set model.data_preprocessor.test_cfg=dict(size_divisor=...) or dict(size=...)'
            ]
    return []
