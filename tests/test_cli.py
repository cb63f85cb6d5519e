import argparse
import errno
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fan_mm.cli import number, run, size
from fan_mm.errors import InputError
from fan_mm.fileio import write_whole


def exit_status(main) -> int:
    with pytest.raises(SystemExit) as stop:
        run(main)
    return stop.value.code or 0


def test_status_is_mains_own():
    assert exit_status(lambda: None) == 0
    assert exit_status(lambda: 3) == 3


def test_bad_input_is_one_line_and_status_2(capsys):
    def main():
        raise InputError('no such folder')

    assert exit_status(main) == 2
    assert capsys.readouterr().err == 'error: no such folder\n'


@pytest.mark.parametrize(
    ('cause', 'logged'),
    [
        (ValueError('theirs'), True),
        (None, False),
        (OSError('gone'), False),
        (InputError('x'), False),
    ],
)
@pytest.mark.parametrize('has_log', [True, False])
def test_the_traceback_of_somebody_elses_error_is_in_the_log(
    tmp_path, capsys, monkeypatch, cause, logged, has_log
):
    log = tmp_path / 'run.log'
    logger = SimpleNamespace(handlers=[logging.FileHandler(log)] * has_log)
    there = SimpleNamespace(MMLogger=SimpleNamespace(get_current_instance=lambda: logger))
    monkeypatch.setitem(sys.modules, 'mmengine.logging', there)
    monkeypatch.delenv('FAN_MM_TRACEBACK', raising=False)
    monkeypatch.chdir(tmp_path)

    def main():
        raise InputError('MyHook fails: ValueError: theirs') from cause

    assert exit_status(main) == 2
    kept = logged and has_log
    where = ' (its traceback is in run.log)' if kept else ''
    assert capsys.readouterr().err == f'error: MyHook fails: ValueError: theirs{where}\n'
    text = log.read_text() if has_log else ''
    assert ('Traceback (most recent call last)' in text and 'ValueError: theirs' in text) == kept


@pytest.mark.parametrize(
    'mistake', [InputError('x'), OSError(errno.EIO, 'x'), KeyboardInterrupt('x')]
)
def test_the_line_is_one_write(monkeypatch, mistake):
    """Processes of one node share stderr: two writes each, and their lines are mixed."""
    writes = []
    monkeypatch.setattr(sys, 'stderr', SimpleNamespace(write=writes.append, flush=lambda: None))

    def main():
        raise mistake

    exit_status(main)
    assert len(writes) == 1 and writes[0].endswith(': x\n')


def test_a_folder_that_cannot_be_written_is_one_line_and_status_2(tmp_path, capsys):
    (tmp_path / 'taken').touch()
    assert exit_status(lambda: write_whole(tmp_path / 'taken' / 'results.json', '{}')) == 2
    assert (
        capsys.readouterr().err
        == f'error: {tmp_path / "taken"} is not a folder; choose another path\n'
    )


@pytest.mark.parametrize(
    'number', [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT]
)
def test_what_the_disk_refuses_is_one_line_and_status_2(number, capsys):
    def main():
        raise OSError(number, os.strerror(number), 'out/a.png')

    assert exit_status(main) == 2
    assert capsys.readouterr().err == f'error: out/a.png: {os.strerror(number)}\n'


@pytest.mark.parametrize(
    'said',
    [
        '[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:16013',
        'NCCL error: remote process exited or there was a network error: Connection reset by peer',
    ],
)
def test_a_process_whose_fellow_is_gone_has_nothing_to_add(said, capsys):
    def main():
        raise RuntimeError(said)

    assert exit_status(main) == 2
    assert (
        capsys.readouterr().err
        == 'error: another process of this run ended: its last line says why, or it was killed\n'
    )


@pytest.mark.parametrize('name', ['stdin', 'stdout', 'stderr'])
def test_a_closed_stream(name, monkeypatch):
    """As of `tool >&-`: Python has no such stream then, and the first file would get its number."""
    monkeypatch.setattr(sys, name, None)
    assert (
        exit_status(lambda: print('said', file=getattr(sys, name)) if name != 'stdin' else None)
        == 0
    )
    assert getattr(sys, name).name == os.devnull


def test_ctrl_c_is_status_130(capsys):
    def main():
        raise KeyboardInterrupt

    assert exit_status(main) == 130
    assert capsys.readouterr().err == 'stopped\n'


def test_ctrl_c_may_say_how_to_go_on(capsys):
    def main():
        raise KeyboardInterrupt('1 of 3 cells are stored')

    assert exit_status(main) == 130
    assert capsys.readouterr().err == 'stopped: 1 of 3 cells are stored\n'


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)
    with pytest.raises(FileNotFoundError):
        run(lambda: os.stat('no such file'))


def test_a_reader_that_has_enough_is_no_error(repo_root):
    lines = 'from fan_mm.cli import run; run(lambda: [print(i) for i in range(100000)] and None)'
    process = subprocess.Popen(
        [sys.executable, '-c', lines],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=repo_root,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (141, '')


def test_sizes_are_height_and_width():
    assert size('448') == (448, 448)
    assert size('1024X2048') == (1024, 2048)
    for wrong in ('448x', 'big', '4,4', 'x4', '0x0', '0', '-3', '\u00b2', ''):
        with pytest.raises(argparse.ArgumentTypeError, match='HEIGHTxWIDTH'):
            size(wrong)


@pytest.mark.parametrize(('text', 'above', 'taken'), [('0', False, True), ('0', True, False)])
def test_the_least_number_itself(text, above, taken):
    read = number(0, above=above)
    if taken:
        assert read(text) == 0
    else:
        with pytest.raises(argparse.ArgumentTypeError, match='is not a number above 0'):
            read(text)
