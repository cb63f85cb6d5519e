"""Stop sweeps, trainings and the generator in every way, run them again, and compare with undisturbed runs.

    python benchmarks/interruptions.py --minutes 10

Each run executes a tool on a few tiny images, forked from this process to be fast. It is killed at random or
when a kind of file appears, ended by SIGTERM, run on a full disk (a small tmpfs; needs root), started twice at
the same time, or its data are changed; then the same command is run to its end. The table counts cells, images
and checkpoints that were complete before and are missing (lost) or were made again (doubled), and results that
differ from those of an undisturbed run (changed). Linux only.
"""

import contextlib
import importlib
import itertools
import json
import os
import random
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from fan_mm import stopping
from fan_mm.cli import number, run, tool_parser
from fan_mm.errors import InputError
from fan_mm.evaluation import read_per_image
from fan_mm.fileio import is_temporary

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tests'))
from conftest import TINY_CONFIG  # noqa: E402
from stripe_model import STRIPE_CONFIG, stripe_colours  # noqa: E402
from warm_python import save_time  # noqa: E402

EXAMPLE = 'example: python benchmarks/interruptions.py --minutes 2 --jobs sweep'
CELLS = ['--corruptions', 'gaussian_noise', 'fog', '--severities', '1', '3']
# imported once, for all that are forked
ONCE = (
    *('mmseg.datasets', 'mmseg.evaluation', 'matplotlib.pyplot'),
    *('fan_mm.jobs.robustness', 'fan_mm.jobs.training'),
)
WORDS_OF_A_TRACEBACK = b'Traceback (most recent call last)'


@dataclass
class Job:
    """A command that can be stopped and run again.

    Attributes:
        name: name in the table.
        tool: script in ``tools/``.
        arguments: output folder -> arguments of the command.
        result: output folder -> results, which must be equal in all runs.
        files: patterns of files that are stored one by one.
        again: additional arguments of every later run, such as ``--resume``.
        ranks: number of processes of a run.
        source: data that the command reads, for the test that changes them.
    """

    name: str
    tool: str
    arguments: Callable[[Path], list]
    result: Callable[[Path], object]
    files: str
    again: list = field(default_factory=list)
    ranks: int = 1
    source: Path | None = None


