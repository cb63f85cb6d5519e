"""Runs that were stopped, killed or robbed of files go on and end with the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warm_python
from corrupted_files import (
    ROOT,
    TOOL,
    Interrupted,
    check,
    make,
    make_source,
    pictures,
    stop_after,
    tree,
)

from fan_mm.corruptions import BENCHMARKS, choose_cells
from fan_mm.datasets.corrupted import generate as generator
from fan_mm.errors import InputError


@pytest.mark.parametrize('what', ['one', 'a cell', 'all'])
def test_what_was_taken_away_meanwhile_is_said(tmp_path, source, monkeypatch, what):
    make(source, tmp_path / 'whole')
    corrupt_all = generator._Run.corrupt_all

    def take_away(run, *arguments):
        done = corrupt_all(run, *arguments)
        gone = {'one': 'snow/5/bonn', 'a cell': 'snow', 'all': ''}[what]
        shutil.rmtree(tmp_path / 'dst' / gone)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(generator._Run, 'corrupt_all', take_away)
        number = {'one': 1, 'a cell': 3, 'all': 12}[what]
        with pytest.raises(InputError, match=f'{number} written images have disappeared'):
            make(source, tmp_path / 'dst')
    assert json.loads((tmp_path / 'dst/manifest.json').read_text())['complete'] is False
    assert make(source, tmp_path / 'dst').written == number
    if what != 'all':  # with it the notes of the sources are gone
        assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')
    assert check(tmp_path / 'dst') == []


def test_whatever_exists_is_not_made_again(tmp_path, source, monkeypatch):
    make(source, tmp_path / 'whole')
    with monkeypatch.context() as patch:
        stop_after(patch, 5, Interrupted())
        with pytest.raises(Interrupted):
            make(source, tmp_path / 'dst')
    there = pictures(tmp_path / 'dst')
    assert len(there) == 5
    assert check(tmp_path / 'dst') == ['not finished: run the command again without --verify']
    times = [path.stat().st_mtime_ns for path in there]
    summary = make(source, tmp_path / 'dst')
    assert (summary.files, summary.written) == (12, 7)
    assert [path.stat().st_mtime_ns for path in there] == times
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')
    assert make(source, tmp_path / 'dst').written == 0
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')


def test_files_that_a_power_cut_left_incomplete_are_made_again(tmp_path, source, monkeypatch):
    make(source, tmp_path / 'whole')
    stop_after(monkeypatch, 6, Interrupted())
    with pytest.raises(Interrupted):
        make(source, tmp_path / 'dst')
    monkeypatch.undo()
    shutil.rmtree(tmp_path / 'dst' / 'checksums')  # written in an orderly end only
    empty, cut = pictures(tmp_path / 'dst')[:2]
    empty.write_bytes(b'')
    cut.write_bytes(cut.read_bytes()[:100])
    make(source, tmp_path / 'dst')
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')


def test_lists_that_a_power_cut_left_incomplete_are_made_up_for(tmp_path, source):
    """A copy that no list knows is whole, and counts; a record that was cut is written anew."""
    destination = tmp_path / 'dst'
    make(source, destination)
    before = tree(destination)
    sums, sources = (destination / 'checksums' / name for name in ('snow/5.sha256', 'sources.txt'))
    sums.write_bytes(b''.join(sums.read_bytes().splitlines(keepends=True)[1:]))
    sources.write_bytes(sources.read_bytes()[:-20])
    pictures(destination / 'motion_blur')[-1].unlink()  # of the source whose record was cut
    assert make(source, destination).written == 1
    assert tree(destination) == before and check(destination) == []


def command(source, destination, *options, python=sys.executable):
    cells = ['--benchmark', 'all', '--corruptions', 'noise', 'fog', 'snow']
    cells += ['--severities', '1', '2', '4']
    return [
        python,
        str(TOOL),
        'cityscapes',
        str(source),
        str(destination),
        *cells,
        *options,
    ]


def environment():
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    return os.environ | {'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'}


def start_and_signal(arguments, destination, number, signal_number):
    """Start the tool, and send it a signal when it has written some images."""
    log = destination.with_suffix('.log')
    with log.open('w') as output:
        process = subprocess.Popen(
            arguments,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            # a test run in the background of a shell hands on an ignored SIGINT
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    while len(pictures(destination)) < number:
        assert process.poll() is None, log.read_text()
        time.sleep(0.005)
    process.send_signal(signal_number)
    return process.wait(timeout=900), log.read_text()


def settled(destination):
    """How many images there are, once no more come."""
    before, now = None, len(pictures(destination))
    while now != before:
        time.sleep(1)
        before, now = now, len(pictures(destination))
    return now


@pytest.mark.slow
def test_killed_and_stopped_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    # Six images of 256x512 by 18 cells, two processes: some seconds of work.
    source = make_source(tmp_path / 'src', 'cityscapes', count=6, size=(256, 512))
    cells = choose_cells(BENCHMARKS['all'], ['noise', 'fog', 'snow'], [1, 2, 4])
    make(source, tmp_path / 'whole', cells=cells, jobs=2)
    total = len(pictures(tmp_path / 'whole'))
    destination = tmp_path / 'dst'
    arguments = command(source, destination, '--jobs', '2')

    status, _ = start_and_signal(arguments, destination, total // 10, signal.SIGKILL)
    assert status == -signal.SIGKILL
    orphans = settled(destination)
    assert orphans < total  # the workers have noticed that their parent is gone
    # What a process killed while it wrote leaves behind.
    folder = pictures(destination)[0].parent
    (folder / '.aachen_000000.0123456789ab.png').write_bytes(b'\x89PNG half')

    stopped = command(source, destination, '--jobs', '2', python=warm_python.python())
    status, output = start_and_signal(stopped, destination, orphans + 3, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert 'Traceback' not in output
    assert not [name for name in tree(destination) if Path(name).name.startswith('.')]

    before = len(pictures(destination))
    alone = command(source, destination, '--jobs', '1', python=warm_python.python())
    status, output = start_and_signal(alone, destination, before + 2, signal.SIGINT)
    assert status == 130
    assert 'Traceback' not in output
    before = len(pictures(destination))
    assert before < total

    assert make(source, destination, cells=cells, jobs=2).written == total - before
    assert tree(destination) == tree(tmp_path / 'whole')

    assert check(destination) == []
