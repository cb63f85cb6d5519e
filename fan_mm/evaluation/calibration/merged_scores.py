"""The scores of mmseg's test-time augmentation, which it does not keep.

``SegTTAModel`` predicts from the mean of the augmentations' probabilities but returns samples with the
logits of the last augmentation only. Here the mean is recomputed while they are predicted, one map per image.
"""

from typing import Any

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from torch import Tensor, nn

from fan_mm.engine.distributed import unwrapped
from fan_mm.evaluation.calibration.measures import log_of


def forgetful(model: Any) -> BaseTTAModel | None:
    """The ``SegTTAModel`` that a model is or wraps; None if the model keeps the scores it predicts from."""
    model = unwrapped(model)
    if not isinstance(model, BaseTTAModel):
        return None
    merging = next(b for b in type(model).__mro__ if 'merge_preds' in vars(b))
    return model if merging.__name__ == 'SegTTAModel' else None


def predict(model: Any, batch: Any) -> list:
    """``model.test_step``; a `forgetful` model's samples have the merged scores.

    These are log probabilities, so that their softmax returns the probabilities.
    """
    merging = forgetful(model)
    if merging is None:
        return model.test_step(batch)
    sums: list[Tensor] = []
    count = 0

    def add(_: nn.Module, __: tuple, samples: list) -> None:
        nonlocal count
        count += 1
        logits = [sample.seg_logits.data for sample in samples]
        if not sums:
            sums.extend(map(torch.zeros_like, logits))
        for total, scores in zip(sums, logits, strict=True):
            total += scores.softmax(dim=0)  # in the same type as mmseg

    hook = merging.module.register_forward_hook(add)
    try:
        outputs = model.test_step(batch)
    finally:
        hook.remove()
    for sample, total in zip(outputs, sums, strict=True):
        sample.set_data({'seg_logits': PixelData(data=log_of((total / count).float()))})
    return outputs
