import pytest

from fan_mm.errors import first_line


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (ValueError('\n no such node\nin graph'), 'no such node'),
        (RuntimeError(), 'RuntimeError'),
        (RuntimeError(' \n'), 'RuntimeError'),
    ],
)
def test_first_line(error, line):
    assert first_line(error) == line
