"""Tools that are stopped: what they say, their status, and what goes on without them."""

import contextlib
import ctypes
import gc
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import warm_python
from torch.utils.data import DataLoader

from fan_mm import cli, stopping
from fan_mm.errors import InputError

ROOT = Path(__file__).parents[1]
SLEEPER = """
import os, sys, time
sys.path.insert(0, {root!r})
from fan_mm.cli import run
from fan_mm.stopping import telling

def begun():
    with open('mark', 'w') as mark:
        mark.write(str(os.getpid()))
    os.rename('mark', 'begun')

def main():
    with telling(lambda: '3 of 5 are stored'):
        if {workers}:
            from torch.utils.data import DataLoader
            for _ in DataLoader(range(10**6), num_workers=2):
                begun()
                time.sleep(0.1)
        begun()
        time.sleep(3600)

if os.getpid() != os.getpgrp():
    os.setsid()  # a group of its own, with its workers
run(main)
"""


def started(folder, command, mark, **variables):
    """A process of its own group, once a file is there."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', **variables)
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not mark():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(
    ('workers', 'number', 'status', 'warm'),
    [
        (False, signal.SIGTERM, 143, True),
        (False, signal.SIGINT, 130, True),
        (True, signal.SIGTERM, 143, False),  # ends as Python does by itself
        (True, signal.SIGINT, 130, True),
    ],
)
def test_one_line_and_a_status_of_its_own(tmp_path, workers, number, status, warm):
    """Loader workers get the signal, too, as from a terminal or a batch system."""
    (tmp_path / 'tool.py').write_text(SLEEPER.format(root=str(ROOT), workers=workers))
    begun = tmp_path / 'begun'
    python = warm_python.python() if warm else sys.executable
    process = started(tmp_path, [python, 'tool.py'], begun.exists)
    os.killpg(int(begun.read_text()), number)
    out, err = process.communicate(timeout=900)
    assert (process.returncode, err) == (status, 'stopped: 3 of 5 are stored\n'), out


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_while_the_imports_run(tmp_path, number, status):
    """Python has begun to import torch by then."""
    process = subprocess.Popen(
        [sys.executable, '-X', 'importtime', ROOT / 'tools' / 'train.py', '--help'],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        text=True,
    )
    for line in process.stderr:
        if 'fan_mm.versions' in line:
            break
    time.sleep(0.3)
    process.send_signal(number)
    said = [line for line in process.stderr if not line.startswith('import time:')]
    assert (process.wait(), said) == (status, ['stopped\n'])


def test_handlers_are_put_back_and_forks_have_none():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stopping.handled():
        if not (child := os.fork()):
            os._exit(signal.getsignal(signal.SIGTERM) != signal.SIG_DFL)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def test_a_failing_worker_is_a_stop_if_there_was_one(capsys):
    """torch may notice the death of a worker before Python heeds the signal, or raise on top of it."""

    def main():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        except KeyboardInterrupt:
            raise RuntimeError(
                'DataLoader worker (pid 1) is killed by signal: Terminated.'
            ) from None

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    assert stop.value.code == 143 and capsys.readouterr().err == 'stopped\n'


class Object:
    """What weak references can point to."""

    def __init__(self, at_end=lambda: None):
        self.at_end = at_end

    def __del__(self):
        self.at_end()


def in_del(stop):
    Object(stop)


def in_a_weak_reference(stop):
    one = Object()
    reference = weakref.ref(one, lambda _: stop())
    del one
    assert reference() is None


def in_a_garbage_collection(stop):
    gc.callbacks.append(lambda *_: stop())
    try:
        gc.collect(0)
    finally:
        gc.callbacks.pop()


def in_a_callback_from_c(stop):
    ctypes.CFUNCTYPE(None)(stop)()


def where_all_is_suppressed(stop):
    """As mmengine's MessageHub does while it copies itself for a checkpoint."""
    with contextlib.suppress(BaseException):
        stop()


@pytest.mark.skipif(os.name == 'nt', reason='signals')
@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize(
    'place',
    [
        in_del,
        in_a_weak_reference,
        in_a_garbage_collection,
        in_a_callback_from_c,
        where_all_is_suppressed,
    ],
)
def test_a_stop_that_is_swallowed_comes_again(place, number, status, capsys):
    """A loader's iterator waits for its workers in `__del__`, where Python prints what is raised."""

    def main():
        with stopping.telling(lambda: '3 of 5 are stored'):
            place(lambda: os.kill(os.getpid(), number))
            while True:
                time.sleep(0.001)

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    assert (stop.value.code, capsys.readouterr().err) == (status, 'stopped: 3 of 5 are stored\n')


