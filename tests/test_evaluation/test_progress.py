"""What the log says of the time left."""

from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.progress import Progress

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
