"""torchrun for dist_*.sh, without torchrun's own report if a process has printed what ended the run.

A tool's exit statuses 2 (user mistake), 130 and 143 (stopped) come with a message (`fan_mm.cli`) and become the
launcher's status, and so does 1 in all processes (a result is missing). In all other cases (a bug, after which the
other processes lose their connection; a killed process) torchrun's report and status are kept.
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
)  # status of the other processes after the first failure, if Python has already ended


def main() -> None:
    """Run torchrun with this command line."""
    # This logger only repeats that a process failed; the report below has more details.
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
