"""The decisions of the set-up script; what it installs for real is proved by every CI run."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def setup_env(repo_root, monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location('setup_env', repo_root / 'tools' / 'setup_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return module


class Machine:
    """Stands for pip and the environment: ops work once a good wheel is installed."""

    def __init__(self, module, monkeypatch):
        self.good, self.calls = False, []
        monkeypatch.setattr(module, 'works', lambda python, code: self.good)
        monkeypatch.setattr(module, 'pip', self.pip)

    def pip(self, python, command, *arguments, what, env=None):
        self.calls.append(what)
        if command == 'wheel':
            folder = Path(arguments[arguments.index('-w') + 1])
            (folder / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl').write_text('good')
        else:
            self.good = Path(arguments[-1]).read_text() == 'good'


def cache_of(module) -> Path:
    key = module.ops_key(Path(sys.executable), 'mmcv==2.1.0')
    return Path(os.environ['XDG_CACHE_HOME']) / 'fan_mm' / 'wheels' / key


def test_the_wheel_is_built_once_and_kept(setup_env, monkeypatch):
    machine = Machine(setup_env, monkeypatch)
    setup_env.install_ops(Path(sys.executable), 'mmcv==2.1.0')
    assert machine.calls == ['compiling mmcv ops', 'installing the compiled wheel']
    machine.good, machine.calls = False, []
    setup_env.install_ops(Path(sys.executable), 'mmcv==2.1.0')
    assert machine.calls == ['installing the kept wheel']


def test_a_stale_wheel_is_built_again(setup_env, monkeypatch):
    machine = Machine(setup_env, monkeypatch)
    folder = cache_of(setup_env)
    folder.mkdir(parents=True)
    (folder / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl').write_text('for another torch')
    setup_env.install_ops(Path(sys.executable), 'mmcv==2.1.0')
    assert machine.calls[:2] == ['installing the kept wheel', 'compiling mmcv ops'] and machine.good


def test_ops_that_work_are_left_alone(setup_env, monkeypatch):
    machine = Machine(setup_env, monkeypatch)
    machine.good = True
    setup_env.install_ops(Path(sys.executable), 'mmcv==2.1.0')
    assert machine.calls == []


def test_the_cache_key_names_all_that_a_wheel_depends_on(setup_env, monkeypatch):
    import torch

    key = setup_env.ops_key(Path(sys.executable), 'onedl-mmcv==2.3.6')
    assert 'onedl-mmcv-2.3.6' in key and f'torch{torch.__version__}' in key
    assert f'cp{sys.version_info[0]}{sys.version_info[1]}' in key
    assert (torch.version.cuda if torch.cuda.is_available() else 'cpu') in key


def test_without_a_compiler_it_says_so(setup_env, monkeypatch):
    Machine(setup_env, monkeypatch)
    monkeypatch.setattr(setup_env.shutil, 'which', lambda name: None)
    monkeypatch.delenv('CXX', raising=False)
    with pytest.raises(setup_env.SetupError, match='C\\+\\+ compiler'):
        setup_env.install_ops(Path(sys.executable), 'mmcv==2.1.0')


def test_a_torch_that_works_is_kept(setup_env, monkeypatch):
    machine = Machine(setup_env, monkeypatch)
    machine.good = True
    setup_env.install_torch(Path(sys.executable), ['torch==2.11.0'], None)
    assert machine.calls == []


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
