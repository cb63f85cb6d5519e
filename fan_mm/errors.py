"""Errors as one line: the exception that means "the user's input is wrong", and those of libraries."""

import contextlib
import errno
import re
from collections.abc import Iterator
from typing import TypeGuard

# Out-of-memory messages of torch on a CPU and on a GPU.
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)
LOST_PROCESS = 'another process of this run ended: its last line says why, or it was killed'
# gloo's and NCCL's message for that.
_PEER_GONE = re.compile(r'connection (closed|reset) by (remote )?peer', re.IGNORECASE)

# Errors of a folder or disk; a missing file (ENOENT) may be our own mistake.
_REFUSALS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}


class InputError(ValueError):
    """Bad input, described in one line that says what is wrong and what to do.

    Command lines print it without a traceback and exit with status 2 (`fan_mm.cli`); every other
    exception is a bug and keeps its traceback.
    """


@contextlib.contextmanager
def about(what: object) -> Iterator[None]:
    """Begin the line of an `InputError` raised in a block with what it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{what}: {error}') from None


def first_line(error: BaseException) -> str:
    """The first line of what an error of a library says; its type's name if that is nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def in_one_line(error: BaseException) -> str:
    """All that an error of a library says, its lines joined; its type's name if that is nothing."""
    return ' '.join(str(error).split()) or type(error).__name__


def is_of_disk(error: BaseException) -> TypeGuard[OSError]:
    """Whether a folder or disk refused a file: no permission, no space, no such place."""
    return isinstance(error, OSError) and error.errno in _REFUSALS


def is_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up, of whatever library."""
    said = isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))
    return isinstance(error, MemoryError) or bool(said)


def is_of_lost_process(error: BaseException) -> bool:
    """Whether an error says that another process of the run is gone, whose own error tells why."""
    return isinstance(error, RuntimeError) and bool(_PEER_GONE.search(str(error)))