class Run:
    """A started command: a process for each rank, each with a session and a log of its own."""

    def __init__(self, job: Job, out: Path, logs: Path, again: bool = False) -> None:
        self.log = logs / f'{out.name}.{time.monotonic_ns()}.log'
        words = [job.tool, *job.arguments(out), *(job.again if again else [])]
        if job.ranks > 1:
            words += ['--launcher', 'pytorch']
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        self.pids = [self._fork(rank, job.ranks, port, words) for rank in range(job.ranks)]

    def _fork(self, rank: int, ranks: int, port: int, words: list) -> int:
        ready, done = os.pipe()
        if pid := os.fork():
            os.close(done)
            os.read(ready, 1)
            os.close(ready)
            return pid
        os.setsid()  # it can be killed as a group from here on
        os.write(done, b'.')
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        log = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if ranks > 1:
            os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank))
            os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        torch.set_num_threads(1)
        cv2.setNumThreads(0)
        sys.argv = [str(word) for word in words]
        tool = str(ROOT / 'tools' / f'{words[0]}.py')
        sys.modules['__main__'].__file__ = tool
        stopping.guard_start()  # as the import of fan_mm does at the start of a tool
        try:
            runpy.run_path(tool, run_name='__main__')
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        os._exit(status)

    def signal(self, number: int) -> None:
        """Kill all of a run with its workers; any other signal goes to its processes alone."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if number == signal.SIGKILL else os.kill)(pid, number)

    def running(self) -> bool:
        return any(
            os.waitid(os.P_PID, p, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None for p in self.pids
        )

    def wait(self, limit: float = 300.0) -> list[int]:
        """The statuses; -9 for a killed process, and 'still running' is one of -999."""
        end = time.monotonic() + limit
        while self.running():
            if time.monotonic() > end:
                self.signal(signal.SIGKILL)
                return [-999]
            time.sleep(0.005)
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids]


def stored(out: Path, pattern: str) -> dict[str, int]:
    """What is stored under its own name -> when it was written."""
    found = {}
    for file in out.rglob('*') if out.is_dir() else ():
        name = file.relative_to(out).as_posix()
        if re.fullmatch(pattern, name) and not is_temporary(file.name):
            with contextlib.suppress(FileNotFoundError):
                found[name] = file.stat().st_mtime_ns
    return found


def kind_of(name: str) -> str:
    """Files that are written by the same line are of one kind."""
    name = re.sub(r'\.[0-9a-f]{12}(?=\.|$)', '.TEMPORARY', name)
    return re.sub(r'\d+', 'N', name)


class Campaign:
    """Stops all jobs in all ways, in turn, until the time is over."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.counts: dict[tuple[str, str], Counter] = defaultdict(Counter)
        self.expected = {}
        self.seconds = {}
        self.kinds = {}
        self.number = itertools.count()

    def undisturbed(self, job: Job) -> None:
        """What the job gives when it is left alone, how long it takes, and which files it makes."""
        out, seen = self.folder / f'{job.name}-undisturbed', set()
        start = time.monotonic()
        going = Run(job, out, self.folder)
        while going.running():
            seen |= {kind_of(f.relative_to(out).as_posix()) for f in _files(out)}
            time.sleep(0.002)
        if going.wait() != [0] * job.ranks:
            raise InputError(f'{job.name} fails undisturbed: {going.log.read_text()[-800:]}')
        self.seconds[job.name] = time.monotonic() - start
        self.expected[job.name] = job.result(out)
        logs = re.compile(r'.*(N_N|vis_data|log).*')
        self.kinds[job.name] = sorted(kind for kind in seen if not logs.fullmatch(kind))

    def ways(self, job: Job) -> Iterator[Callable[[], None]]:
        """Functions that disturb the job, each in another way."""
        yield lambda: self.stopped(job, 'killed at random', self._later(job))
        yield lambda: self.stopped(job, 'SIGTERM', self._later(job))
        yield lambda: self.twice(job)
        for low, high in ((0.1, 0.5), (0.5, 0.95)):  # the second one has no room for the report
            part = self.random.uniform(low, high)
            yield lambda part=part: self.full_disk(job, part)
        if job.source:
            yield lambda: self.data_changed(job)
        for kind in self.kinds[job.name]:
            yield lambda kind=kind: self.stopped(job, 'killed as a file appears', _appears(kind))

    def _later(self, job: Job) -> Callable[[Path], bool]:
        end = time.monotonic() + self.random.uniform(0.1, 0.95) * self.seconds[job.name]
        return lambda out: time.monotonic() > end

    def new(self, job: Job) -> Path:
        """A folder that is not there yet."""
        return self.folder / f'{job.name}-{next(self.number)}'

    def stopped(self, job: Job, way: str, now: Callable[[Path], bool]) -> None:
        """Stop a run at a moment, by SIGTERM or else SIGKILL, run the same command again, compare."""
        number = signal.SIGTERM if way == 'SIGTERM' else signal.SIGKILL
        out = self.new(job)
        going = Run(job, out, self.folder)
        while going.running() and not now(out):
            time.sleep(0.001)
        stopped = going.running()
        going.signal(number)
        statuses = going.wait()
        count = self.counts[job.name, way]
        if number == signal.SIGTERM and stopped:
            lines = going.log.read_bytes()
            polite = set(statuses) <= {143, 0} and WORDS_OF_A_TRACEBACK not in lines
            if not (polite and (0 in statuses or b'stopped' in lines)):
                print(f'{job.name}, {way}: {statuses}\n{lines[-900:].decode()}', file=sys.stderr)
                count['unexpected'] += 1
        self.go_on(job, out, way)

    def go_on(self, job: Job, out: Path, way: str) -> None:
        """Run a job's command on what is there, and count what is not as it should be."""
        count = self.counts[job.name, way]
        before = stored(out, job.files)
        going = Run(job, out, self.folder, again=True)
        statuses = going.wait()
        count['runs'] += 1
        if statuses != [0] * job.ranks:
            count['unexpected'] += 1
            print(f'{job.name}, {way}: {statuses}\n{going.log.read_text()[-600:]}', file=sys.stderr)
            return
        after = stored(out, job.files)
        kept = {n for n in before if n in after} if job.again else set(before)
        count['lost'] += sum(name not in after for name in kept)
        doubled = [name for name in kept if after.get(name, before[name]) != before[name]]
        if doubled:
            print(f'{job.name}, {way}: made again: {", ".join(doubled)}', file=sys.stderr)
        count['doubled'] += len(doubled)
        count['changed'] += not _same(job.result(out), self.expected[job.name])
        shutil.rmtree(out)

    def twice(self, job: Job) -> None:
        """Start the same command twice: one does the work, the other says why it does not."""
        out = self.new(job)
        both = [Run(job, out, self.folder), Run(job, out, self.folder)]
        ends = [one.wait() for one in both]
        texts = [one.log.read_bytes() for one in both]
        fine = any(set(end) == {0} for end in ends) and not any(
            WORDS_OF_A_TRACEBACK in t for t in texts
        )
        self.counts[job.name, 'two at once']['unexpected'] += not fine
        self.go_on(job, out, 'two at once')

    def full_disk(self, job: Job, part: float) -> None:
        """Run on a disk that has room for a part of what the job writes, then make room."""
        count = self.counts[job.name, 'full disk']
        whole = sum(f.stat().st_size for f in (self.folder / f'{job.name}-undisturbed').rglob('*'))
        disk = self.new(job)
        disk.mkdir()
        size = max(64, int(whole * part / 1024))
        mount = ['mount', '-t', 'tmpfs', '-o', f'size={size}k', 'tmpfs', disk]
        if os.geteuid() == 0:
            subprocess.run(mount, stderr=subprocess.DEVNULL)
        if not os.path.ismount(disk):
            disk.rmdir()
            count['skipped'] += 1
            return
        try:
            going = Run(job, disk / 'out', self.folder)
            statuses, text = going.wait(), going.log.read_bytes()
            words = (b'No space left', b'is full', b'free some space')
            said = any(word in text for word in words)
            polite = 0 in statuses or (said and WORDS_OF_A_TRACEBACK not in text)
            if not polite:
                print(f'{job.name}, full disk: {statuses}\n{text[-900:].decode()}', file=sys.stderr)
            count['unexpected'] += not polite
            subprocess.run(['mount', '-o', 'remount,size=1g', disk], check=True)
            self.go_on(job, disk / 'out', 'full disk')
        finally:
            subprocess.run(['umount', '-l', disk])

    def data_changed(self, job: Job) -> None:
        """After a stop, change a byte's worth of one picture: going on must be refused."""
        out = self.new(job)
        going, now = Run(job, out, self.folder), self._later(job)
        while going.running() and not now(out):
            time.sleep(0.001)
        going.signal(signal.SIGKILL)
        going.wait()
        count = self.counts[job.name, 'data changed between']
        count['runs'] += 1
        before = stored(out, job.files)
        picture = sorted(job.source.rglob('*.png'))[-1]
        content = picture.read_bytes()
        image = cv2.imread(str(picture))
        image[0] ^= 255
        cv2.imwrite(str(picture), image)
        try:
            end = Run(job, out, self.folder, again=True).wait()
        finally:
            picture.write_bytes(content)
        count['changed'] += bool(before) and end != [2] * job.ranks


