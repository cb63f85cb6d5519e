"""Parts of relative paths, from the file upwards."""

from collections.abc import Collection, Sequence


def nearest(parts: Sequence[str], names: Collection[str]) -> str:
    """The folder next to the file that has one of these names, in any case; '' if none has."""
    return next((part.lower() for part in reversed(parts[:-1]) if part.lower() in names), '')
