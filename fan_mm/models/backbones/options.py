"""Constructor options that all backbones have in common."""

from collections.abc import Mapping, Sequence

from fan_mm.errors import InputError


def resolve_arch(
    name: str,
    arch: str | Mapping,
    zoo: Mapping[str, Mapping],
    keys: Sequence[str],
    defaults: Mapping | None = None,
) -> dict:
    """Look up a named size, or check the keys of the user's own.

    Args:
        name: the backbone's class, for the message.
        arch: a key of ``zoo``, or a dict like its values.
        zoo: the named sizes.
        keys: what every arch must have.
        defaults: what it may have, with the values otherwise.

    Raises:
        InputError: unknown name, missing or unknown keys.
    """
    defaults = defaults or {}
    if isinstance(arch, str):
        if arch not in zoo:
            raise InputError(f'{name} has no arch {arch!r}; choose from {", ".join(zoo)}')
        arch = zoo[arch]
    missing = [key for key in keys if key not in arch]
    unknown = [key for key in arch if key not in keys and key not in defaults]
    if missing or unknown:
        raise InputError(
            f'arch of {name} needs {", ".join(keys)};'
            f' missing: {", ".join(missing) or "none"}; unknown: {", ".join(unknown) or "none"}'
        )
    return {**defaults, **arch}


def resolve_out_indices(name: str, out_indices: int | Sequence[int], last: int) -> tuple[int, ...]:
    """Non-negative, ascending output indices.

    Args:
        name: the backbone's class, for the message.
        out_indices: one or several; negative ones count from the end.
        last: the last output's index.

    Raises:
        InputError: out of range, repeated, not ascending, or none at all.
    """
    given = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    indices = [i + last + 1 if i < 0 else i for i in given]
    if not indices or min(indices) < 0 or max(indices) > last:
        raise InputError(f'out_indices of this {name} must lie in 0..{last}, not {out_indices}')
    if indices != sorted(set(indices)):
        raise InputError(f'out_indices must ascend without repeats, not {out_indices}')
    return tuple(indices)
