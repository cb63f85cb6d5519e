"""torchrun for dist_*.sh, without torchrun's own report if a process has printed what ended the run.

A tool's exit statuses 2 (user mistake), 130 and 143 (stopped) come with a message (`fan_mm.cli`), and become
the launcher's status; so does 1 of all processes (a result is missing). After anything else (a bug, after which the
others miss one process; a killed process) torchrun's report and status are kept.
"""

import logging
import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

SAID = {2, 128 + signal.SIGINT, 128 + signal.SIGTERM}
MISSING = 1
ENDED_BY_TORCHRUN = (
    -signal.SIGTERM
)  # the others, after the first failure, if Python has ended already


def main() -> None:
    """Run torchrun with this command line."""
    # logs that a process failed; the report below has more details
    logging.getLogger('torch.distributed.elastic.multiprocessing.api').setLevel(logging.CRITICAL)
    try:
        run.main()
    except SignalException as stop:  # Ctrl-C, or SIGTERM from a cluster: the processes report it
        sys.exit(128 + stop.sigval)
    except ChildFailedError as error:
        failures = sorted(error.failures.values(), key=lambda failure: failure.timestamp)
        statuses = [f.exitcode for f in failures if f.exitcode != ENDED_BY_TORCHRUN]
        if not statuses or not (SAID.issuperset(statuses) or set(statuses) == {MISSING}):
            raise
        sys.exit(statuses[0])  # torchrun's SIGTERM gives the others 143


if __name__ == '__main__':
    main()
