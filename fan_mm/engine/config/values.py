"""Values that no config can have, whatever its task: found before anything is built from them."""

import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

from mmengine.config import Config

from fan_mm.errors import InputError

_PARTS = ('model', 'optim_wrapper', 'default_hooks', 'env_cfg', 'log_processor', 'visualizer')
_SPLITS = ('train', 'val', 'test')
# Keys of mmengine's Runner, and those of our tools and the task libraries.
KNOWN_KEYS = (
    *_PARTS,
    *(f'{split}_{part}' for split in _SPLITS for part in ('dataloader', 'cfg', 'evaluator')),
    *('work_dir', 'load_from', 'resume', 'launcher', 'randomness', 'default_scope', 'seed'),
    *('auto_scale_lr', 'param_scheduler', 'custom_hooks', 'data_preprocessor', 'experiment_name'),
    *('find_unused_parameters', 'sync_bn', 'model_wrapper_cfg', 'runner_type', 'log_level'),
    *('tta_model', 'tta_pipeline', 'custom_imports', 'vis_backends', 'efficient_conv_bn_eval'),
    *('compile', 'cfg', 'from_scratch'),
)


def _is_whole(least: float) -> Callable[[Any], bool]:
    # mmengine also accepts integral floats, such as 1e3.
    return lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value == int(value)
        and value >= least
    )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_WHOLE_FROM_1 = _is_whole(1), 'a whole number of at least 1'
_WHOLE_FROM_0 = _is_whole(0), 'a whole number of at least 0'
_RULES = {  # place in the config -> (test, allowed values); None is always accepted here
    r'(train|val|test)_dataloader\.batch_size': _WHOLE_FROM_1,
    r'(train|val|test)_dataloader\.num_workers': _WHOLE_FROM_0,
    r'(train|val|test)_dataloader\.prefetch_factor': _WHOLE_FROM_1,
    r'train_cfg\.max_(iters|epochs)': _WHOLE_FROM_1,
    r'train_cfg\.val_begin': _WHOLE_FROM_0,
    r'train_cfg\.val_interval': (
        lambda value: _is_whole(-math.inf)(value) and value != 0,
        'a whole number of at least 1',
    ),
    r'randomness\.seed': (
        lambda value: _is_whole(0)(value) and value < 2**32,
        'a whole number from 0 to 4294967295',
    ),
    r'optim_wrapper\.optimizer\.lr': (
        lambda value: (
            not isinstance(value, int | float | str) or (_is_number(value) and value >= 0)
        ),
        'a finite number of at least 0',
    ),
    r'optim_wrapper\.accumulative_counts': _WHOLE_FROM_1,
    r'auto_scale_lr\.base_batch_size': _WHOLE_FROM_1,
    r'default_hooks\.checkpoint\.(interval|max_keep_ckpts)': (
        _is_whole(-1),
        'a whole number, -1 for none',
    ),
    r'default_hooks\.logger\.interval': _WHOLE_FROM_1,
    r'model\.\w*head\.num_classes': (
        # a custom head may take several numbers
        lambda value: isinstance(value, list | tuple | dict) or _is_whole(-1)(value),
        'a whole number',
    ),
    r'log_level': (
        lambda value: isinstance(value, int) or isinstance(logging.getLevelName(value), int),
        'INFO, WARNING or another logging level',
    ),
    r'(load_from|work_dir)': (lambda value: isinstance(value, str | os.PathLike), 'a path'),
}
_DICTS = re.compile(
    r'model|optim_wrapper|optim_wrapper\.optimizer|default_hooks|env_cfg|randomness|auto_scale_lr'
    r'|model\.(backbone|data_preprocessor|neck|\w*head)|default_hooks\.\w+|env_cfg\.\w+_cfg|(train|val|test)_(dataloader|evaluator|cfg)'
    r'|(train|val|test)_dataloader\.dataset|custom_hooks|param_scheduler'
)


def check_values(cfg: Config) -> None:
    """Look for values that nothing can be built from.

    Raises:
        InputError: the first invalid value, with its place in the config.
    """
    if 'model' in cfg and cfg.model is None:
        raise InputError('model is None, but must be dict(...) as in other configs')
    for place, value in _places(cfg._cfg_dict):
        if value is None:
            continue
        if _DICTS.fullmatch(place) and isinstance(value, str | int | float | bool):
            raise InputError(f'{place} is {value!r}, but must be dict(...) as in other configs')
        for pattern, (allowed, what) in _RULES.items():
            if re.fullmatch(pattern, place) and not allowed(value):
                raise InputError(f'{place} is {value!r}, but must be {what}')


def _places(node: dict, above: str = '', depth: int = 3) -> Iterator[tuple[str, Any]]:
    """Every place of a config down to a depth, with its value."""
    for key, value in node.items():
        place = f'{above}{key}'
        yield place, value
        if isinstance(value, dict) and depth > 1:
            yield from _places(value, f'{place}.', depth - 1)