def _files(out: Path) -> list[Path]:
    found = []
    for folder, _, names in os.walk(out):
        found += [Path(folder, name) for name in names]
    return found


def _appears(kind: str) -> Callable[[Path], bool]:
    def now(out: Path) -> bool:
        return any(kind_of(f.relative_to(out).as_posix()) == kind for f in _files(out))

    return now


def _same(one: object, other: object) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray | torch.Tensor):
        return bool((one == other).all())
    return one == other


def sweep_result(out: Path) -> dict:
    """All but times, environment and paths."""
    results = json.loads((out / 'results.json').read_text())
    for cell in results['cells']:
        del cell['seconds']
    found = {name: results[name] for name in ('cells', 'summary', 'bootstrap')}
    return found | {f'{cell}': values for cell, values in read_per_image(out).cells.items()}


def pictures(out: Path) -> dict[str, bytes]:
    """The bytes of every corrupted picture."""
    return {f.relative_to(out).as_posix(): f.read_bytes() for f in out.rglob('*.png')}


def weights(out: Path) -> dict[str, torch.Tensor]:
    """The last checkpoint's."""
    return torch.load(out / 'iter_8.pth', weights_only=False)['state_dict']


def make_data(folder: Path) -> Path:
    """Upright stripes in the Cityscapes layout, as the tests have them."""
    root, rng = folder / 'data', np.random.default_rng(0)
    colours = rng.integers(0, 256, (19, 3))
    for index in range(8):
        label = np.repeat(rng.integers(0, 19, 8), 16)[None].repeat(64, 0).astype(np.uint8)
        stem = f'{"val" if index < 4 else "train"}/town/town_{index:06d}_000019'
        for suffix, array in (
            ('leftImg8bit', (colours[label] + rng.normal(0, 10, (64, 128, 3))).clip(0, 255)),
            ('gtFine_labelTrainIds', label),
        ):
            path = root / suffix.split('_')[0] / f'{stem}_{suffix}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), array.astype(np.uint8))
    return root


