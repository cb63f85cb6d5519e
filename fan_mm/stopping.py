"""How a tool is stopped from outside: Ctrl-C, SIGTERM of a cluster that wants its nodes, a killed launcher.

SIGTERM becomes the exception of Ctrl-C, so that whoever tells how to go on after the one does so after
the other (`telling`); `fan_mm.cli.run` says it and gives the process its status. The exception is raised
wherever the program is, which may be where it does not get through: Python itself ignores what a
``__del__`` or a callback raises (a loader waits for its workers in one), and some libraries whatever
happens. A stop that got lost is raised again (`_Stop`).
"""

import _thread
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from fan_mm import packaged
from fan_mm.errors import LOST_PROCESS, InputError, is_of_lost_process

_TOOLS = packaged.folders('tools')
_CONSOLE = 'fan-mm'  # `fan_mm.console`
_PR_SET_PDEATHSIG = 1  # prctl(2)

_STOPS = (signal.SIGINT, signal.SIGTERM)
_CHILD_DIED = getattr(signal, 'SIGCHLD', None)  # Windows has none

_received: list[int] = []  # signals that ask this process to end


@contextlib.contextmanager
def telling(how_to_go_on: Callable[[], str]) -> Iterator[None]:
    """Print at the end of an interrupted block what is stored and how to continue.

    Args:
        how_to_go_on: called after the stop; gives one line.

    Raises:
        KeyboardInterrupt: with that line.
        InputError: with that line, if another process of the run is gone.
    """
    try:
        yield
    except BaseException as error:
        # loader workers get the same SIGTERM: their death may be what the loop meets first
        if isinstance(error, KeyboardInterrupt) or _received:
            raise KeyboardInterrupt(how_to_go_on()) from None
        if is_of_lost_process(error):
            raise InputError(f'{LOST_PROCESS}; {how_to_go_on()}') from None
        raise


def status_of(error: BaseException) -> int | None:
    """The exit status if an exception is, or follows from, a stop; None if it is anything else."""
    if _received:
        return 128 + _received[-1]
    return 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else None


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Make SIGTERM and Ctrl-C raise KeyboardInterrupt in this block, in this process alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _received
    _received = []
    before = {_CHILD_DIED: signal.getsignal(_CHILD_DIED)} if _CHILD_DIED else {}
    for number in _STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and background jobs have it
            before[number] = signal.signal(number, _stop)
    say_unraisable = sys.unraisablehook
    sys.unraisablehook = lambda what: None if _received else say_unraisable(what)
    try:
        yield
    finally:
        settle()
        _received = []
        sys.unraisablehook = say_unraisable
        for number, handler in before.items():
            signal.signal(number, handler)


def settle() -> None:
    """Heed no signal from here to the end of `handled`: how the run ended is known, and being said."""
    for number in _STOPS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, _ignore)


def decided(status: int) -> None:
    """Let a stop while the interpreter of a tool shuts down change nothing of the status."""
    for number in _STOPS:
        if signal.getsignal(number) is _leave:
            signal.signal(number, lambda *_: os._exit(status))


class _Stop(KeyboardInterrupt):
    """A pending stop; if it disappears before `settle`, an exception handler has swallowed it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.received = _received  # of this `handled` and no later one

    def __del__(self) -> None:
        if signal.getsignal(self.number) is _stop:
            _thread.start_new_thread(_stop_again, (self.number, self.received))


def _stop_again(number: int, received: list[int]) -> None:
    time.sleep(0.01)  # to be out of what swallowed it
    if received is _received and signal.getsignal(number) is _stop:
        _thread.interrupt_main(signal.Signals(number))


def _stop(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    # loader workers got the same: torch would complain of their death while everything is cleared up
    if _CHILD_DIED:
        signal.signal(_CHILD_DIED, signal.SIG_DFL)
    raise _Stop(number)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, of which Python complains if the signal has just come."""


def _die_as_usual() -> None:
    """Loader workers and pools are ended by SIGTERM, and have nothing to say; Ctrl-C is their parent's."""
    for number, handler in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.SIG_IGN)):
        if signal.getsignal(number) in (_stop, _ignore, _leave):
            signal.signal(number, handler)


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_die_as_usual)


def guard_start() -> bool:
    """While a tool's imports run, which take seconds, let a stop end it with one line.

    And let a process that torchrun started end with it, even where that is killed: it would go on
    writing beside the run that takes its place. Does nothing in any other program.

    Returns:
        Whether this program is one of the tools.
    """
    main = getattr(sys.modules.get('__main__'), '__file__', None)
    if main is None:
        return False
    if Path(main).resolve().parent not in _TOOLS and Path(main).stem != _CONSOLE:
        return False
    if multiprocessing.parent_process() is not None:
        return False
    _end_with_parent()
    for number in _STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)
    return True


def _leave(number: int, frame: FrameType | None) -> None:
    """Nothing is begun yet, and an exception in the middle of an import may be taken for another one."""
    if first_to_say():
        os.write(2, b'stopped\n')
    os._exit(128 + number)


def _end_with_parent() -> None:
    if 'TORCHELASTIC_RUN_ID' not in os.environ or sys.platform != 'linux':
        return
    parent = os.getppid()
    # SIGKILL: a process that waits for another one in torch.distributed heeds nothing else
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died in between
        os._exit(128 + signal.SIGKILL)


def first_to_say() -> bool:
    """Whether no other process that torchrun started on this node has said how the run ended."""
    report = os.environ.get('TORCHELASTIC_ERROR_FILE')  # RUN/attempt_N/RANK/error.json
    if not report:
        return True
    try:
        Path(report).parents[1].joinpath('said').touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        pass
    return True
