import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from fan_mm.datasets.scenes import write_cityscapes

CONTENT = ('configs', 'tools', 'model-index.yml')  # of fan_mm/.mim


def tracked_files(repo_root) -> list:
    try:
        listed = subprocess.run(
            ['git', 'ls-files', '-z'], cwd=repo_root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('not a git checkout')
    return [repo_root / name for name in listed.stdout.split('\0') if name]


@pytest.fixture(scope='module')
def wheel(repo_root, tmp_path_factory):
    """The wheel of a checkout that is installed editable at the same time."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    for name in ('fan_mm', 'configs', 'tools', 'requirements'):
        shutil.copytree(repo_root / name, source / name, symlinks=True)
    mim = source / 'fan_mm' / '.mim'  # as an editable install leaves it
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir()
    for name in CONTENT:
        (mim / name).symlink_to(f'../../{name}')
    files = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'requirements.txt')
    for name in (*files, 'model-index.yml'):
        shutil.copy(repo_root / name, source)
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', folder, source],
        check=True,
        capture_output=True,
    )  # fmt: skip
    assert all((mim / name).is_symlink() for name in CONTENT)
    return next(folder.glob('*.whl'))


def test_configs_and_tools_travel_in_the_wheel(repo_root, wheel):
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    assert 'fan_mm/.mim/configs/fan_hybrid_s_cityscapes.py' in names
    assert 'fan_mm/.mim/configs/_base_/default_runtime.py' in names
    assert 'fan_mm/.mim/tools/test_corruption.py' in names
    assert {'fan_mm/.mim/model-index.yml', 'fan_mm/py.typed'} <= names
    assert {
        'fan_mm/models/backbones/fan_vit.py',
        'fan_mm/report/style.css',
        'fan_mm/report/explorer.js',
    } <= names
    data = {f.name for f in (repo_root / 'fan_mm' / 'evaluation' / 'data').iterdir()}
    assert {f'fan_mm/evaluation/data/{name}' for name in data} <= names
    assert not any(name.startswith('tests/') for name in names)


@pytest.mark.slow
def test_the_wheel_alone_trains_tests_and_sweeps(wheel, tmp_path):
    """As installed with pip beside one task library, from a folder that knows nothing of a checkout."""
    pytest.importorskip('mmseg')
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'env'], check=True)
    python = tmp_path / 'env' / 'bin' / 'python'
    (site,) = (tmp_path / 'env' / 'lib').glob('python3*/site-packages')
    # what else is installed, without what would be there twice and the other task libraries
    others = tmp_path / 'others'
    others.mkdir()
    for path in Path(sysconfig.get_path('purelib')).iterdir():
        if path.suffix != '.pth' and not re.match(
            '__editable__|fan_mm|mmdet|mmpretrain', path.name
        ):
            (others / path.name).symlink_to(path)
    installed = Path(sysconfig.get_path('purelib'), 'distutils-precedence.pth')  # of setuptools
    distutils = installed.read_text() if installed.is_file() else ''
    (site / 'others.pth').write_text(f'{others}\n{distutils}')
    install = [
        sys.executable,
        '-m',
        'pip',
        '--python',
        python,
        'install',
        '-q',
        '--no-deps',
        '--no-index',
    ]
    subprocess.run([*install, wheel], check=True, capture_output=True)

    def run(*words):
        done = subprocess.run(
            [tmp_path / 'env' / 'bin' / 'fan-mm', *map(str, words)],
            cwd=tmp_path,
            env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
            | dict(OMP_NUM_THREADS='1'),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    small = ['--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    small += [f'{name}_dataloader.num_workers=0' for name in ('train', 'val', 'test')]
    small += [f'{name}_dataloader.persistent_workers=False' for name in ('train', 'val', 'test')]
    write_cityscapes(tmp_path / 'data/toy_cityscapes', (64, 128), 2, 2)
    run('train', 'fan_hybrid_toy_cityscapes', *small)
    weights = 'work_dirs/fan_hybrid_toy_cityscapes/iter_2.pth'
    assert 'mIoU' in run('test', 'fan_hybrid_toy_cityscapes', weights, *small)
    chosen = ['--corruptions', 'fog', '--severities', 3]
    sweep = run('test-corruption', 'fan_hybrid_toy_cityscapes', weights, *chosen, *small)
    assert 'retention' in sweep
    assert (tmp_path / 'work_dirs/fan_hybrid_toy_cityscapes/robustness/report.html').is_file()


def test_no_machine_path_and_no_registry_host_in_the_tree(repo_root):
    # written apart so that this file does not find itself
    forbidden = re.compile(
        '|'.join(
            [
                '/ho' + 'me/',
                '/ro' + 'ot/',
                '/wo' + 'rk/',
                'py' + r'pi\.org',
                r'download\.py' + 'torch',
            ]
        )
    )
    found = []
    for path in tracked_files(repo_root):
        if (
            path.suffix in ('.py', '.sh', '.md', '.txt', '.toml', '.yaml', '.json', '')
            and path.is_file()
        ):
            for number, line in enumerate(path.read_text(errors='ignore').splitlines(), 1):
                if forbidden.search(line):
                    found.append(f'{path.name}:{number}: {line.strip()}')
    assert found == []


def test_ruff_is_content(repo_root):
    pytest.importorskip('ruff')
    for arguments in (['check', '-q', '.'], ['format', '-q', '--check', '.']):
        done = subprocess.run(
            [sys.executable, '-m', 'ruff', *arguments],
            cwd=repo_root,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