def make_jobs(folder: Path) -> list[Job]:
    """A sweep in one process, with workers and with two ranks; the generator; trainings."""
    data = make_data(folder)
    stripes, tiny, checkpoint = folder / 'stripes.py', folder / 'tiny.py', folder / 'stripes.pth'
    slow = STRIPE_CONFIG.format(root=data).replace(
        "type='StripeModel'", "type='StripeModel', delay=0.05"
    )
    stripes.write_text(slow)
    base = ROOT / 'configs' / 'fan_hybrid_t_cityscapes.py'
    tiny.write_text(TINY_CONFIG.format(base=base, root=data))
    state = {'colours': stripe_colours(), 'weight': torch.zeros(1)}
    torch.save({'state_dict': state, 'meta': {}}, checkpoint)

    def sweep(name: str, ranks: int = 1, *options: str) -> Job:
        words = [stripes, checkpoint, *CELLS, '--save-images', '1', *options]
        return Job(
            name,
            'test_corruption',
            lambda out: [*words, '--work-dir', out],
            sweep_result,
            r'cells/.*\.json',  # a cell's record, which comes last: without it the cell is not done
            ranks=ranks,
            source=data / 'leftImg8bit' / 'val',
        )

    options = [
        'train_cfg.max_iters=8',
        'train_cfg.val_interval=4',
        'default_hooks.checkpoint.interval=2',
    ]

    def training(name: str, ranks: int = 1) -> Job:
        return Job(
            name,
            'train',
            lambda out: [tiny, '--work-dir', out, '--cfg-options', *options],
            weights,
            r'.*\.pth',
            again=['--resume'],
            ranks=ranks,
        )

    return [
        sweep('sweep'),
        sweep('sweep, 2 workers', 1, '--cfg-options', 'test_dataloader.num_workers=2'),
        sweep('sweep, 2 ranks', 2),
        Job(
            'generator',
            'make_corrupted_dataset',
            lambda out: ['cityscapes', data, out, *CELLS, '--jobs', '1'],
            pictures,
            r'.*\.png',
            source=data / 'leftImg8bit' / 'val',
        ),
        training('training'),
        training('training, 2 ranks', 2),
    ]


def main() -> int:
    """Run the campaign; return 1 if anything was not as it should be."""
    parser = tool_parser(__doc__, EXAMPLE)
    parser.add_argument('--minutes', type=number(0, above=True), default=10.0, help='(10)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (0)')
    parser.add_argument(
        '--jobs', nargs='+', metavar='NAME', help='sweep, generator, training (all)'
    )
    args = parser.parse_args()
    for module in ONCE:
        importlib.import_module(module)
    save_time()

    end = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), args.seed)
        jobs = [
            job
            for job in make_jobs(Path(folder))
            if not args.jobs or any(job.name.startswith(name) for name in args.jobs)
        ]
        for job in jobs:
            campaign.undisturbed(job)
        turns = [itertools.cycle(list(campaign.ways(job))) for job in jobs]
        for turn in itertools.cycle(turns):
            if time.monotonic() > end:
                break
            next(turn)()
    show(campaign)
    bad = ('lost', 'doubled', 'changed', 'unexpected')
    return int(any(count[name] for count in campaign.counts.values() for name in bad))


def show(campaign: Campaign) -> None:
    """Print the table."""
    table = Table()
    for column in ('what', 'how', 'runs', 'lost', 'doubled', 'changed', 'unexpected end'):
        table.add_column(column, justify='left' if column in ('what', 'how') else 'right')
    for (job, way), count in sorted(campaign.counts.items()):
        values = [str(count[name]) for name in ('runs', 'lost', 'doubled', 'changed', 'unexpected')]
        if count['skipped']:
            values = ['skipped: no tmpfs can be mounted', *[''] * 4]
        table.add_row(job, way, *values)
    Console(width=120).print(table)


if __name__ == '__main__':
    run(main)
