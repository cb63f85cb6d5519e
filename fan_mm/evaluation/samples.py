"""Evenly spaced samples of a dataset."""

from fan_mm.errors import InputError


def spread(total: int, count: int) -> list[int]:
    """Places of at most ``count`` of ``total`` samples, evenly spaced.

    The first samples alone may all be of one city or class.

    Raises:
        InputError: none are asked for.
    """
    if count < 1:
        raise InputError(f'at least one sample is needed, not {count}')
    count = min(count, total)
    return [i * total // count for i in range(count)]
