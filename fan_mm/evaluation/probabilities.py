"""What a model's probabilities of classes are, in words; or that it has none."""

from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from fan_mm.errors import InputError

TASKS = ('segmentation', 'classification', 'other')
# Heads that sum the scores of masks up: not logits, and the sum over the classes is not 1.
_SUMS_OF_MASKS = ('MaskFormerHead', 'Mask2FormerHead', 'SideAdapterCLIPHead')


def probabilities_of(model: Any, task: str) -> str:
    """What the probabilities are of which a sweep measures the calibration.

    Args:
        model: with mmengine's ``test_step``, perhaps wrapped.
        task: 'segmentation', 'classification', or 'other' where the metric does not say.

    Raises:
        InputError: the task has no probabilities of one class each, or the model gives none.
    """
    if task not in TASKS:
        raise InputError(
            f'calibration is measured for classification and semantic segmentation, not for {task}: '
            'leave --calibration out'
        )
    while is_model_wrapper(model):
        model = model.module
    if augmented := isinstance(model, BaseTTAModel):
        merged = next(b for b in type(model).__mro__ if 'merge_preds' in vars(b))
        if merged.__name__ == 'SegTTAModel':
            raise InputError(
                f'calibration: {type(model).__name__} keeps the scores of its last augmentation only, '
                'not the merged ones: test without augmentation, or without --calibration'
            )
        model = model.module
    for part in model.modules():
        if name := _named(part, _SUMS_OF_MASKS):
            raise InputError(
                f'calibration: {name} gives class scores summed over masks, which are neither logits '
                'nor probabilities: leave --calibration out'
            )
    maps = task == 'segmentation' or hasattr(model, 'decode_head')
    words = _of_map(model) if maps else "the model's pred_score"
    return words + (', merged over test-time augmentations' if augmented else '')


def _named(part: nn.Module, names: tuple[str, ...]) -> str | None:
    return next((b.__name__ for b in type(part).__mro__ if b.__name__ in names), None)


def _of_map(model: nn.Module) -> str:
    head = getattr(model, 'decode_head', None)
    if isinstance(head, nn.ModuleList):  # of a cascade the last one decides
        head = head[-1]
    one = getattr(head, 'out_channels', None) == 1
    words = 'sigmoid of the one logit' if one else 'softmax of the logits'
    if _mode(model) == 'slide':
        words += ', which are the mean over sliding windows'
    losses = getattr(head, 'loss_decode', None)
    losses = losses if isinstance(losses, nn.ModuleList) else [losses]
    if not one and any(getattr(loss, 'use_sigmoid', False) for loss in losses):
        words += ' (though they were trained with one sigmoid per class)'
    return f'{words}, at the size of the label map'


def _mode(model: Any) -> str | None:
    cfg: Any = getattr(model, 'test_cfg', None)
    return cfg.get('mode') if hasattr(cfg, 'get') else None
