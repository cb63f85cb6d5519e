"""The command ``fan-mm``."""

import re
import sys

import pytest

from fan_mm import cli, console, packaged
from fan_mm.errors import InputError

# of a checkout alone, of the whole set-up, or a part of others
NO_COMMANDS = {
    'setup_env.py',
    'setup_env.sh',
    'quickstart.sh',
    'run_tests.sh',
    'launch.sh',
    'launch.py',
    'reproduce_camvid.sh',
}


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, 'argv', ['fan-mm', *words])
    with pytest.raises(SystemExit) as end:
        console.main()
    return end.value.code, capsys.readouterr()


def test_every_tool_is_a_command(repo_root):
    tools = {path.name for path in (repo_root / 'tools').iterdir() if path.suffix in ('.py', '.sh')}
    assert tools - NO_COMMANDS == set(console.COMMANDS.values())


@pytest.mark.parametrize('words', [(), ('--help',)])
def test_help_has_one_line_for_each_command(monkeypatch, capsys, words):
    status, said = call(monkeypatch, capsys, *words)
    assert status == 0
    lines = [line.split() for line in said.out.splitlines() if line.startswith('  ')]
    assert [line[0] for line in lines] == list(console.COMMANDS)
    assert all(len(line) > 3 for line in lines)


def test_an_unknown_command_is_one_line(monkeypatch, capsys):
    status, said = call(monkeypatch, capsys, 'tarin')
    assert status == 2 and said.err.count('\n') == 1 and "no command 'tarin'" in said.err


def test_the_tool_gets_the_rest_of_the_line(monkeypatch, capsys):
    monkeypatch.setattr(cli, 'program', None)
    monkeypatch.setattr(cli, 'as_called', str)
    status, said = call(monkeypatch, capsys, 'make-toy-dataset', '--help')
    assert status == 0 and said.out.startswith('usage: fan-mm make-toy-dataset [-h]')
    assert '\n  fan-mm make-toy-dataset cityscapes data/toy_cityscapes --size 256x512' in said.out
    status, said = call(monkeypatch, capsys, 'train', 'fan_hybrid_s_citiscapes')
    assert status == 2
    assert said.err == (
        'error: no such config: fan_hybrid_s_citiscapes; did you mean fan_hybrid_s_cityscapes?\n'
    )


@pytest.mark.parametrize('file', [f for f in console.COMMANDS.values() if f.endswith('.py')])
def test_examples_read_as_the_command_is_called(repo_root, file):
    example = re.search(
        r'^EXAMPLE = """(.*?)"""', (repo_root / 'tools' / file).read_text(), re.S | re.M
    )
    said = console.as_commands(example[1])
    assert re.search(r'^  fan-mm ', said, re.M)
    assert set(re.findall(r'fan-mm ([\w-]+)', said)) <= set(console.COMMANDS)
    assert 'python ' not in said and 'configs/' not in said
    for name in re.findall(r'\bconfigs/(\w+)\.py', example[1]):
        assert packaged.config_named(name) and f' {name}' in said


@pytest.mark.parametrize('name', ['fan_hybrid_s_cityscapes', 'fan_hybrid_s_cityscapes.py'])
def test_configs_are_found_by_name(repo_root, name):
    assert packaged.config_named(name) == repo_root / 'configs/fan_hybrid_s_cityscapes.py'


@pytest.mark.parametrize('path', ['configs/fan_hybrid_s_cityscapes.py', './x', 'x.yaml'])
def test_a_path_is_no_name(path):
    assert packaged.config_named(path) is None


def test_a_name_that_no_config_has():
    with pytest.raises(
        InputError, match=r'^no such config: nothing_like_it; the shipped ones are in \S+configs$'
    ):
        packaged.config_named('nothing_like_it')
