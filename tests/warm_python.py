"""A Python whose imports are done: what tests start by it is a process of its own, and begins at once.

Half of the time of a tool on a few tiny pictures is imports. `python` gives an executable that takes a
script, ``-m`` or ``-c`` as Python does. It has a server fork, which has imported what the tools need; the
fork has the arguments, folder, environment and standard streams of whoever started the executable, which
passes signals on and ends as the fork does. Whatever concerns the start of a process or its sudden death
is no matter for it. All workers of a test run share one server, whose imports take as long as hundreds of
tests. Where there are no pidfds (not Linux), the executable is Python itself.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import random
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from pathlib import Path
from zlib import crc32

ROOT = Path(__file__).resolve().parents[1]
CLIENT = """#!{python} -SE
import array, json, os, signal, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0, 1, 2]))
server.sendmsg([len(request).to_bytes(8, 'big')], [streams])
server.sendall(request)
answers = server.makefile()
pid = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(pid, number))
status = int(answers.readline())
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@functools.cache
def python() -> str:
    """The executable; its server lives as long as the test run."""
    if not hasattr(os, 'pidfd_open'):
        return sys.executable
    import fcntl

    run = os.getppid() if 'PYTEST_XDIST_WORKER' in os.environ else os.getpid()
    began = Path(f'/proc/{run}/stat').read_text().rpartition(')')[2].split()[19]
    # that of another checkout, whose tests a test may start, is another's
    folder = Path(tempfile.gettempdir(), f'warm_python_{crc32(bytes(ROOT)):x}_{run}_{began}')
    folder.mkdir(mode=0o700, exist_ok=True)
    client = folder / 'python'
    with (folder / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker starts it, others wait
        if not client.exists():
            _start(client, run)
    return str(client)


def _start(client: Path, run: int) -> None:
    """Start the server of a test run, given by its process, and write the executable."""
    address = str(client.with_name('socket'))
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    server = subprocess.Popen(
        [sys.executable, __file__, address, str(run)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=path),
        start_new_session=True,
    )
    with server.stdout:
        if b'ready\n' not in iter(server.stdout.readline, b''):  # after what libraries print
            raise RuntimeError('the server did not start')
    client.write_text(CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)


def save_time() -> None:
    """Configs are written as mmengine puts them together, and garbage is seldom collected.

    mmengine has yapf format the config for each checkpoint and log, and each dataset that is built has
    all that was ever imported searched for garbage: a quarter of a training of two steps. And a figure's
    fonts lose the tables that only typesetters read: picking letters out of them is an eighth of a report.
    """
    import fontTools.subset
    import mmengine.dataset.base_dataset as base_dataset
    import yapf.yapflib.yapf_api as formatter

    options = fontTools.subset.Options
    options._drop_tables_default = [*options._drop_tables_default, 'GSUB', 'GPOS', 'GDEF']
    formatter.FormatCode = lambda text, **_: (text, False)
    base_dataset.gc = types.SimpleNamespace(collect=lambda: 0)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


def _serve(address: str, run: int) -> None:
    """Fork for whoever asks, until a process ends."""
    ended = os.pidfd_open(run)
    gc.disable()  # until `save_time`
    for module in ('mmseg', 'mmpretrain', 'mmdet'):
        with contextlib.suppress(ImportError):  # not installed, or without its compiled operators
            __import__(f'{module}.utils').utils.register_all_modules(init_default_scope=False)
    import fan_mm.jobs.demo
    import fan_mm.jobs.ood
    import fan_mm.jobs.robustness
    import fan_mm.jobs.shifts.evaluation
    import fan_mm.jobs.training  # noqa: F401

    save_time()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    with selectors.DefaultSelector() as selector:
        selector.register(ended, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        print('ready', flush=True)
        while True:
            for key, _ in selector.select():
                if key.fd == ended:
                    shutil.rmtree(os.path.dirname(address), ignore_errors=True)
                    return
                if key.fileobj is listener:
                    _answer(listener, selector)
                else:
                    key.data()


def _answer(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    """Fork, and say the fork's number, later its status. Who asked may be killed meanwhile."""
    asked, _ = listener.accept()
    length, streams, *_ = socket.recv_fds(asked, 8, 3)
    request = b''
    while len(request) < int.from_bytes(length, 'big'):
        request += asked.recv(2**16)
    pid = os.fork()
    if pid == 0:
        selector.close()
        listener.close()
        asked.close()
        _become(*json.loads(request), streams)
    for stream in streams:
        os.close(stream)
    asked.sendall(b'%d\n' % pid)
    alive = os.pidfd_open(pid)

    def ended() -> None:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for file in (alive, asked):
            with contextlib.suppress(KeyError):
                selector.unregister(file)
        with contextlib.suppress(OSError):
            asked.sendall(b'%d\n' % status)
        asked.close()
        os.close(alive)

    def gone() -> None:
        selector.unregister(asked)
        os.kill(pid, signal.SIGKILL)

    selector.register(alive, selectors.EVENT_READ, ended)
    selector.register(asked, selectors.EVENT_READ, gone)


def _become(words: list[str], folder: str, environment: dict[str, str], streams: list) -> None:
    """Be the process that was asked for."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    status = 1
    try:
        _run(words, folder, environment)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)


def _run(words: list[str], folder: str, environment: dict[str, str]) -> None:
    import numpy as np
    import torch

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if 'OMP_NUM_THREADS' in environment:
        torch.set_num_threads(int(environment['OMP_NUM_THREADS']))
    random.seed()
    np.random.seed()
    sys.path[:0] = [part for part in environment.get('PYTHONPATH', '').split(os.pathsep) if part]
    while words[0] == '-u':
        del words[0]
        sys.stdout.reconfigure(write_through=True)
    if words[0] == '-m':
        sys.argv = words[1:]
        sys.path.insert(0, folder)
        runpy.run_module(words[1], run_name='__main__', alter_sys=True)
    elif words[0] == '-c':
        sys.argv = ['-c', *words[2:]]
        exec(compile(words[1], '<string>', 'exec'), {'__name__': '__main__'})
    else:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
        runpy.run_path(words[0], run_name='__main__')


if __name__ == '__main__':
    _serve(sys.argv[1], int(sys.argv[2]))
