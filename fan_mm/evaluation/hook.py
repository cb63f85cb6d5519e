"""Robustness while training: a small sweep after validation, logged like any other metric."""

import math
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner

from fan_mm.errors import InputError
from fan_mm.evaluation.sweep import RobustnessSweep
from fan_mm.logs import warn

_PREFIX = 'val/robustness/'


@HOOKS.register_module()
class RobustnessHook(Hook):
    """Evaluate some corruptions on the validation set after every n-th validation.

    Logs ``robustness/mean``, ``robustness/retention`` (both in per cent), ``robustness/clean`` (on the
    same images) and ``robustness/<corruption>`` for every corruption, with mmengine's logger and
    visualizer (TensorBoard, WandB, ...). The values are added to the validation metrics, so
    ``save_best`` can use them. They are None if a cell failed; at validations between two sweeps, the
    first three are None.

    Examples:
        >>> custom_hooks = [dict(type='RobustnessHook', interval=4, max_samples=100)]
        >>> default_hooks = dict(checkpoint=dict(save_best='robustness/mean', rule='greater'))

    Args:
        corruptions: names of corruptions or groups; by default one corruption of each group.
        severities: 1 to 5.
        interval: number of validations from one sweep to the next.
        max_samples: images per cell, evenly spaced over the validation set; None for all.
        seed: seed of the corruptions; every validation uses the same images.
    """

    # After RuntimeInfoHook (VERY_HIGH) has recorded the metrics, before EMAHook (NORMAL) restores the
    # trained weights and LoggerHook (BELOW_NORMAL) writes.
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        corruptions: Sequence[str] = ('gaussian_noise', 'defocus_blur', 'fog', 'jpeg_compression'),
        severities: Sequence[int] = (3,),
        interval: int = 1,
        max_samples: int | None = None,
        seed: int = 0,
    ) -> None:
        if interval < 1:
            raise InputError(f'RobustnessHook: interval must be at least 1, not {interval}')
        self.interval = interval
        self.options: dict[str, Any] = dict(
            benchmark='all',
            corruptions=corruptions,
            severities=severities,
            max_samples=max_samples,
            seed=seed,
            on_error='skip',
            model_info={'checkpoint_sha256': None},
        )

    def before_train(self, runner: Runner) -> None:
        """Check the options, the validation set and its evaluator before training."""
        if runner.val_loop is None:
            raise InputError(
                'RobustnessHook needs a validation: val_dataloader, val_evaluator, val_cfg'
            )
        self._sweep(runner)

    def _sweep(self, runner: Runner) -> RobustnessSweep:
        loop = runner.val_loop
        return RobustnessSweep(
            runner.model, loop.dataloader, loop.evaluator, fp16=loop.fp16, **self.options
        )

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Run the sweep and log it."""
        # LoggerHook would repeat the last value of everything ever logged.
        logged = runner.message_hub.log_scalars
        for name in [name for name in logged if name.startswith(_PREFIX)]:
            del logged[name]
        if metrics is not None:
            # CheckpointHook needs the key of save_best at every validation; None is never the best.
            metrics |= dict.fromkeys(f'robustness/{n}' for n in ('clean', 'mean', 'retention'))
        if _number(runner) % self.interval:
            return
        try:
            summary = self._sweep(runner).run()['summary']
        except InputError as error:  # must not end a long training
            warn(f'RobustnessHook: {error}')
            return
        scores = {
            'clean': summary['clean'],
            **{name: corruption['mean'] for name, corruption in summary['corruptions'].items()},
            'mean': summary['mean']['value'],
            'retention': summary['retention']['value'],
        }
        for name, score in scores.items():
            if score is not None:  # None: a cell failed, or the clean score is 0
                runner.message_hub.update_scalar(f'{_PREFIX}{name}', score)
            if metrics is not None:
                metrics[f'robustness/{name}'] = score


def _number(runner: Runner) -> int:
    """Number of this validation since the start of the training, also after a resume; 0 without training."""
    if not runner.iter:
        return 0
    by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
    # Rounded up: the last validation may come before a full interval.
    return math.ceil((runner.iter if by_iter else runner.epoch) / runner.val_interval)
