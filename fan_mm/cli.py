"""What every command line shares: its end (one line for the user's mistakes, a traceback for ours), sizes."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable

from fan_mm.errors import InputError

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


def size(text: str) -> tuple[int, int]:
    """The ``type`` of an argument: '448x224' or '448' -> (height, width) in pixels."""
    match = re.fullmatch(r'([1-9]\d*)(?:[xX]([1-9]\d*))?', text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r} is not HEIGHTxWIDTH in pixels, such as 256x512')
    return int(match[1]), int(match[2] or match[1])


def run(main: Callable[[], int | None]) -> None:
    """Run a tool's ``main`` and leave the process with its status.

    Args:
        main: parses ``sys.argv`` itself; returns the exit status, None meaning 0.

    Exit status: main's own; 2 after an `InputError`, printed as ``error: ...``, or where a file or
    folder cannot be written; 130 after Ctrl-C (with the KeyboardInterrupt's text, if it has one); 141
    where a pipe's reader (``| head``) has enough.
    """
    try:
        status = main()
        sys.stdout.flush()
        sys.exit(status)
    except InputError as error:
        _say(f'error: {error}')
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        sys.exit(141)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        where = '' if error.filename is None else f'{error.filename}: '
        _say(f'error: {where}{error.strerror}')
        sys.exit(2)
    except KeyboardInterrupt as error:
        _say(': '.join(['stopped', *map(str, error.args)]))
        sys.exit(130)


def _say(line: str) -> None:
    """Print to stderr in one write: the lines of several processes do not run into each other."""
    sys.stderr.write(f'{line}\n')
