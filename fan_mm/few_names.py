"""Many names in one line: the first few, and how many more there are."""

from collections.abc import Iterable


def few(names: Iterable[object], most: int = 3) -> str:
    """'a, b', or 'a, b, c, ...'."""
    names = list(names)
    return ', '.join(map(str, names[:most])) + (', ...' if len(names) > most else '')


def few_and_more(names: Iterable[object], most: int = 3) -> str:
    """'a, b', or 'a, b, c and 2 more'."""
    names = list(names)
    rest = len(names) - most
    return ', '.join(map(str, names[:most])) + (f' and {rest} more' if rest > 0 else '')
