"""Files appear whole or not at all: written aside in the same folder, then renamed."""

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it onto ``path`` if the block succeeds.

    The temporary name keeps the suffix (writers such as OpenCV choose the format by it) and starts
    with a dot, so that a reader listing the folder never takes it for data. After an exception, or
    a kill, ``path`` is what it was before.

    Args:
        path: where the finished file shall be; parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'.{path.stem}.{secrets.token_hex(6)}{path.suffix}')
    try:
        yield aside
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to ``path`` in one step (see `whole_file`)."""
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path) as aside:
        aside.write_bytes(data)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is what a killed process left of `whole_file`."""
    return re.fullmatch(r'\..+\.[0-9a-f]{12}(\.[^.]+)?', name) is not None
