"""Shared by all command lines: the parser, the exit (one line for user mistakes), number types."""

import argparse
import io
import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from fan_mm import meeting, stopping
from fan_mm.errors import LOST_PROCESS, InputError, is_of_disk, is_of_lost_process, is_of_memory
from fan_mm.fileio import check_file, check_folder

TRACEBACK = (
    'FAN_MM_TRACEBACK'  # environment variable: if not empty, every error shows its traceback
)

# torch's messages for a dead loader worker: by its pid, or as a list of pids
_WORKER_GONE = re.compile(
    r'DataLoader worker \(pid.*\) (?:is killed by signal: (\w+)|exited unexp)'
)
_FEWER_WORKERS = 'fewer num_workers or smaller batches need less memory'

program: str | None = None  # how the tool was called, if not by its file: 'fan-mm train'
as_called: Callable[[str], str] = str  # rewrites a tool's examples accordingly


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage before it, printed by one process of a launcher."""
        if stopping.first_to_say():
            _say(f'error: {" ".join(message.split())} (see --help)')
        sys.exit(2)


class _ShowTraceback(argparse.Action):
    def __call__(self, *_: object) -> None:
        """Sets the environment variable, so that child processes inherit it."""
        os.environ[TRACEBACK] = '1'


def tool_parser(description: str, example: str) -> argparse.ArgumentParser:
    """A tool's parser; the example stands below its options."""
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
        help=f'show the traceback of an error (also: {TRACEBACK}=1 in the environment)',
    )
    return made


def size(text: str) -> tuple[int, int]:
    """The ``type`` of an argument: '448x224' or '448' -> (height, width) in pixels."""
    match = re.fullmatch(r'([1-9]\d*)(?:[xX]([1-9]\d*))?', text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r} is not HEIGHTxWIDTH in pixels, such as 256x512')
    return int(match[1]), int(match[2] or match[1])


def writable_folder(text: str) -> str:
    """The ``type`` of an argument: a folder to write to, refused at once where it cannot be one."""
    return _writable(text, check_folder)


def writable_file(text: str) -> str:
    """The ``type`` of an argument: a file to write, refused at once where it cannot be one."""
    return _writable(text, check_file)


def _writable(text: str, check: Callable[[str], None]) -> str:
    try:
        check(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The ``type`` of an argument that is a whole number from ``least`` to ``most``."""
    allowed = f'of at least {least}' if most is None else f'from {least} to {most}'

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r'[+-]?\d+', text, re.ASCII) else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f'{text!r} is not a whole number {allowed}')
        return number

    return read


def number(least: float, most: float = math.inf, above: bool = False) -> Callable[[str], float]:
    """The ``type`` of an argument: a finite number from ``least``, excluded if ``above``, to ``most``."""
    if math.isinf(most):
        allowed = f'{"above" if above else "of at least"} {least:g}'
    else:
        allowed = f'{"above" if above else "from"} {least:g} to {most:g}'

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
    """Run a tool's ``main`` and exit with its status.

    Args:
        main: parses ``sys.argv`` itself; returns the exit status, None meaning 0.

    Exit status: that of main; 2 after an `InputError`, printed as ``error: ...``, or if a file or
    folder cannot be written, memory is insufficient, or another process of the run is gone; 130
    after Ctrl-C and 143 after SIGTERM (with the text of the KeyboardInterrupt, if any); 141 if
    the reader of a pipe (``| head``) exits. With torchrun, the first process of a node prints.
    Where an `InputError` follows from an exception of somebody else's code, the run's log file, if there is
    one, has the traceback, and the line says so.
    """
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:  # closed: one of our files would get its descriptor
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    logging.raiseExceptions = False  # report a full disk once, not with every log line
    if hasattr(sys.stdout, 'reconfigure'):  # file names may not be valid UTF-8
        sys.stdout.reconfigure(errors='backslashreplace')
    status: str | int | None = 1
    meeting.imported()
    try:
        with stopping.handled():
            try:
                status = main()
                sys.stdout.flush()
                if status:
                    meeting.end_together()
                stopping.settle()
            except SystemExit as end:
                status = end.code
            except BaseException as error:
                stopping.settle()
                status = _end(error)
    finally:
        if status:
            meeting.say_ended()
    stopping.decided(status if isinstance(status, int) else int(status is not None))
    sys.exit(status)


def _end(error: BaseException) -> int:
    """Print what ended a tool and return the exit status; re-raises bugs of ours."""
    status, line = stopping.status_of(error), None
    if status is not None:
        said = error.args if isinstance(error, KeyboardInterrupt) else ()
        line = ': '.join(['stopped', *map(str, said)])
    elif isinstance(error, InputError):
        status, line = 2, f'error: {error}'
    elif isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        return 141
    elif is_of_disk(error):
        file = error.filename or _open_file(error)
        status, line = 2, f'error: {f"{file}: " if file else ""}{error.strerror}'
    elif is_of_memory(error):
        reason = str(error).split('. ')[0] or 'not enough'
        status, line = 2, f'error: memory: {reason}; smaller batches or images need less'
    elif isinstance(error, RuntimeError) and (gone := _WORKER_GONE.search(str(error))):
        how = f'was killed ({gone[1]})' if gone[1] else 'ended'
        status, line = 2, f'error: a data-loading process {how}: {_FEWER_WORKERS}'
    elif is_of_lost_process(error):
        status, line = 2, f'error: {LOST_PROCESS}'
    else:
        raise error
    if stopping.first_to_say():
        if os.environ.get(TRACEBACK):
            traceback.print_exception(error)
        elif isinstance(error, InputError):
            line += _logged(error)
        _say(' '.join(line.splitlines()))
    return status


def _logged(error: InputError) -> str:
    """Write the traceback of an error that somebody else's code has raised into the log file of the run.

    Returns:
        Where it is, for the end of the line; '' if there is none, or no log file.
    """
    if error.__cause__ is None or isinstance(error.__cause__, InputError | OSError):
        return ''
    try:
        file = _log_file()
        if file is None:
            return ''
        with open(file, 'a', errors='backslashreplace') as log:
            log.writelines(traceback.format_exception(error))
    except OSError:  # the disk may be full, or the working directory gone
        return ''
    return f' (its traceback is in {file})'


def _log_file() -> str | None:
    """The log file of mmengine's Runner, as short as it can be written; None without one."""
    module = sys.modules.get('mmengine.logging')
    handlers = module.MMLogger.get_current_instance().handlers if module else []
    files = [h.baseFilename for h in handlers if isinstance(h, logging.FileHandler)]
    return min(files[-1], os.path.relpath(files[-1]), key=len) if files else None


def _open_file(error: OSError) -> str | None:
    """The file being written when the disk refused, which the error itself does not name."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            name = getattr(value, 'name', None) if isinstance(value, io.IOBase) else None
            if isinstance(name, str):
                return name
    return None


def _say(line: str) -> None:
    """Print to stderr in one write, so that lines of several processes do not mix."""
    sys.stderr.write(f'{line}\n')
