"""How every command line of the project ends: one line for the user's mistakes, a traceback for ours."""

import sys
from collections.abc import Callable

from fan_mm.errors import InputError


def run(main: Callable[[], int | None]) -> None:
    """Run a tool's ``main`` and leave the process with its status.

    Args:
        main: parses ``sys.argv`` itself; returns the exit status, None meaning 0.

    Exit status: main's own; 2 after an `InputError`, printed as ``error: ...``; 130 after Ctrl-C.
    """
    try:
        sys.exit(main())
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('stopped', file=sys.stderr)
        sys.exit(130)
