"""The learning-rate schedule of the ImageNet recipe (timm's cosine scheduler; spec section 9)."""

import math

from mmengine.optim.scheduler import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

from fan_mm.errors import InputError
from fan_mm.logs import warn


@PARAM_SCHEDULERS.register_module()
class WarmupCosineCooldownLR(_ParamScheduler):
    r"""Linear warm-up, then a cosine that the warm-up does not shift, then a constant cooldown.

    .. math::
        \mathrm{lr}(e) = \begin{cases}
            s + e\,(\mathrm{lr} - s) / w & e < w \\
            m + (\mathrm{lr} - m)(1 + \cos(\pi e / T)) / 2 & w \le e < T \\
            m & e \ge T
        \end{cases}

    A sequence of mmengine's warm-up and cosine would start the cosine only after the warm-up. The formula
    applies to the parameters with the highest lr; with layer-wise decay, others are scaled proportionally.

    Args:
        optimizer: an optimizer or its wrapper.
        epochs: length T of the cosine.
        warmup_epochs: length w of the warm-up.
        warmup_start: learning rate s at the start of the warm-up.
        eta_min: learning rate m at the cosine's end.
        end: length of the run, set by mmengine; if it is shorter than the cosine, a warning is logged.
        last_step: see mmengine.
        by_epoch: count iterations if False.
        verbose: see mmengine.

    Raises:
        InputError: the warm-up is longer than the schedule.
    """

    def __init__(
        self,
        optimizer: object,
        epochs: int,
        warmup_epochs: int = 0,
        warmup_start: float = 1e-6,
        eta_min: float = 1e-6,
        end: int | None = None,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if not 0 <= warmup_epochs < epochs:
            raise InputError(f'a warm-up of {warmup_epochs} is longer than {epochs} epochs')
        if by_epoch and end is not None and end < epochs:
            warn(
                f'fan_mm: training ends at epoch {end}, but the learning rate falls until epoch '
                f'{epochs}: set epochs of param_scheduler, too'
            )
        self.epochs = epochs
        self.warmup_epochs = warmup_epochs
        self.warmup_start = warmup_start
        self.eta_min = eta_min
        super().__init__(optimizer, 'lr', last_step=last_step, by_epoch=by_epoch, verbose=verbose)

    def _get_value(self) -> list[float]:
        highest = max(self.base_values)
        return [self._at(self.last_step, highest) * (lr / highest) for lr in self.base_values]

    def _at(self, step: int, lr: float) -> float:
        if step < self.warmup_epochs:
            return self.warmup_start + step * (lr - self.warmup_start) / self.warmup_epochs
        if step < self.epochs:
            cosine = (1 + math.cos(math.pi * step / self.epochs)) / 2
            return self.eta_min + (lr - self.eta_min) * cosine
        return self.eta_min
