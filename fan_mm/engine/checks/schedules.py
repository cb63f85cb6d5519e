"""Schedules of a training: what counts epochs where none ends, or lies beyond the training's end."""

from collections.abc import Mapping

from mmengine.config import Config

from fan_mm.config_parts import parts_below, type_name
from fan_mm.engine.checks.loaders import ENDLESS
from fan_mm.errors import InputError

_TOLERANCE = 1.1  # a schedule that ends slightly late is not a mistake


def check_schedules(cfg: Config) -> list[str]:
    """Compare the units and lengths of schedules and checkpoints with those of the training loop.

    mmengine counts epochs by default, and for its ``IterBasedTrainLoop`` the whole training is one
    epoch. Custom loops are not checked.

    Returns:
        Lines for the log.

    Raises:
        InputError: the loop is epoch-based, but the sampler is infinite.
    """
    loop, loader = cfg.get('train_cfg') or {}, cfg.get('train_dataloader')
    by_epoch = _counts_epochs(loop)
    if by_epoch is None:
        return []
    sampler = type_name(loader.get('sampler')) if isinstance(loader, dict) else ''
    if by_epoch and sampler in ENDLESS:
        raise InputError(
            f'train_dataloader.sampler: {sampler} never ends an epoch, so there would be neither a '
            'validation nor a checkpoint: with an EpochBasedTrainLoop, use '
            "dict(type='DefaultSampler', shuffle=True)"
        )
    length = loop.get('max_epochs' if by_epoch else 'max_iters')
    notes = [] if by_epoch else _checkpoints_at_the_end(cfg.get('default_hooks') or {})
    # a scheduler, a list of schedulers, or a dict of lists for several optimizers
    for place, scheduler in parts_below('param_scheduler', cfg.get('param_scheduler')):
        name = type_name(scheduler)
        if not name or scheduler.get('convert_to_iter_based') or 'Plateau' in name:
            continue
        own_unit = scheduler.get('by_epoch', True)
        if own_unit and not by_epoch:
            notes.append(
                f'{place}: {name} counts epochs (by_epoch=True, the default), but to an '
                'IterBasedTrainLoop the whole training is one epoch, so it never takes a step: set '
                'by_epoch=False'
            )
        elif bool(own_unit) == by_epoch and isinstance(length, int):
            notes += _beyond(place, scheduler, length, 'epoch' if by_epoch else 'iteration')
    return notes


def _counts_epochs(loop: Mapping) -> bool | None:
    """Whether mmengine's loop of a config counts epochs; None for another loop."""
    kinds = {'EpochBasedTrainLoop': True, 'IterBasedTrainLoop': False}
    return kinds.get(type_name(loop), None if 'type' in loop else loop.get('by_epoch'))


def _checkpoints_at_the_end(hooks: Mapping) -> list[str]:
    hook = hooks.get('checkpoint', {}) if isinstance(hooks, Mapping) else None
    if not isinstance(hook, Mapping) or type_name(hook) not in ('', 'CheckpointHook'):
        return []
    if not hook.get('by_epoch', True) or hook.get('interval', 1) < 1:
        return []
    return [
        'default_hooks.checkpoint counts epochs (by_epoch=True, the default), but to an '
        'IterBasedTrainLoop the whole training is one epoch: it is saved at its end only, and one that '
        'stops earlier is lost; set by_epoch=False and the interval in iterations'
    ]


def _beyond(place: str, scheduler: Mapping, length: int, unit: str) -> list[str]:
    """A line if all or much of a scheduler's effect lies beyond the training's end."""
    name = type_name(scheduler)
    first, last = scheduler.get('begin', 0), scheduler.get('end')
    milestones = scheduler.get('milestones')
    if isinstance(first, int) and first >= length:
        when = f'begins at {unit} {first}'
    elif isinstance(milestones, list | tuple) and milestones and min(milestones) >= length:
        when = f'has its first milestone at {unit} {min(milestones)}'
    elif isinstance(last, int) and milestones is None and last > _TOLERANCE * length:
        when = f'ends at {unit} {last}'
    else:
        return []
    return [f'{place}: {name} {when}, but the training ends at {length}: give both the same length']
