"""Attention diversification (ADL) as one of a model's losses, whichever library the model comes from.

mmengine calls classifiers, segmentors and detectors alike with ``mode='loss'`` and sums the dict of losses
that they return. A PyTorch forward hook can replace a module's output, so a hook on the whole model adds one
entry to that dict. It is then treated like any other loss: it is logged under its name, included in ``loss``,
scaled with it under AMP and gradient accumulation, and part of DDP's forward pass, which calls the model
inside. The alternatives are worse: a gradient injected in the backbone would be neither scaled nor logged, a
head has no access to the attention, and a wrapper of the optimizer or model would conflict with those for AMP
and DDP.
"""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from fan_mm.engine.distributed import unwrapped
from fan_mm.errors import InputError
from fan_mm.models.losses import AttentionDiversity


@HOOKS.register_module()
class AttentionDiversityHook(Hook):
    """Train with ``loss_attention_diversity`` (`fan_mm.models.losses.attention_diversity`).

    For every model of mmpretrain, mmseg and mmdet with a FANViT or FANHybrid, with or without token
    pooling. Parameters, checkpoints and predictions do not change. For a classifier, its ``loss``
    is logged as ``loss_task``, and the sum as ``loss``.

    Args:
        weight: weight of the loss (1 in the published models); 0 disables it.
        threshold: attention up to ``threshold / N`` is set to 0 (2 in the published models).

    Raises:
        InputError: an option is negative or not a number; raised when training begins if the model has no
            such backbone, and at the first step if its attention runs without gradients or it returns no losses.

    Examples:
        >>> # in a config; custom_hooks = [...] works, too, but is not merged with that of the base file
        >>> default_hooks = dict(attention_diversity=dict(type='AttentionDiversityHook'))
    """

    def __init__(self, weight: float = 1.0, threshold: float = 2.0) -> None:
        for name, value in (('weight', weight), ('threshold', threshold)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < float('inf'):
                raise InputError(
                    f'AttentionDiversityHook: {name} must be a number of at least 0, not {value!r}'
                )
        self.weight = weight
        self.threshold = threshold
        self._handles: list = []
        self._added = False

    def before_train(self, runner: Runner) -> None:
        """Attach to the model."""
        if not self.weight:
            return
        model = unwrapped(runner.model)
        self._diversity = AttentionDiversity(model, self.threshold)
        self._handles = [
            self._diversity,
            model.register_forward_pre_hook(self._start, with_kwargs=True),
            model.register_forward_hook(self._add, with_kwargs=True),
        ]

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Make sure that the loss was part of the step.

        Raises:
            InputError: the loss was missing.
        """
        if self._handles and not self._added:
            raise InputError(
                f"AttentionDiversityHook: {type(runner.model).__name__} is not called with mode='loss'"
            )

    def after_train(self, runner: Runner) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _start(self, model: nn.Module, args: tuple, kwargs: dict) -> None:
        if _wants_losses(model, args, kwargs):
            self._diversity.start()

    def _add(self, model: nn.Module, args: tuple, kwargs: dict, losses: dict) -> dict | None:
        if not _wants_losses(model, args, kwargs):
            return None
        loss = self._diversity.loss()
        if loss is None:
            raise InputError(
                'AttentionDiversityHook: no attention of the backbone ran with gradients (for activation '
                'checkpointing, use only with_cp=True)'
            )
        self._added = True
        # mmengine logs the sum as `loss`, which would overwrite a classifier's only loss.
        losses = {'loss_task' if name == 'loss' else name: value for name, value in losses.items()}
        return dict(losses, loss_attention_diversity=self.weight * loss)


def _wants_losses(model: nn.Module, args: tuple, kwargs: dict) -> bool:
    """Whether a training step calls mmengine's ``forward(inputs, data_samples, mode)``."""
    return model.training and kwargs.get('mode', args[2] if len(args) > 2 else None) == 'loss'
