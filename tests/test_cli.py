import pytest

from fan_mm.cli import run
from fan_mm.errors import InputError


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


def test_ctrl_c_is_status_130(capsys):
    def main():
        raise KeyboardInterrupt

    assert exit_status(main) == 130
    assert 'stopped' in capsys.readouterr().err


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)
