"""Common to all command lines: the parser, the exit (one line for the user's mistakes), number types."""

import argparse
import errno
import io
import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from fan_mm import stopping
from fan_mm.errors import InputError

TRACEBACK = (
    'FAN_MM_TRACEBACK'  # in the environment: not empty, and every error shows where it arose
)

# What a folder or a disk refuses; a file that is not there (ENOENT) may be our mistake.
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
# How numpy, torch on a CPU and torch on a GPU say that there is not enough memory.
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)

# How torch says that a loader's worker is gone: by its number or by those that are
_WORKER_GONE = re.compile(
    r'DataLoader worker \(pid.*\) (?:is killed by signal: (\w+)|exited unexp)'
)
_FEWER_WORKERS = 'fewer num_workers or smaller batches need less memory'

# How gloo and NCCL say that another process of the run is gone.
_PEER_GONE = re.compile(r'connection (closed|reset) by (remote )?peer', re.IGNORECASE)

program: str | None = None  # how the tool was called, where not by its file: 'fan-mm train'
as_called: Callable[[str], str] = str  # what makes a tool's examples read so, too


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage before it; one of the processes of a launcher says it."""
        if stopping.first_to_say():
            _say(f'error: {" ".join(message.split())} (see --help)')
        sys.exit(2)


class _ShowTraceback(argparse.Action):
    def __call__(self, *_: object) -> None:
        """In the environment, for the processes that this one starts."""
        os.environ[TRACEBACK] = '1'


def tool_parser(description: str, example: str) -> argparse.ArgumentParser:
    """A tool's parser.

    Args:
        description: what the tool does.
        example: shown behind the options.
    """
    made = _Parser(
        prog=program,
        description=description,
        epilog=as_called(example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        '--traceback',
        nargs=0,
        action=_ShowTraceback,
        default=argparse.SUPPRESS,
        help=f'after an error, show where it arose (also {TRACEBACK}=1 in the environment)',
    )
    return made


def size(text: str) -> tuple[int, int]:
    """The ``type`` of an argument: '448x224' or '448' -> (height, width) in pixels."""
    match = re.fullmatch(r'([1-9]\d*)(?:[xX]([1-9]\d*))?', text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r} is not HEIGHTxWIDTH in pixels, such as 256x512')
    return int(match[1]), int(match[2] or match[1])


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The ``type`` of an argument that is a whole number from ``least`` to ``most``."""
    allowed = f'from {least} on' if most is None else f'from {least} to {most}'

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r'[+-]?\d+', text, re.ASCII) else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f'{text!r} is not a whole number {allowed}')
        return number

    return read


def number(least: float, most: float = math.inf, above: bool = False) -> Callable[[str], float]:
    """The ``type`` of an argument that is a finite number from ``least`` to ``most``.

    Args:
        least: the smallest.
        most: the largest.
        above: ``least`` itself is too small.
    """
    allowed = f'{"above" if above else "from"} {least:g}' + (
        ' on' if math.isinf(most) and not above else '' if math.isinf(most) else f' to {most:g}'
    )

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and least <= value <= most) or (above and value == least):
            raise argparse.ArgumentTypeError(f'{text!r} is not a number {allowed}')
        return value

    return read


def run(main: Callable[[], int | None]) -> None:
    """Run a tool's ``main`` and leave the process with its status.

    Args:
        main: parses ``sys.argv`` itself; returns the exit status, None meaning 0.

    Exit status: main's own; 2 after an `InputError`, printed as ``error: ...``, or where a file or
    folder cannot be written, memory does not suffice, or another process of the run is gone; 130
    after Ctrl-C and 143 after SIGTERM (with the KeyboardInterrupt's text, if it has one); 141 where
    a pipe's reader (``| head``) has enough. Of the processes that torchrun started on a node, the first one prints.
    """
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:  # closed: a file of ours would get its number
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    logging.raiseExceptions = False  # a full disk is said once, not by every line of the log
    if hasattr(sys.stdout, 'reconfigure'):  # names of files may be no UTF-8
        sys.stdout.reconfigure(errors='backslashreplace')
    with stopping.handled():
        try:
            status: str | int | None = main()
            sys.stdout.flush()
            stopping.settle()
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            stopping.settle()
            status = _end(error)
    stopping.decided(status if isinstance(status, int) else int(status is not None))
    sys.exit(status)


def _end(error: BaseException) -> int:
    """Say what ended a tool; returns the exit status. A bug of ours is raised again."""
    status, line = stopping.status_of(error), None
    if status is not None:
        said = error.args if isinstance(error, KeyboardInterrupt) else ()
        line = ': '.join(['stopped', *map(str, said)])
    elif isinstance(error, InputError):
        status, line = 2, f'error: {error}'
    elif isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        return 141
    elif isinstance(error, OSError) and error.errno in _REFUSALS:
        file = error.filename or _open_file(error)
        status, line = 2, f'error: {f"{file}: " if file else ""}{error.strerror}'
    elif isinstance(error, MemoryError | RuntimeError) and (
        isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))
    ):
        reason = str(error).split('. ')[0] or 'it does not suffice'
        status, line = 2, f'error: memory: {reason}; smaller batches or pictures need less'
    elif isinstance(error, RuntimeError) and (gone := _WORKER_GONE.search(str(error))):
        how = f'was killed ({gone[1]})' if gone[1] else 'ended'
        status, line = 2, f'error: a process that loads data {how}: {_FEWER_WORKERS}'
    elif isinstance(error, RuntimeError) and _PEER_GONE.search(str(error)):
        status, line = 2, 'error: another process of this run ended, and said why'
    else:
        raise error
    if stopping.first_to_say():
        if os.environ.get(TRACEBACK):
            traceback.print_exception(error)
        _say(' '.join(line.splitlines()))
    return status


def _open_file(error: OSError) -> str | None:
    """The file that was being written when a disk refused, of which the error itself says nothing."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            name = getattr(value, 'name', None) if isinstance(value, io.IOBase) else None
            if isinstance(name, str):
                return name
    return None


def _say(line: str) -> None:
    """Print to stderr in one write: the lines of several processes do not run into each other."""
    sys.stderr.write(f'{line}\n')
