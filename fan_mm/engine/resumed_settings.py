"""Which settings of a config a resumed training does not use, because the checkpoint brings its own."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner

from fan_mm.few_names import few

# What a user changes between two runs, and mmengine's resuming sets back.
_OF_GROUPS = ('lr', 'weight_decay')
_OF_SCHEDULERS = (
    *('begin', 'end', 'by_epoch', 'power', 'min_value', 'T_max', 'eta_min', 'eta_min_ratio'),
    *('gamma', 'milestones', 'step_size', 'start_factor', 'end_factor', 'periods', 'factor'),
    'monitor',
)


class ResumedSettingsHook(Hook):
    """Say which settings of a config a resumed training does not use: those of the checkpoint hold.

    mmengine loads the states of optimizer and schedulers, which carry their settings, too.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare, where a training is resumed and its parts are built, but not yet loaded."""
        if not runner._resume:
            return
        kept = [
            *_other_schedules(checkpoint.get('param_schedulers'), runner.param_schedulers),
            *_other_optimizers(checkpoint.get('optimizer'), runner.optim_wrapper),
        ]
        if kept:
            runner.logger.log(
                logging.WARNING,
                f'fan_mm: resumed with the settings in {runner._load_from}, not those of the config: '
                f'{few(kept)}{_other_epochs(runner, checkpoint)}; load_from instead takes the weights only',
            )


def _other_epochs(runner: Runner, checkpoint: Mapping) -> str:
    """Why lengths in steps differ where the config counts epochs; '' if epochs have as many steps as before."""
    told = (checkpoint.get('message_hub') or {}).get('runtime_info') or {}
    if not told.get('max_epochs') or type(runner.train_loop) is not EpochBasedTrainLoop:
        return ''
    before, now = told['max_iters'] // told['max_epochs'], runner.max_iters // runner.max_epochs
    if before == now:
        return ''
    return f' (epochs of {before} steps, now of {now}: other processes, batches or images)'


def _by_optimizer(schedulers: Any) -> dict[str, list[Mapping]]:
    """The states of schedulers, built or saved, by the place of their list, which several optimizers have each."""
    lists = {'param_scheduler': schedulers or []}
    if isinstance(schedulers, Mapping):
        lists = {f'param_scheduler.{name}': several for name, several in schedulers.items()}
    return {
        place: [one if isinstance(one, Mapping) else one.state_dict() for one in several]
        for place, several in lists.items()
    }


def _other_schedules(saved: Any, own: Any) -> Iterator[str]:
    here = _by_optimizer(own)
    for place, schedulers in _by_optimizer(saved).items():
        yield from _other_schedulers(place, schedulers, here.get(place, []))


def _other_schedulers(place: str, saved: list[Mapping], own: list[Mapping]) -> Iterator[str]:
    if saved and len(saved) != len(own):
        yield f'{place}: {len(saved)} of them, not {len(own)}'
        return
    for index, (there, here) in enumerate(zip(saved, own, strict=False)):
        for key in _OF_SCHEDULERS:
            if key in there and key in here and there[key] != here[key]:
                yield f'{place}.{index}: {key} is {_differ(there[key], here[key])}'


def _other_optimizers(saved: Any, wrapper: Any) -> Iterator[str]:
    """What differs in the optimizer, or in each of several."""
    if not isinstance(wrapper, OptimWrapperDict):
        yield from _other_groups('optimizer', _groups(saved), _own_groups(wrapper))
        return
    for name, one in wrapper.items():
        there = saved.get(name) if isinstance(saved, Mapping) else None
        yield from _other_groups(f'optimizer {name}', _groups(there), _own_groups(one))


def _groups(state: Any) -> list[Mapping]:
    return list(state.get('param_groups') or ()) if isinstance(state, Mapping) else []


def _own_groups(wrapper: Any) -> list[Mapping]:
    return getattr(getattr(wrapper, 'optimizer', None), 'param_groups', None) or []


def _other_groups(optimizer: str, saved: list[Mapping], own: list[Mapping]) -> Iterator[str]:
    """What differs, once for all parameter groups, as in the config."""
    if saved and len(saved) != len(own):
        yield f'{optimizer}, parameter groups: {len(saved)} of them, not {len(own)}'
        return
    for key in _OF_GROUPS:
        pairs = [
            (_unscheduled(there, key), _unscheduled(here, key))
            for there, here in zip(saved, own, strict=False)
        ]
        others = [pair for pair in pairs if pair[0] != pair[1]]
        if others:
            rest = '' if len(others) == 1 else f' (and so in {len(others)} parameter groups)'
            yield f'{optimizer}: {key} is {_differ(*others[0])}{rest}'


def _unscheduled(group: Mapping, key: str) -> Any:
    """A group's value before schedulers changed it, which they note; without one, the value itself."""
    return group.get(f'initial_{key}', group.get(key))


def _differ(there: Any, here: Any) -> str:
    return f'{_shown(there)}, not {_shown(here)}'


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:g}'
    return str(list(value) if isinstance(value, Mapping) else value)  # milestones, counted
