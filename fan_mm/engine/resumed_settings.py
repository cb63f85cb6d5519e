"""Which settings of a config a resumed training does not use, because the checkpoint brings its own.

Also refuses the state of another kind of optimizer.
"""

import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.optim import Optimizer

from fan_mm.errors import InputError
from fan_mm.few_names import few

# Settings that users may change before resuming, and that mmengine restores from the checkpoint.
_OF_GROUPS = ('lr', 'weight_decay', 'momentum', 'betas', 'eps', 'nesterov', 'amsgrad')
_OF_SCHEDULERS = (
    *('begin', 'end', 'by_epoch', 'power', 'min_value', 'T_max', 'eta_min', 'eta_min_ratio'),
    *('gamma', 'milestones', 'step_size', 'start_factor', 'end_factor', 'periods', 'factor'),
    'monitor',
)


class ResumedSettingsHook(Hook):
    """Log which settings of a config a resumed training does not use, because those of the checkpoint apply.

    mmengine loads the states of optimizer and schedulers, which include their settings.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare, where a training is resumed and its parts are built, but not yet loaded.

        Raises:
            InputError: the state is that of another kind of optimizer.
        """
        if not runner._resume:
            return
        optimizers = list(_optimizers(checkpoint.get('optimizer'), runner.optim_wrapper))
        for _, saved, own in optimizers:
            if isinstance(own, Optimizer):
                _refuse_other_kind(str(runner._load_from), saved, own)
        kept = [
            *_other_schedules(checkpoint.get('param_schedulers'), runner.param_schedulers),
            *(line for one in optimizers for line in _other_groups(*one)),
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
        if there.keys() != here.keys():
            names = [
                ', '.join(sorted(a.keys() - b.keys())) for a, b in ((there, here), (here, there))
            ]
            yield f'{place}.{index}: one of another kind (with {names[0] or "less"}, not {names[1] or "more"})'
        for key in _OF_SCHEDULERS:
            if key in there and key in here and there[key] != here[key]:
                yield f'{place}.{index}: {key} is {_differ(there[key], here[key])}'


def _optimizers(saved: Any, wrapper: Any) -> Iterator[tuple[str, Mapping, Any]]:
    """The optimizer, or each of several: what it is called, its saved state, itself."""
    saved = saved if isinstance(saved, Mapping) else {}
    if not isinstance(wrapper, OptimWrapperDict):
        yield 'optimizer', saved, getattr(wrapper, 'optimizer', None)
        return
    for name, one in wrapper.items():
        yield f'optimizer {name}', saved.get(name) or {}, getattr(one, 'optimizer', None)


def _refuse_other_kind(file: str, saved: Mapping, own: Optimizer) -> None:
    """Refuse a state that lacks what an optimizer reads in its first step: of a group, or of a weight.

    Entries added in later versions of a class are no difference: the class adds them when it loads a state.
    """
    needed = set(own.defaults).intersection(*own.param_groups)
    groups = saved.get('param_groups') or ()
    taken = copy.copy(own)
    taken.__setstate__({'state': {}, 'param_groups': [dict(group) for group in groups]})
    for group in taken.param_groups:
        lacking = sorted(needed - group.keys()) or _lacking_in_step(saved, group, own)
        if lacking:
            raise InputError(
                f"{file} is of another config's training (load_from uses only its weights): its optimizer has no "
                f'{", ".join(lacking)}, which {type(own).__name__} needs'
            )


def _lacking_in_step(saved: Mapping, group: Mapping, own: Optimizer) -> list[str]:
    """What an optimizer does not find in the saved state of a group's weights: it is tried with the smallest."""
    states = [saved.get('state', {}).get(number) for number in group['params']]
    sized = [
        (max(tensors, key=Tensor.numel), state)
        for state in states
        if isinstance(state, Mapping)
        and (tensors := [v for v in state.values() if isinstance(v, Tensor)])
    ]
    if not sized:
        return []
    weight, state = min(sized, key=lambda one: one[0].numel())
    missing = _missing_in_step(weight, group, state, own)
    return missing if missing and not _missing_in_step(weight, group, {}, own) else []


def _missing_in_step(like: Tensor, group: Mapping, state: Mapping, own: Optimizer) -> list[str]:
    """The name that an optimizer misses in a step of a weight with this state; none if another error ends it."""
    # Not a copy, whose `step` schedulers have replaced by one of the original.
    tried = type(own).__new__(type(own))
    try:
        weight = nn.Parameter(torch.zeros_like(like))
        weight.grad = torch.zeros_like(like)
        groups = [dict(group, params=[weight])]
        content = {'state': {weight: copy.deepcopy(state)}, 'param_groups': groups}
        tried.__setstate__({'defaults': own.defaults, **content})
        type(own).step(tried)
    except KeyError as error:
        return [*map(str, error.args)]
    except Exception:  # of what only the original has, or states of 8 bits
        return []
    return []


def _other_groups(optimizer: str, state: Mapping, own: Any) -> Iterator[str]:
    """What differs, once for all parameter groups: a config sets it once for all."""
    saved = state.get('param_groups') or ()
    groups: list[Mapping] = getattr(own, 'param_groups', None) or []
    if saved and len(saved) != len(groups):
        yield f'{optimizer}, parameter groups: {len(saved)} of them, not {len(groups)}'
        return
    for key in _OF_GROUPS:
        pairs = [
            (_unscheduled(there, key), _unscheduled(here, key))
            for there, here in zip(saved, groups, strict=False)
            if key in there and key in here
        ]
        others = [pair for pair in pairs if pair[0] != pair[1]]
        if others:
            rest = '' if len(others) == 1 else f' (and so in {len(others)} parameter groups)'
            yield f'{optimizer}: {key} is {_differ(*others[0])}{rest}'


def _unscheduled(group: Mapping, key: str) -> Any:
    """A group's value before schedulers changed it, which they note; without one, the value itself."""
    value = group.get(f'initial_{key}', group.get(key))
    if key == 'betas' and 'initial_momentum' in group:  # the original first beta
        return [group['initial_momentum'], *value[1:]]
    return list(value) if isinstance(value, tuple) else value


def _differ(there: Any, here: Any) -> str:
    return f'{_shown(there)}, not {_shown(here)}'


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:g}'
    return str(list(value) if isinstance(value, Mapping) else value)  # milestones are a Counter
