"""The decisions of the set-up script; what it installs for real is proved by every CI run."""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils import cpp_extension

PYTHON = Path(sys.executable)


@pytest.fixture
def setup_env(repo_root, monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location('setup_env', repo_root / 'tools' / 'setup_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('FORCE_CUDA', raising=False)
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)
    return module


@pytest.fixture
def asked_here(setup_env, monkeypatch):
    """What the script asks the environment's Python, this process answers: it can play a GPU."""

    def ask(python, code):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, {})
        return printed.getvalue().strip()

    monkeypatch.setattr(setup_env, 'ask', ask)
    monkeypatch.setattr(torch, '__version__', '2.11.0+cu130')
    monkeypatch.setattr(torch.version, 'cuda', '13.0')


@pytest.fixture
def gpus(asked_here, monkeypatch):
    cards = [(9, 0), (8, 0), (9, 0)]
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: len(cards))
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda card: cards[card])


class Machine:
    """Stands for pip and the environment: ops work once a good wheel is installed."""

    def __init__(self, module, monkeypatch):
        self.good, self.gpu, self.calls = False, False, []
        monkeypatch.setattr(
            module, 'works', lambda python, code: self.gpu if 'init' in code else self.good
        )
        monkeypatch.setattr(module, 'pip', self.pip)

    def pip(self, python, command, *arguments, what, env=None):
        self.calls.append(what)
        if command == 'wheel':
            self.env = env
            folder = Path(arguments[arguments.index('-w') + 1])
            (folder / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl').write_text('good')
        else:
            self.good = Path(arguments[-1]).read_text() == 'good'


def cache_of(module) -> Path:
    key = module.ops_key(Path(sys.executable), 'mmcv==2.1.0')
    return Path(os.environ['XDG_CACHE_HOME']) / 'fan_mm' / 'wheels' / key


def test_the_wheel_is_built_once_and_kept(setup_env, asked_here, monkeypatch):
    machine = Machine(setup_env, monkeypatch)
    monkeypatch.setenv('MAX_JOBS', '3')  # where memory is for fewer than the cores
    setup_env.install_ops(Path(sys.executable), 'mmcv==2.1.0')
    assert machine.calls == ['compiling mmcv ops', 'installing the compiled wheel']
    assert machine.env['MAX_JOBS'] == '3'
    machine.good, machine.calls = False, []
    setup_env.install_ops(Path(sys.executable), 'mmcv==2.1.0')
    assert machine.calls == ['installing the cached wheel']


def test_a_stale_wheel_is_built_again(setup_env, asked_here, monkeypatch):
    machine = Machine(setup_env, monkeypatch)
    folder = cache_of(setup_env)
    folder.mkdir(parents=True)
    (folder / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl').write_text('for another torch')
    setup_env.install_ops(Path(sys.executable), 'mmcv==2.1.0')
    assert (
        machine.calls[:2] == ['installing the cached wheel', 'compiling mmcv ops'] and machine.good
    )


def test_ops_that_work_are_left_alone(setup_env, monkeypatch):
    machine = Machine(setup_env, monkeypatch)
    machine.good = True
    setup_env.install_ops(Path(sys.executable), 'mmcv==2.1.0')
    assert machine.calls == []


def test_the_cache_key_names_all_that_a_wheel_depends_on(setup_env):
    key = setup_env.ops_key(Path(sys.executable), 'onedl-mmcv==2.3.6')
    assert 'onedl-mmcv-2.3.6' in key and f'torch{torch.__version__}' in key
    assert f'cp{sys.version_info[0]}{sys.version_info[1]}' in key
    assert (torch.version.cuda if torch.cuda.is_available() else 'cpu') in key


def test_the_cache_key_names_the_cards(setup_env, gpus, monkeypatch):
    assert setup_env.ops_key(PYTHON, 'mmcv==2.1.0').endswith('-torch2.11.0+cu130-13.0-8.0+9.0')
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.0;8.6 9.0+PTX')
    assert setup_env.ops_key(PYTHON, 'mmcv==2.1.0').endswith('-13.0-8.0+8.6+9.0+PTX')


def test_forced_cuda_is_in_the_key_without_a_gpu(setup_env, asked_here, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.0')
    assert setup_env.ops_key(PYTHON, 'mmcv==2.1.0').endswith('+cu130-cpu')
    monkeypatch.setenv('FORCE_CUDA', '1')
    assert setup_env.ops_key(PYTHON, 'mmcv==2.1.0').endswith('+cu130-13.0-8.0')
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST')
    with pytest.raises(setup_env.SetupError, match='TORCH_CUDA_ARCH_LIST, such as'):
        setup_env.ops_key(PYTHON, 'mmcv==2.1.0')


def test_forced_cuda_ops_are_not_believed_without_a_gpu(setup_env, asked_here, monkeypatch):
    monkeypatch.setenv('FORCE_CUDA', '1')
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.0')
    machine = Machine(setup_env, monkeypatch)
    machine.good = True
    cache_of(setup_env).mkdir(parents=True)
    (cache_of(setup_env) / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl').write_text('good')
    setup_env.install_ops(PYTHON, 'mmcv==2.1.0')
    assert machine.calls == ['installing the cached wheel']
    machine.gpu = True
    setup_env.install_ops(PYTHON, 'mmcv==2.1.0')
    assert machine.calls == ['installing the cached wheel']


def test_the_proof_runs_on_the_gpu(setup_env, gpus, monkeypatch):
    devices, kept = [], SimpleNamespace(tolist=lambda: [0, 2])
    monkeypatch.setitem(sys.modules, 'mmcv.ops', SimpleNamespace(nms=lambda *_: (None, kept)))
    with monkeypatch.context() as patch:
        patch.setattr(torch, 'tensor', lambda values, device: devices.append(device))
        exec(setup_env.NMS, {})
    assert devices == ['cuda', 'cuda']


def test_cuda_ops_need_the_toolkit_of_torchs_cuda(setup_env, gpus, monkeypatch, tmp_path):
    def refused(match):
        with pytest.raises(setup_env.SetupError, match=match) as error:
            setup_env.need_toolkit(PYTHON)
        assert 'the CUDA 13.0 toolkit' in str(error.value) and '\n' not in str(error.value)

    monkeypatch.setattr(cpp_extension, 'CUDA_HOME', str(tmp_path))
    refused('/bin/nvcc does not exist')
    nvcc = tmp_path / 'bin' / 'nvcc'
    nvcc.parent.mkdir()
    nvcc.write_text('#!/bin/sh\necho Cuda compilation tools, release 12.4, V12.4.131\n')
    nvcc.chmod(0o755)
    refused('nvcc is of CUDA 12.4')
    nvcc.write_text('#!/bin/sh\necho Cuda compilation tools, release 13.1, V13.1.80\n')
    refused('has no cusparse.h')
    (tmp_path / 'include').mkdir()
    (tmp_path / 'include' / 'cusparse.h').touch()
    setup_env.need_toolkit(PYTHON)
    (tmp_path / 'bin' / 'nvcc').unlink()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    setup_env.need_toolkit(PYTHON)


def test_a_driver_that_does_not_fit_is_said(setup_env, asked_here, monkeypatch, tmp_path, capsys):
    def init():
        raise RuntimeError(
            'The NVIDIA driver on your system is too old (found version 12020). Please update'
        )

    monkeypatch.setattr(torch.cuda, 'init', init)
    monkeypatch.setattr(setup_env, 'DRIVER', tmp_path / 'version')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    setup_env.warn_of_driver(PYTHON)
    (tmp_path / 'version').write_text(
        'NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 2023\nGCC 12.3.0\n'
    )
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    setup_env.warn_of_driver(PYTHON)
    assert capsys.readouterr().err == ''
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    setup_env.warn_of_driver(PYTHON)
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and 'NVIDIA driver 535.104.05 is installed' in said
    assert 'torch for CUDA 13.0 says' in said and 'too old (found version 12020) (' in said
    monkeypatch.setattr(torch.cuda, 'init', lambda: None)
    setup_env.warn_of_driver(PYTHON)
    assert capsys.readouterr().err == ''


@pytest.fixture
def set_up(setup_env, monkeypatch, tmp_path, repo_root):
    """The whole script on a checkout where everything works; gives the calls of pip."""
    (tmp_path / '.venv').mkdir()
    for name in ('requirements.txt', 'setup.py'):
        (tmp_path / name).write_text((repo_root / name).read_text())
    calls = []
    monkeypatch.setattr(setup_env, 'ROOT', tmp_path)
    monkeypatch.setattr(setup_env, 'DRIVER', tmp_path / 'none')
    monkeypatch.setattr(setup_env, 'make_venv', lambda folder: PYTHON)
    monkeypatch.setattr(setup_env, 'works', lambda python, code: True)
    monkeypatch.setattr(setup_env, 'pip', lambda python, *words, what: calls.append((what, *words)))
    monkeypatch.setattr(setup_env, 'refuse_other_brand', lambda python, stack: None)
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / '.venv'))

    def run(*options):
        calls.clear()
        monkeypatch.setattr(sys, 'argv', ['setup_env', *options])
        setup_env.main()
        return calls

    return run


def test_another_torch_index_brings_another_torch(set_up):
    """In the .venv of the checkout; what is noted there is not installed again."""

    def torch_from(*options):
        calls = set_up(*options)
        return [words[-1] for words in calls if '--force-reinstall' in words], len(calls)

    assert torch_from()[0] == []
    assert torch_from() == ([], 0)
    assert torch_from('--torch-index', 'index/cpu', '--active') == ([], 0)
    assert torch_from('--torch-index', 'index/cpu')[0] == ['index/cpu']
    assert torch_from('--torch-index', 'index/cpu') == ([], 0)
    assert torch_from() == ([], 0)
    assert torch_from('--torch-index', 'index/cu126')[0] == ['index/cu126']


@pytest.mark.parametrize('installed', [True, False])
def test_stale_ops_are_built_again_for_any_purpose(setup_env, set_up, monkeypatch, installed):
    """The quickstart needs none, but an mmcv with ops for another torch does not import."""
    built = []
    monkeypatch.setattr(
        setup_env,
        'works',
        lambda python, code: {setup_env.HAS_OPS: installed, setup_env.NMS: bool(built)}.get(
            code, True
        ),
    )
    monkeypatch.setattr(setup_env, 'install_ops', lambda python, package: built.append(package))
    others = next(words for words in set_up() if words[0].startswith('installing requirements'))
    lines = setup_env.requirement_lines(setup_env.ROOT / 'requirements.txt')
    pin = next(line for line in lines if line.startswith('onedl-mmcv=='))
    assert built == ([pin] if installed else [])
    assert (pin in others) is not installed


def test_ops_are_found_without_importing_mmcv(setup_env, tmp_path):
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').write_text('import no_such_module')

    def found():
        code = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); {setup_env.HAS_OPS}'
        return setup_env.works(PYTHON, code)

    assert not found()
    (tmp_path / 'mmcv' / '_ext.cpython-311-x86_64-linux-gnu.so').touch()
    assert found()


def test_without_a_compiler_it_says_so(setup_env, asked_here, monkeypatch):
    Machine(setup_env, monkeypatch)
    monkeypatch.setattr(setup_env.shutil, 'which', lambda name: None)
    monkeypatch.delenv('CXX', raising=False)
    with pytest.raises(setup_env.SetupError, match='C\\+\\+ compiler'):
        setup_env.install_ops(Path(sys.executable), 'mmcv==2.1.0')


@pytest.mark.parametrize('index', [None, 'index/cpu'])
def test_a_torch_that_works_is_kept(setup_env, asked_here, monkeypatch, index):
    """Also where torchvision is missing or broken: then the one that fits that torch comes."""
    calls, seen = [], {'torchvision': True}

    def pip(python, *words, what):
        calls.append(words)
        seen['torchvision'] = words[0] == 'install'

    monkeypatch.setattr(setup_env, 'pip', pip)
    monkeypatch.setattr(
        setup_env, 'works', lambda python, code: 'torchvision' not in code or seen['torchvision']
    )
    pins = ['torch==9.9', 'torchvision==9.9']
    setup_env.install_torch(PYTHON, pins, index, False)
    assert calls == []
    seen['torchvision'] = False
    setup_env.install_torch(PYTHON, pins, index, False)
    where = ('--index-url', index) if index else ()
    kept = f'torch=={metadata.version("torch")}'  # not torch.__version__, which is set above
    assert calls == [
        ('uninstall', '--yes', 'torchvision'),
        ('install', 'torchvision', kept, *where),
    ]


@pytest.mark.parametrize('broken', ['torch', 'torchvision'])
def test_a_torch_that_stays_broken_is_one_line(setup_env, asked_here, monkeypatch, broken):
    monkeypatch.setattr(setup_env, 'pip', lambda *words, what: None)
    monkeypatch.setattr(setup_env, 'works', lambda python, code: broken not in code)
    with pytest.raises(setup_env.SetupError, match=f'^{broken} was installed but does not import'):
        setup_env.install_torch(PYTHON, ['torch==9.9', 'torchvision==9.9'], None, False)


def test_the_other_brand_in_the_active_environment_is_refused(setup_env):
    listed = subprocess.run(
        [sys.executable, '-c', 'import importlib.metadata as m; m.version("onedl-mmcv")'],
        capture_output=True,
    )
    installed = 'onedl' if listed.returncode == 0 else 'openmmlab'
    other = 'openmmlab' if installed == 'onedl' else 'onedl'
    setup_env.refuse_other_brand(Path(sys.executable), installed)
    with pytest.raises(setup_env.SetupError, match=f'use --stack {installed}'):
        setup_env.refuse_other_brand(Path(sys.executable), other)


def test_no_suitable_python_is_one_line(repo_root, tmp_path):
    for name in ('bash', 'dirname'):
        (tmp_path / name).symlink_to(f'/usr/bin/{name}')
    done = subprocess.run(
        ['bash', repo_root / 'tools' / 'setup_env.sh'],
        env={'PATH': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ''
    assert (
        done.stderr.startswith('error: no Python 3.10, 3.11 or 3.12')
        and done.stderr.count('\n') == 1
    )
