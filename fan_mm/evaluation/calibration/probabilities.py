"""A description of a model's class probabilities; models without any are refused."""

from typing import Any

from mmengine.model import BaseTTAModel
from torch import nn

from fan_mm.engine.distributed import unwrapped
from fan_mm.errors import InputError
from fan_mm.evaluation.calibration.merged_scores import forgetful

TASKS = ('segmentation', 'classification', 'other')
# Heads that sum up mask scores: these are not logits, and do not add up to 1 over the classes.
_SUMS_OF_MASKS = ('MaskFormerHead', 'Mask2FormerHead', 'SideAdapterCLIPHead')


def probabilities_of(model: Any, task: str) -> str:
    """What the probabilities are whose calibration a sweep measures.

    Args:
        model: a model with mmengine's ``test_step``, possibly wrapped.
        task: 'segmentation', 'classification', or 'other' if the metric does not determine it.

    Raises:
        InputError: the task has no probabilities of one class each, or the model gives none.
    """
    if task not in TASKS:
        raise InputError(
            f'calibration is measured for classification and semantic segmentation, not for {task}: '
            'leave --calibration out'
        )
    model = unwrapped(model)
    if augmented := isinstance(model, BaseTTAModel):
        name, forgets = type(model).__name__, forgetful(model) is not None
        model = model.module
        if forgets and _channels(model) == 1:
            raise InputError(
                f'calibration: {name} applies the sigmoid of one channel twice, so its scores are not '
                'probabilities: test without augmentation, or without --calibration'
            )
    for part in model.modules():
        if head := _named(part, _SUMS_OF_MASKS):
            raise InputError(
                f'calibration: {head} returns class scores summed over masks, which are neither logits '
                'nor probabilities: leave --calibration out'
            )
    maps = task == 'segmentation' or hasattr(model, 'decode_head')
    words = _of_map(model) if maps else "the model's pred_score"
    return words + (', merged over test-time augmentations' if augmented else '')


def _named(part: nn.Module, names: tuple[str, ...]) -> str | None:
    return next((b.__name__ for b in type(part).__mro__ if b.__name__ in names), None)


def _head(model: nn.Module) -> nn.Module | None:
    """The head that decides; of a cascade the last one."""
    head = getattr(model, 'decode_head', None)
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _channels(model: nn.Module) -> int | None:
    return getattr(_head(model), 'out_channels', None)


def _of_map(model: nn.Module) -> str:
    head, one = _head(model), _channels(model) == 1
    words = 'sigmoid of the single logit' if one else 'softmax of the logits'
    if _mode(model) == 'slide':
        words += ', averaged over sliding windows'
    losses = getattr(head, 'loss_decode', None)
    losses = losses if isinstance(losses, nn.ModuleList) else [losses]
    if not one and any(getattr(loss, 'use_sigmoid', False) for loss in losses):
        words += ' (though they were trained with one sigmoid per class)'
    return f'{words}, at the size of the label map'


def _mode(model: Any) -> str | None:
    cfg: Any = getattr(model, 'test_cfg', None)
    return cfg.get('mode') if hasattr(cfg, 'get') else None
