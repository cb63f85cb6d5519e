"""Processes that wait for one that will not come: of torchrun on several nodes."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

from fan_mm import cli, meeting
from fan_mm.errors import InputError

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def store(monkeypatch):
    """That of torchrun's first node; two processes, one on each node."""
    made = TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
    for name, value in dict(
        GROUP_WORLD_SIZE=2,
        WORLD_SIZE=2,
        TORCHELASTIC_USE_AGENT_STORE=True,
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=made.port,
    ).items():
        monkeypatch.setenv(name, str(value))
    return made


def test_all_come():
    other = threading.Thread(target=meeting.wait_for_all)
    other.start()
    meeting.wait_for_all()
    other.join()


@pytest.mark.parametrize(
    'error', [InputError('no such checkpoint'), KeyError('a bug'), SystemExit(2)]
)
def test_one_ends_instead(error, capsys):
    def main():
        raise error

    with pytest.raises((SystemExit, KeyError)):
        cli.run(main)
    with pytest.raises(InputError, match='another process of this run ended'):
        meeting.wait_for_all()


def test_a_library_is_missing_on_one_node(store):
    """The tool ends while it imports what it needs, before it can say anything itself."""
    lines = [
        'import sys, importlib.metadata as metadata',
        f'sys.modules["__main__"].__file__ = {str(ROOT / "tools" / "train.py")!r}',
        'installed, none = metadata.version, metadata.PackageNotFoundError',
        'def version(name):',
        '    if "mmcv" in name: raise none(name)',
        '    return installed(name)',
        'metadata.version = version',
        'from fan_mm.cli import run',
    ]
    done = subprocess.run(
        [sys.executable, '-c', '\n'.join(lines)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert done.stderr.startswith('error: fan_mm needs mmcv: pip install')
    assert done.stderr.count('\n') == 1
    assert store.check(['fan_mm/ended/0'])


def test_what_runs_says_itself_how_it_ends(monkeypatch):
    no_more = []
    monkeypatch.setattr(meeting.atexit, 'unregister', no_more.append)
    with pytest.raises(SystemExit):
        cli.run(lambda: 0)
    assert no_more == [meeting.say_ended]


def test_one_that_is_done_does_not_alarm(store):
    with pytest.raises(SystemExit):
        cli.run(lambda: 0)
    assert not store.check(['fan_mm/ended/0'])
    meeting.say_ended()
    assert store.check(['fan_mm/ended/0'])


@pytest.mark.parametrize('name', ['GROUP_WORLD_SIZE', 'TORCHELASTIC_USE_AGENT_STORE'])
def test_without_other_nodes_or_another_launcher_nobody_waits(name, monkeypatch):
    monkeypatch.delenv(name)
    meeting.wait_for_all()
    meeting.say_ended()


def test_one_that_is_killed_is_left_to_the_timeout_of_the_group(monkeypatch):
    monkeypatch.setattr(meeting, '_LONGEST', 0.0)
    meeting.wait_for_all()


@pytest.mark.parametrize('question', ['add', 'check'])
def test_a_store_that_goes_meanwhile(question, monkeypatch):
    def reset(*args):
        raise RuntimeError('failed to recv, got 0 bytes')

    for name in (question, 'set'):
        monkeypatch.setattr(TCPStore, name, reset)
    meeting.say_ended()
    with pytest.raises(InputError, match='another process of this run ended'):
        meeting.wait_for_all()


def test_pytorch_without_process_groups(monkeypatch):
    monkeypatch.setattr(torch.distributed, 'is_available', lambda: False)
    monkeypatch.delattr(torch.distributed, 'is_initialized')
    with pytest.raises(SystemExit):
        cli.run(lambda: 1)


def test_a_store_that_is_gone(store, monkeypatch):
    monkeypatch.setattr(meeting, '_PATIENCE', meeting.datetime.timedelta(seconds=1))
    monkeypatch.setenv('MASTER_PORT', '1')
    meeting.say_ended()


@pytest.mark.parametrize('status', [0, 1])
def test_nobody_fails_while_another_one_writes_the_results(status, monkeypatch):
    """torchrun would end the other one."""
    waited = []
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.distributed, 'barrier', lambda: waited.append(True))
    with pytest.raises(SystemExit):
        cli.run(lambda: status)
    assert len(waited) == status
