"""Runs every section in a process of its own, each with its time limit, the most important first.

    bash benchmarks/gpu/run.sh OUT
    bash benchmarks/gpu/run.sh OUT gradients=150 runs     # only these, in turn, with a limit in seconds

Rows are appended to OUT/acceptance.jsonl as soon as they are known; OUT/acceptance.md shows them all, and
OUT/acceptance.log contains the output. The exit status is 0 if all claims hold.
"""

import argparse
import contextlib
import importlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fan_mm.fileio import write_whole
from gpu import PYTHON
from gpu.results import Results, markdown, read

SECTIONS = (  # groups that run in parallel, with limits in seconds; timed sections run alone
    dict(exactness=95, gradients=95, host_waits=95),
    dict(compilation=85, whole_models=85),
    dict(speed=110),
    dict(choices=50),
    dict(pooling=20),
    dict(kernels=20),
    dict(runs=80),
)
ON_REQUEST = dict(tiles=120, camvid=540)  # for tuning kernels; slow, and needs data
PATIENCE = 2.0  # seconds between SIGTERM and SIGKILL


def command(out: Path, section: str) -> list[str]:
    """How a section is started."""
    return [PYTHON, '-m', 'gpu.acceptance', str(out), '--section', section]


class Run:
    """One section's process.

    Args:
        out: folder of the results.
        section: name of its module.
        limit: seconds until it is stopped.
    """

    def __init__(self, out: Path, section: str, limit: float) -> None:
        self.results = Results(out / 'acceptance.jsonl', section)
        self.begin, self.limit = time.monotonic(), limit
        with (out / 'acceptance.log').open('a') as log:
            # a process group of its own, including its child processes
            self.process = subprocess.Popen(
                command(out, section),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def goes_on(self) -> bool:
        """Whether the process is still running; stops it at its limit, and records how it ended."""
        status = self.process.poll()
        if status is None and time.monotonic() < self.begin + self.limit:
            return True
        row = dict(
            section=self.results.section, case=f'the section, {time.monotonic() - self.begin:.0f} s'
        )
        if status is None:
            self.stop()
            self.results.add(row | dict(holds=False, error='stopped at its time limit'))
        elif status:
            self.results.add(
                row | dict(holds=False, error=f'exit status {status}, see acceptance.log')
            )
        else:
            self.results.add(row | dict(holds=True))
        return False

    def stop(self) -> None:
        """Stop the process and its children."""
        for ending in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, ending)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)


def machine() -> str:
    """The GPU and the versions, in one line."""
    cuda = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if cuda else f'CPU ({platform.machine()}), small form'
    cudnn = f', CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}' if cuda else ''
    return f'{where}: torch {torch.__version__}{cudnn}, numpy {np.__version__}, Python {platform.python_version()}'


def accept(out: Path, groups: Sequence[dict[str, float]] = SECTIONS) -> bool:
    """Run sections group by group and append their rows; returns whether all claims hold."""
    out.mkdir(parents=True, exist_ok=True)
    path, title = out / 'acceptance.jsonl', machine()
    if not torch.cuda.is_available():  # only a trial, without real measurements
        groups = ({name: 600 for group in groups for name in group},)
    for group in groups:
        runs = [Run(out, section, limit) for section, limit in group.items()]
        try:
            while runs:
                runs = [run for run in runs if run.goes_on()]
                write_whole(out / 'acceptance.md', markdown(title, read(path)))
                time.sleep(0.5)
        finally:
            for run in runs:
                run.stop()
    rows = read(path)
    print(markdown(title, rows))
    return all(row.get('holds', True) for row in rows)


def chosen(text: str) -> dict[str, float]:
    """A group of one section, from NAME or NAME=SECONDS.

    Raises:
        ArgumentTypeError: no such section, or not a number of seconds.
    """
    limits = {name: limit for group in (*SECTIONS, ON_REQUEST) for name, limit in group.items()}
    name, with_limit, seconds = text.partition('=')
    if name not in limits:
        raise argparse.ArgumentTypeError(f'{name!r} is none of {", ".join(limits)}')
    if with_limit and not seconds.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r}: whole seconds are needed behind the =')
    return {name: float(seconds or limits[name])}


def main() -> int:
    """Run all sections, the named ones, or with --section one in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path, help='folder of the results')
    parser.add_argument(
        'sections',
        nargs='*',
        type=chosen,
        metavar='SECTION[=SECONDS]',
        help='only these, in this order, one at a time; their rows are appended',
    )
    parser.add_argument('--section', help=argparse.SUPPRESS)  # in this process, see `command`
    args = parser.parse_args()
    if args.section is None:
        # Sections run in sessions of their own and must end with this process.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        if not args.sections:
            for name in ('acceptance.jsonl', 'acceptance.log'):
                (args.out / name).unlink(missing_ok=True)
        return int(not accept(args.out, args.sections or SECTIONS))
    args.out.mkdir(parents=True, exist_ok=True)
    results = Results(args.out / 'acceptance.jsonl', args.section)
    module = importlib.import_module(f'gpu.{args.section}')
    module.measure(results, small=not torch.cuda.is_available())
    write_whole(args.out / 'acceptance.md', markdown(machine(), read(results.path)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
