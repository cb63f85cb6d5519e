"""Every tool with wrong files, sizes and places to write to: one ``error:`` line and status 2, never a traceback."""

import os

import pytest
from command_cases import TOOLS, assert_one_line, parser_of, positionals, sampled

import fan_mm.cli
from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.jobs.ood import TEST_SETS as IMAGENET_SETS

pytest.importorskip('mmseg')


def wrong_files():
    yield from (
        'nothing',
        'folder',
        'empty',
        'text',
        'junk',
        'a_file/below',
        'caf\udce9',
        'line\nbreak',
    )


@pytest.mark.parametrize(
    'case', sampled([(t, f) for t in TOOLS if t != 'train' for f in wrong_files()], 20)
)
def test_files_that_are_none(run, tmp_path, tiny_config, case):
    """As checkpoint, pictures, results, data and what else a tool reads, all at once."""
    tool, name = case
    (tmp_path / 'folder').mkdir()
    for file, content in (
        ('empty', b''),
        ('text', b'text\n'),
        ('junk', b'\x80\x02junk'),
        ('a_file', b''),
    ):
        (tmp_path / file).write_bytes(content)
    parser = parser_of(tool)
    given = {a.dest: name for a in parser._actions}
    given |= dict(config=tiny_config, models=tiny_config, out=tmp_path / 'out')
    if tool in ('convert_checkpoint', 'make_toy_dataset'):
        given['target'] = given['out'] = 'a_file/below/out'
    words = positionals(parser, **given)
    if tool == 'model_complexity':
        words = [name]
    assert_one_line(run(tool, *words))


@pytest.mark.parametrize(
    'arguments, said',
    [
        (['--size', '1000000x1000000'], 'memory'),
        (['--size', '63x63'], '64x64'),
        (['--train', '0'], 'at least 1'),
        (['--jobs', '0'], 'at least 1'),
    ],
)
def test_sizes_of_toys(run, tmp_path, arguments, said):
    assert_one_line(run('make_toy_dataset', 'cityscapes', tmp_path / 'toy', *arguments), said)


def test_sizes_of_complexity(run, tiny_config):
    assert_one_line(run('model_complexity', tiny_config, '--size', '1000000'), 'memory')


def test_work_dirs_that_are_files(run, tiny_config, checkpoint, tmp_path):
    (tmp_path / 'taken').touch()
    for words in (['train', tiny_config], ['test', tiny_config, checkpoint]):
        for work_dir in ('taken', 'taken/below'):
            assert_one_line(run(*words, '--work-dir', tmp_path / work_dir), 'taken')


# Options that name a folder or a file and are no output, or an output of one task or another.
OTHER_PLACES = {
    *('--resume', '--verify-only', '--corrupted-root', '--image-cache', '--images', '--cityscapes'),
    *('--work-dir', 'DST'),  # whose config must be read first; which may be complete, and read only
}


@pytest.mark.parametrize('tool', TOOLS)
def test_outputs_are_refused_before_anything_is_done(run, tmp_path, tool):
    (tmp_path / 'taken').touch()
    (tmp_path / 'full').mkdir()
    for action in parser_of(tool)._actions:
        name = (action.option_strings or [action.metavar or action.dest])[0]
        if action.type in (fan_mm.cli.writable_file, fan_mm.cli.writable_folder):
            wrong = {'taken/below/a.png': 'taken is not a folder; choose another path'}
            wrong |= (
                {'full': 'full is a folder, not a file; choose another path'}
                if action.type is fan_mm.cli.writable_file
                else {'taken': 'taken is not a folder; choose another path'}
            )
            for place, said in wrong.items():
                words = [name, place] if action.option_strings else ['nothing', place]
                assert_one_line(run(tool, *words), said)
        elif action.metavar in ('DIR', 'FILE', 'PATH', 'DST'):
            known = SHIFT_SETS.keys() | IMAGENET_SETS
            assert name in OTHER_PLACES or name.strip('-').replace('-', '_') in known, name


NOWHERE = '/proc/nothing'


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='no /proc')
@pytest.mark.parametrize(
    'words',
    [
        ['make_toy_dataset', 'cityscapes', NOWHERE, '--train', '1', '--val', '1'],
        ['make_corrupted_dataset', 'cityscapes', 'DATA', NOWHERE, '--jobs', '1'],
        ['export', 'CONFIG', 'CHECKPOINT', '--out', f'{NOWHERE}.onnx', '--size', '64', '64'],
        ['demo', 'DATA', 'CONFIG', 'CHECKPOINT', '--out', NOWHERE],
        ['train', 'CONFIG', '--work-dir', NOWHERE],
        ['test', 'CONFIG', 'CHECKPOINT', '--work-dir', NOWHERE],
        ['test', 'CONFIG', 'CHECKPOINT', '--out', NOWHERE],
        ['test', 'CONFIG', 'CHECKPOINT', '--show-dir', f'{NOWHERE}/below'],
        ['test_corruption', 'CONFIG', 'CHECKPOINT', '--work-dir', NOWHERE],
        ['convert_checkpoint', 'CHECKPOINT', f'{NOWHERE}.pth'],
    ],
    ids=lambda words: ' '.join(words[:1] + [w for w in words if w.startswith('--')][:1]),
)
def test_places_where_nothing_can_be_written(
    run, tiny_config, tiny_cityscapes, checkpoint, tmp_path, words
):
    """What the system calls "no such file" when a folder is to be made."""
    stand_ins = {'CONFIG': tiny_config, 'CHECKPOINT': checkpoint, 'DATA': tiny_cityscapes}
    said = 'convert' if words[0] == 'convert_checkpoint' else NOWHERE
    assert_one_line(run(*(stand_ins.get(word, word) for word in words)), said)
