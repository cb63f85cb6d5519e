"""Every tool, fed with what is wrong: one ``error:`` line and status 2, never a traceback.

The options come from each tool's own parser, the keys of configs from a table. A sample of all cases runs
always, all of them with ``-m campaign``.
"""

import argparse
import errno
import os
import random
import runpy
import signal
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import fan_mm.cli
from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.errors import InputError
from fan_mm.jobs.ood import TEST_SETS as IMAGENET_SETS

pytest.importorskip('mmseg')
ROOT = Path(__file__).parents[1]
NOT_OURS = ('setup_env', 'launch')  # before anything is installed; torchrun's own options
TOOLS = sorted(path.stem for path in (ROOT / 'tools').glob('*.py') if path.stem not in NOT_OURS)
SAMPLE = 40  # of the cheap cases, always run

WRONG_TEXTS = ('abc', '', 'nan', '-1', '0', '1.5', '1e999', '²', '9' * 30, 'a=b=c')
WRONG_KEYS = [  # what --cfg-options can break, in any config
    *('nonsense', '=3', 'model', 'a.=3', '.a=3', 'model.backbone.depth=[1,2', 'x=(1'),
    *('model=3', 'model=None', 'model.backbone=3', 'model.backbone.type=NoSuch'),
    *('model.backbone.arch=3', 'model.backbone.no_such=1', 'model.decode_head.no_such=1'),
    *('model.decode_head.num_classes=abc', 'model.decode_head.channels=-3', 'model.type=NoSuch'),
    *('default_scope=nolib', 'default_scope=3', 'train_dataloder.batch_size=2', 'log_level=LOUD'),
    *('work_dir=3', 'model.backbone.arch.x.y.z=3', 'env_cfg=3', 'env_cfg.dist_cfg=3'),
]
WRONG_TRAINING_KEYS = [
    *(f'train_dataloader.batch_size={v}' for v in ('0', '-1', 'abc', '2.5', '[1]')),
    *(f'train_dataloader.num_workers={v}' for v in ('-1', '1.5', 'abc')),
    *(f'train_cfg.max_iters={v}' for v in ('abc', '0', '-1', '1.5', 'nan')),
    *(f'train_cfg.val_interval={v}' for v in ('abc', '0')),
    *(f'optim_wrapper.optimizer.lr={v}' for v in ('nan', '-1', 'abc', 'inf')),
    *(f'randomness.seed={v}' for v in ('-1', 'abc', '4294967296', '1.5')),
    *(f'default_hooks.checkpoint.{k}' for k in ('interval=abc', 'max_keep_ckpts=abc', 'no_such=1')),
    *('default_hooks.logger.interval=0', 'default_hooks.checkpoint=3', 'default_hooks=3'),
    *('train_dataloader.dataset=3', 'train_dataloader.dataset.type=NoSuch'),
    *('train_dataloader.dataset.no_such=1', 'train_dataloader.dataset.pipeline.2.type=NoSuch'),
    *(
        'train_dataloader.dataset.pipeline.2.no_such=1',
        'train_dataloader.dataset.pipeline.9.type=A',
    ),
    *('train_dataloader.dataset.pipeline=3', 'train_dataloader.dataset.data_root=/no/such'),
    *('train_dataloader.no_such=1', 'train_dataloader.sampler.type=NoSuch', 'train_dataloader=3'),
    *('optim_wrapper.type=NoSuch', 'optim_wrapper.optimizer.type=NoSuch', 'optim_wrapper=3'),
    *('optim_wrapper.optimizer.no_such=1', 'optim_wrapper.optimizer.betas=3'),
    *('optim_wrapper.paramwise_cfg=3', 'optim_wrapper.clip_grad=3', 'optim_wrapper.constructor=No'),
    *('param_scheduler.0.type=NoSuch', 'param_scheduler.0.no_such=1', 'param_scheduler=3'),
    *('train_cfg.type=NoSuch', 'train_cfg.no_such=1', 'train_cfg.max_iters.x=1', 'train_cfg=3'),
    *('val_evaluator.type=NoSuch', 'val_evaluator=3', 'visualizer=3', 'load_from=nothing.pth'),
    *('env_cfg.mp_cfg.mp_start_method=no', 'auto_scale_lr.base_batch_size=abc', 'load_from=3'),
]


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Runs a tool in this process -> its status and what it wrote to stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'something').touch()
    monkeypatch.setattr('logging.raiseExceptions', True)
    monkeypatch.setattr('sys.path', list(sys.path))
    monkeypatch.setenv(fan_mm.cli.TRACEBACK, '')  # and put back what --traceback sets

    def start(tool, *arguments):
        monkeypatch.setattr('sys.argv', [tool, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')
        return stop.value.code or 0, capfd.readouterr().err

    return start


def assert_one_line(outcome, said=''):
    status, err = outcome
    lines = [line for line in err.splitlines() if 'error: ' in line]
    assert status == 2, err
    assert len(lines) == 1 and 'Traceback' not in err, err
    assert said in lines[0], err


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    """Random weights of the tiny config."""
    cfg = Config.fromfile(tiny_config)
    with DefaultScope.overwrite_default_scope('mmseg'):
        import mmseg.models  # noqa: F401

        model = MODELS.build(dict(cfg.model, data_preprocessor=None))
    path = tmp_path / 'tiny.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return path


class Found(Exception):
    """Carries a tool's parser out of it."""


def parser_of(tool):
    def found(self, *_):
        raise Found(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', found)
        patch.setattr('sys.argv', [tool])
        try:
            runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'))['main']()
        except Found as it:
            return it.args[0]


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


def shown(case):
    return ' '.join(str(part) for part in case)[:80].encode('ascii', 'replace').decode()


def sampled(cases, count=SAMPLE):
    """Some cases always, the others in the campaign."""
    cases = list(cases)
    always = set(random.Random(0).sample(range(len(cases)), min(count, len(cases))))
    return [
        pytest.param(case, id=shown(case), marks=() if i in always else pytest.mark.campaign)
        for i, case in enumerate(cases)
    ]


def positionals(parser, **given):
    """As many arguments as a parser demands, those that must be named included."""
    words = []
    if 'layout' in (action.dest for action in parser._actions):
        given = dict(given, out='.')  # which is no folder for a dataset of its own
    for action in parser._actions:
        value = given.get(action.dest, 'nothing')
        if not action.option_strings and action.nargs != '?':
            words += [next(iter(action.choices))] if action.choices else [value]
            if action.dest == 'models':
                words += ['nothing']
        elif action.required:
            words += [action.option_strings[0], value]
    return words


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


NEEDS_CONFIG = [
    *('train', 'test', 'test_corruption', 'test_ood', 'demo', 'show_predictions'),
    *('show_token_labels', 'model_complexity', 'visualize_clusters', 'visualize_gates'),
    *('visualize_segmentation', 'analyze_noise_decay', 'export'),
]
WRONG_CONFIGS = {
    'syntax.py': 'a = 1\nb = = 2\n',
    'raises.py': "a = 1\nb = a + 'x'\n",
    'exits.py': 'import sys\nsys.exit(3)\n',
    'base.py': "_base_ = './nothing.py'\n",
    'needs.py': "custom_imports = dict(imports=['no_such_package'], allow_failed_imports=False)\n",
    'imports.py': "custom_imports = dict(imports=['broken_module'], allow_failed_imports=False)\n",
    'empty.py': '',
    'broken_module.py': 'x = undefined\n',
    'list.json': '[1]',
    'half.json': '{"model": ',
    'half.yaml': 'model: [1\n b',
    'lazy.py': 'from .nothing import *\n',
    'latin.py': b"a = '\xe9'\n",
    'text.txt': 'a = 1',
    'nul.py': b'a = 1\x00',
}
SAID = {
    'syntax.py': 'syntax.py, line 2',
    'raises.py': 'raises.py, line 2',
    'base.py': 'nothing.py',
    'needs.py': 'no_such_package',
    'imports.py': 'broken_module.py, line 1',
}


def config_words(tool, config, **given):
    given = dict(dict(config=config, models=config), **given)
    words = positionals(parser_of(tool), **given)
    if tool == 'model_complexity':
        words.insert(0, config)
    return words


@pytest.mark.parametrize(
    'case', sampled([(t, c) for t in NEEDS_CONFIG for c in [*WRONG_CONFIGS, 'folder.py']])
)
def test_configs_that_are_none(run, tmp_path, case):
    tool, name = case
    for file, text in WRONG_CONFIGS.items():
        (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / 'folder.py').mkdir()
    (tmp_path / 'nothing').mkdir()  # what stands for pictures
    said = '' if tool in ('visualize_clusters', 'visualize_gates') else SAID.get(name, '')
    if tool in ('analyze_noise_decay', 'export'):
        said = ''
    assert_one_line(run(tool, *config_words(tool, name)), said)


@pytest.mark.parametrize('case', sampled([('train', key) for key in WRONG_TRAINING_KEYS], 12))
def test_keys_of_trainings(run, tiny_config, case):
    assert_one_line(run('train', tiny_config, '--cfg-options', case[1]))


BACKBONE_ONLY = ('visualize_clusters', 'visualize_gates', 'analyze_noise_decay')


def model_cases():
    for tool in NEEDS_CONFIG:
        for key in WRONG_KEYS:
            if not (tool in BACKBONE_ONLY and ('head' in key or key == 'model.type=NoSuch')):
                yield tool, key


@pytest.mark.parametrize('case', sampled(model_cases(), 20))
def test_keys_of_models(run, tiny_config, checkpoint, tiny_cityscapes, case):
    tool, key = case
    pictures = tiny_cityscapes / 'leftImg8bit' / 'val'
    words = config_words(tool, tiny_config, images=pictures, checkpoint=checkpoint)
    if tool in ('visualize_segmentation', 'analyze_noise_decay'):
        words[1] = checkpoint
    assert_one_line(run(tool, *words, '--cfg-options', key))


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
    'key, said',
    [
        ('test_dataloader.num_batch_per_epoch=1', '--max-samples'),
        ('test_dataloader.collate_fn.type=NoSuch', 'test_dataloader: '),
        ('test_dataloader.dataset.indices=[0,99]', 'list index out of range'),
        ('test_dataloader.dataset.pipeline.0.type=LoadImageFromNDArray', 'cannot load'),
    ],
)
def test_keys_of_sweeps(run, tiny_config, checkpoint, key, said):
    words = (tiny_config, checkpoint, '--corruptions', 'fog', '--severities', '1')
    assert_one_line(run('test_corruption', *words, '--cfg-options', key), said)


def test_what_a_config_has_not(run, tiny_config, checkpoint):
    words = ('--tta', '--cfg-options', 'tta_model=None')
    assert_one_line(run('test', tiny_config, checkpoint, *words), 'the config has no tta_model')
    words = ('--out', 'o', '--cfg-options', 'test_dataloader=None', 'val_dataloader=None')
    assert_one_line(run('show_predictions', tiny_config, checkpoint, *words), 'class names')


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


def test_launchers_that_did_not_start_it(run, tiny_config, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    for launcher in ('pytorch', 'slurm', 'mpi'):
        assert_one_line(run('train', tiny_config, '--launcher', launcher), f'--launcher {launcher}')
    for name, value in dict(RANK='x', WORLD_SIZE='2', LOCAL_RANK='0').items():
        monkeypatch.setenv(name, value)
    assert_one_line(run('train', tiny_config, '--launcher', 'pytorch'), "RANK is 'x'")


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


def test_modules_beside_the_config_and_in_the_current_folder(run, tiny_config, tmp_path):
    here, beside = tmp_path / 'here', tmp_path / 'beside'
    for folder, module in ((here, 'module_here'), (beside, 'module_beside')):
        folder.mkdir()
        (folder / f'{module}.py').write_text('')
    config = beside / 'my config.py'
    config.write_text(
        f"_base_ = '{tiny_config}'\n"
        "custom_imports = dict(imports=['fan_mm', 'module_here', 'module_beside'])\n"
    )
    os.chdir(here)
    assert_one_line(run('test', config, 'nothing.pth'), 'no such checkpoint: nothing.pth')


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