def ends(child):
    """The status of a fork that ends by a function, and what it prints."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.dup2(writer, 2)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stopping._leave)  # as in a tool
        sys.stdout = sys.stderr = open(2, 'w', buffering=1, closefd=False)  # noqa: SIM115
        try:
            child()
        finally:
            os._exit(99)
    os.close(writer)
    with open(reader) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def wrong():
    raise InputError('one line')


@pytest.mark.skipif(os.name == 'nt', reason='signals')
@pytest.mark.parametrize(
    'main, expected',
    [
        (lambda: None, (0, '')),
        (lambda: 1, (1, '')),
        (lambda: sys.exit(), (0, '')),
        (lambda: sys.exit('a reason'), (1, '')),
        (wrong, (2, 'error: one line\n')),
        (lambda: os.kill(os.getpid(), signal.SIGINT), (130, 'stopped\n')),
    ],
)
def test_no_signal_changes_the_status_once_it_is_known(main, expected):
    """While the interpreter clears up, which takes a while after torch and matplotlib."""

    def child():
        try:
            cli.run(main)
        except SystemExit:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    assert ends(child) == expected


def test_how_to_go_on_without_another_process():
    """As after the loss of a node; any other error says itself what it is."""
    line = 'another process .*, or it was killed; 3 of 5 are stored$'
    with pytest.raises(InputError, match=line), stopping.telling(lambda: '3 of 5 are stored'):
        raise RuntimeError('[gloo/transport/tcp/pair.cc:547] Connection closed by peer')
    with pytest.raises(RuntimeError, match=r'^other$'), stopping.telling(lambda: 'not asked'):
        raise RuntimeError('other')


def test_a_second_stop_does_not_disturb_what_the_first_one_says(capsys, monkeypatch):
    say = cli._say

    def twice(line):
        os.kill(os.getpid(), signal.SIGINT)
        say(line)

    monkeypatch.setattr(cli, '_say', twice)
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert (stop.value.code, capsys.readouterr().err) == (143, 'stopped\n')


def test_a_killed_worker_of_a_loader(capsys):
    class Data:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(SystemExit) as end:
        cli.run(lambda: list(DataLoader(Data(), num_workers=1)))
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(
        'error: a data-loading process '
    )  # by signal or 'exited'


def torchrun(*words, python=sys.executable):
    port = 20000 + os.getpid() % 20000
    launcher = [python, ROOT / 'tools/launch.py', '--nproc_per_node=2']
    return [*launcher, f'--master_port={port}', *words]


@pytest.mark.slow
def test_the_error_of_several_processes_is_said_once(tmp_path):
    python = warm_python.python()
    command = torchrun(ROOT / 'tools/train.py', 'no.py', '--launcher', 'pytorch', python=python)
    done = subprocess.run(
        [str(word) for word in command],
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', PYTHON_EXEC=python),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert re.fullmatch(r'error: no such config: no.py; .*\n', done.stderr)
    assert done.returncode == 2


def alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='prctl')
def test_ranks_end_with_a_killed_launcher(tmp_path):
    pytest.importorskip('mmseg')
    folder = tmp_path / 'tools'
    folder.mkdir()
    script = (
        'import os, time, sys\n'
        'from fan_mm import stopping\n'
        'from pathlib import Path\n'
        'stopping._TOOLS = (Path(__file__).resolve().parent,)\n'
        'stopping.guard_start()\n'
        "open(os.environ['RANK'] + '.pid', 'w').write(str(os.getpid()))\n"
        'time.sleep(3600)\n'
    )
    (folder / 'tool.py').write_text(script)

    def both():
        return all(
            (tmp_path / f'{r}.pid').exists() and (tmp_path / f'{r}.pid').read_text() for r in '01'
        )

    process = started(tmp_path, torchrun(folder / 'tool.py'), both)
    pids = [int((tmp_path / f'{rank}.pid').read_text()) for rank in '01']
    assert all(map(alive, pids))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 300
    while any(map(alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_training_says_how_to_resume_and_is_alone(tiny_config, tmp_path):
    pytest.importorskip('mmseg')
    work = tmp_path / 'work'
    options = ['--cfg-options', 'default_hooks.checkpoint.interval=1', 'train_cfg.max_iters=100000']
    command = [
        warm_python.python(),
        ROOT / 'tools' / 'train.py',
        tiny_config,
        '--work-dir',
        work,
        *options,
    ]
    process = started(tmp_path, command, (work / 'last_checkpoint').exists)
    second = subprocess.run(
        [str(word) for word in command],
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
    )
    assert second.returncode == 2
    assert second.stderr.splitlines()[-1] == f'error: another run is writing to {work}'
    process.terminate()
    _, err = process.communicate(timeout=900)
    assert process.returncode == 143
    last = err.splitlines()[-1]
    assert re.fullmatch(
        r'stopped: the last checkpoint is .*iter_\d+\.pth; .* --resume continues from it', last
    )
