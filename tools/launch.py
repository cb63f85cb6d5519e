"""torchrun for dist_*.sh: where a process has said what ended the run, torchrun adds no report of its own.

A tool's statuses 2 (the user's mistake), 130 and 143 (stopped) come with a line (`fan_mm.cli`), and become
the launcher's status. After anything else (a bug, a process that was killed) torchrun's report and status stay.
"""

import logging
import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

SAID = {2, 128 + signal.SIGINT, 128 + signal.SIGTERM}
ENDED_BY_TORCHRUN = -signal.SIGTERM  # the others, after the first failure


def main() -> None:
    """Run torchrun with this command line."""
    # that a process failed, which the report below tells with more
    logging.getLogger('torch.distributed.elastic.multiprocessing.api').setLevel(logging.CRITICAL)
    try:
        run.main()
    except SignalException as stop:  # Ctrl-C, or SIGTERM of a cluster: the processes say it
        sys.exit(128 + stop.sigval)
    except ChildFailedError as error:
        statuses = {failure.exitcode for failure in error.failures.values()} - {ENDED_BY_TORCHRUN}
        if not statuses or not statuses <= SAID:
            raise
        sys.exit(max(statuses))


if __name__ == '__main__':
    main()
