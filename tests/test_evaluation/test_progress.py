"""What the log says of the time left."""

import pytest

from fan_mm.evaluation import progress as module
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.progress import INTERVAL, Progress

CELLS = [CLEAN, *(Cell('fog', severity) for severity in range(1, 6))]


def test_time_left_at_the_speed_so_far(monkeypatch):
    now = [100.0]
    monkeypatch.setattr('fan_mm.evaluation.progress.time.monotonic', lambda: now[0])
    progress = Progress(CELLS, done=CELLS[:2], images=50)
    now[0] += 20
    progress.add(CELLS[2], 40)
    assert progress.time_left() == '0:01:20'  # 160 of 200 images left, 2 per second


def test_no_speed_is_known_before_the_first_image():
    progress = Progress(CELLS, done=[], images=2**50)
    progress.end_cell(CLEAN, done=False, outcome='failed')
    assert progress.time_left() == 'unknown time'


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, 'monotonic', lambda: now[0])
    return now


@pytest.fixture
def lines(monkeypatch):
    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, _: said.append(text))
    return said


def test_lines_of_a_sweep(clock, lines):
    progress = Progress(CELLS, done=CELLS[:1], images=10)
    assert lines.pop() == '1 of 6 cells are already done'
    clock[0] += INTERVAL - 1
    progress.add(CELLS[1], 4)
    assert not lines
    clock[0] += 1
    progress.add(CELLS[1], 2)
    assert lines.pop() == 'cell 2 of 6, fog/1: image 6 of 10, 0.20 images/s, 0:03:40 left'
    clock[0] += INTERVAL
    progress.add(
        CELLS[1], 99
    )  # the last batch of several ranks is not full; the cell's line follows
    assert not lines
    progress.end_cell(CELLS[1], done=True, outcome='40.00')
    assert lines.pop() == 'cell 2 of 6, fog/1: 40.00, 0.17 images/s, 0:04:00 left'
    progress.add(CELLS[2], 5)
    progress.end_cell(CELLS[2], done=False, outcome='no memory')  # counts as still to do
    assert lines.pop() == 'cell 3 of 6, fog/2: no memory, 0.25 images/s, 0:02:40 left'
    progress.end_cell(CELLS[3], done=True, outcome='30.00')
    assert lines.pop().startswith('cell 3 of 6, fog/3: 30.00')


def test_a_sweep_from_its_beginning_says_nothing_of_before(clock, lines):
    assert Progress(CELLS, done=[], images=10).images_per_second() == 0
    assert lines == []
