"""Files appear whole or not at all: written aside in the same folder, then renamed.

And no two runs write into one folder at the same time.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from fan_mm.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_held: set[int] = set()  # descriptors of locked folders


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
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(aside)):
            error.filename = str(path)  # what a full disk has no room for
        raise


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to ``path`` in one step (see `whole_file`)."""
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path) as aside:
        aside.write_bytes(data)


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike) -> Iterator[None]:
    """Let no second run write into a folder at the same time. A kill ends this, too.

    Raises:
        InputError: another run does.
    """
    if fcntl is None:
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    _held.add(lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _release(lock)
        raise InputError(f'another run is writing into {folder}') from None
    except OSError:
        pass  # some network file systems cannot lock a folder
    try:
        yield
    finally:
        _release(lock)


def _release(lock: int) -> None:
    if lock in _held:  # not in a forked process, which has closed it
        _held.remove(lock)
        os.close(lock)


def _release_all() -> None:
    for lock in tuple(_held):
        _release(lock)


if fcntl is not None:
    # Otherwise loader workers, which outlive a killed parent by seconds, would hold the lock.
    os.register_at_fork(after_in_child=_release_all)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is what a killed process left of `whole_file`."""
    return re.fullmatch(r'\..+\.[0-9a-f]{12}(\.[^.]+)?', name) is not None
