"""Every tool with wrong options, and what ends it: one ``error:`` line and status 2, never a traceback."""

import argparse
import errno
import os
import runpy
import signal

import pytest
from command_cases import (
    ROOT,
    TOOLS,
    assert_one_line,
    parser_of,
    positionals,
    sampled,
)

from fan_mm.errors import InputError

pytest.importorskip('mmseg')


WRONG_TEXTS = ('abc', '', 'nan', '-1', '0', '1.5', '1e999', '²', '9' * 30, 'a=b=c')


def by_signal(number):
    os.kill(os.getpid(), number)


def by_error(error):
    raise error


ENDS = [
    (by_signal, signal.SIGTERM, 143, 'stopped'),
    (by_signal, signal.SIGINT, 130, 'stopped'),
    (by_error, InputError('no such thing'), 2, 'error: no such thing'),
    (
        by_error,
        OSError(errno.ENOSPC, 'No space left on device', 'a.png'),
        2,
        'error: a.png: No space',
    ),
    (by_error, MemoryError('Unable to allocate 9 TiB'), 2, 'error: memory: Unable to allocate'),
]


@pytest.mark.parametrize('tool', TOOLS)
def test_every_tool_ends_with_the_status_of_what_ended_it(run, monkeypatch, tool):
    # a test run in the background of a shell has inherited an ignored SIGINT
    monkeypatch.setattr(signal, 'SIG_IGN', object())
    for end, how, status, line in ENDS:
        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, 'parse_args', lambda *_, f=end, h=how: f(h))
            found, err = run(tool)
        assert found == status and err.splitlines()[-1].startswith(line)


@pytest.mark.parametrize('tool', TOOLS)
def test_a_bug_of_ours_keeps_its_traceback(run, monkeypatch, tool):
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', lambda *_: by_error(KeyError('bug')))
    with pytest.raises(KeyError, match='bug'):
        run(tool)


# Options of one name that are something else in each of the tools.
OTHERS = {
    '--out': 'files, or a folder',
    '--size': 'of images, of the input, of test sets',
    '--seed': 'of a sweep, which existing files may tell',
    '--split': 'of a dataset, or of several',
    '--format': 'of images, or of exported files',
    '--weights': 'of a file, or of several test sets',
    '--images': 'of several models, or instead of a test split',
    '--count': 'with another default',
    '--corruption': 'one, or several',
    '--benchmark': 'with another default',
    '--channel-order': 'with another default',
    '--work-dir': 'with another default',
}


def test_options_of_one_name_are_one_option():
    """The same type, choices, form and words in every tool."""
    found = {}
    for tool in TOOLS:
        for action in parser_of(tool)._actions:
            choices = action.choices and list(action.choices)
            of = repr((action.nargs, action.metavar, action.default, choices, action.help))
            for name in action.option_strings:
                found.setdefault(name, {}).setdefault(of, []).append(tool)
    differing = {name: list(forms.values()) for name, forms in found.items() if len(forms) > 1}
    assert differing.keys() == OTHERS.keys(), differing


def option_cases():
    """Every option of every tool with every wrong text."""
    for tool in TOOLS:
        for action in parser_of(tool)._actions:
            if action.option_strings and action.nargs != 0 and action.dest not in ('help', 'table'):
                for text in WRONG_TEXTS:
                    yield tool, action.option_strings[-1], text


@pytest.mark.parametrize('case', sampled(option_cases()))
def test_options(run, case):
    """What the parser takes, the tool itself refuses, or the file that is not there does."""
    tool, option, text = case
    assert_one_line(run(tool, *positionals(parser_of(tool)), f'{option}={text}'))


@pytest.mark.parametrize('tool', TOOLS)
def test_all_show_the_traceback_if_asked(run, tool):
    status, err = run(tool, *positionals(parser_of(tool)), '--traceback')
    assert status == 2 and err.count('error: ') == 1 and 'Traceback (most recent call last)' in err
    assert_one_line(run(tool, '--no-such-option'))


def test_launchers_that_did_not_start_it(run, tiny_config, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    for launcher in ('pytorch', 'slurm', 'mpi'):
        assert_one_line(run('train', tiny_config, '--launcher', launcher), f'--launcher {launcher}')
    for name, value in dict(RANK='x', WORLD_SIZE='2', LOCAL_RANK='0').items():
        monkeypatch.setenv(name, value)
    assert_one_line(run('train', tiny_config, '--launcher', 'pytorch'), "RANK is 'x'")


def test_a_bug_keeps_its_traceback(run, tiny_config, monkeypatch):
    """Neither below the building of a config nor elsewhere is one taken for the user's mistake."""

    def broken(*_, **__):
        raise AttributeError('ours')

    for place in ('fan_mm.engine.runtime.check_data', 'fan_mm.jobs.training.ResumeSeedHook'):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, broken)
            monkeypatch.setattr('sys.argv', ['train', str(tiny_config)])
            with pytest.raises(AttributeError, match='ours'):
                runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
