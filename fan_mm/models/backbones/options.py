"""Constructor options that all backbones have in common."""

from collections.abc import Mapping, Sequence

from mmengine.registry import MODELS

from fan_mm.errors import InputError


def check_options(norm_cfg: Mapping, drop_path_rate: float, frozen_stages: int) -> None:
    """Check the types and ranges of what every backbone is given.

    Raises:
        InputError: an option has the wrong type or is out of range.
    """
    if not isinstance(norm_cfg, Mapping) or 'type' not in norm_cfg:
        raise InputError(f"norm_cfg must be a dict such as dict(type='BN'), not {norm_cfg!r}")
    if isinstance(norm_cfg['type'], str):
        with MODELS.switch_scope_and_registry(None) as registry:
            if registry.get(norm_cfg['type']) is None:
                raise InputError(f'norm_cfg: unknown norm {norm_cfg["type"]}')
    if not isinstance(drop_path_rate, int | float) or not 0 <= drop_path_rate < 1:
        raise InputError(f'drop_path_rate must be in [0, 1), not {drop_path_rate!r}')
    if not isinstance(frozen_stages, int):
        raise InputError(f'frozen_stages must be a whole number, not {frozen_stages!r}')


def check_positive(name: str, value: object) -> None:
    """Check an option that is a positive whole number or None.

    Raises:
        InputError: it is not.
    """
    if value is not None and (type(value) is not int or value < 1):
        raise InputError(f'{name} must be a positive number or None, not {value!r}')


def resolve_arch(
    name: str,
    arch: str | Mapping,
    zoo: Mapping[str, Mapping],
    keys: Sequence[str],
    defaults: Mapping | None = None,
) -> dict:
    """Look up a named size, or check the keys of the user's own.

    Args:
        name: class name of the backbone, for error messages.
        arch: a key of ``zoo``, or a dict like its values.
        zoo: the named sizes.
        keys: the required keys.
        defaults: the optional keys and their default values.

    Raises:
        InputError: unknown name, missing or unknown keys, or a size that is not a positive integer.
    """
    defaults = defaults or {}
    if isinstance(arch, str):
        if arch not in zoo:
            raise InputError(f'{name} has no arch {arch!r}; choose from {", ".join(zoo)}')
        arch = zoo[arch]
    if not isinstance(arch, Mapping):
        raise InputError(
            f'arch of {name} must be {", ".join(zoo)} or a dict with {", ".join(keys)}, not {arch!r}'
        )
    missing = [key for key in keys if key not in arch]
    unknown = [key for key in arch if key not in keys and key not in defaults]
    if missing or unknown:
        raise InputError(
            f'arch of {name} needs {", ".join(keys)};'
            f' missing: {", ".join(missing) or "none"}; unknown: {", ".join(unknown) or "none"}'
        )
    examples = {**defaults, **next(iter(zoo.values()))}
    for key, value in arch.items():
        _check_size(f'arch.{key} of {name}', value, examples[key])
    return {**defaults, **arch}


def _check_size(place: str, value: object, example: object) -> None:
    """Check that a size is a positive whole number, or several of them where the example is several."""
    numbers: Sequence
    if isinstance(example, int):
        numbers, what = [value], 'a positive whole number'
    elif isinstance(example, Sequence):
        what = 'a list of positive whole numbers'
        numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else [None]
    else:
        return
    if any(not isinstance(number, int) or number < 1 for number in numbers):
        raise InputError(f'{place} must be {what}, not {value!r}')


def resolve_out_indices(name: str, out_indices: int | Sequence[int], last: int) -> tuple[int, ...]:
    """Non-negative, ascending output indices.

    Args:
        name: class name of the backbone, for error messages.
        out_indices: one or several; negative ones count from the end.
        last: the last output's index.

    Raises:
        InputError: the indices are out of range, repeated, not ascending, or empty.
    """
    given = [out_indices] if isinstance(out_indices, int) else out_indices
    if not isinstance(given, Sequence) or not all(isinstance(i, int) for i in given):
        raise InputError(
            f'out_indices must be whole numbers, such as (0, 1, 2), not {out_indices!r}'
        )
    indices = [i + last + 1 if i < 0 else i for i in given]
    if not indices or min(indices) < 0 or max(indices) > last:
        raise InputError(f'out_indices of this {name} must be in 0..{last}, not {out_indices}')
    if indices != sorted(set(indices)):
        raise InputError(
            f'out_indices must be in ascending order without repeats, not {out_indices}'
        )
    return tuple(indices)
