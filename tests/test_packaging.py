import re
import shutil
import subprocess
import sys
import zipfile

import pytest


def tracked_files(repo_root) -> list:
    try:
        listed = subprocess.run(
            ['git', 'ls-files', '-z'], cwd=repo_root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('not a git checkout')
    return [repo_root / name for name in listed.stdout.split('\0') if name]


def test_configs_and_tools_travel_in_the_wheel(repo_root, tmp_path):
    source = tmp_path / 'source'
    for name in ('fan_mm', 'configs', 'tools', 'requirements'):
        shutil.copytree(repo_root / name, source / name, symlinks=True)
    mim = source / 'fan_mm' / '.mim'  # as an editable install leaves it
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir()
    for name in ('configs', 'tools'):
        (mim / name).symlink_to(f'../../{name}')
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'requirements.txt'):
        shutil.copy(repo_root / name, source)
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', tmp_path, source],
        check=True,
        capture_output=True,
    )  # fmt: skip
    with zipfile.ZipFile(next(tmp_path.glob('*.whl'))) as wheel:
        names = set(wheel.namelist())
    assert 'fan_mm/.mim/configs/fan_hybrid_s_cityscapes.py' in names
    assert 'fan_mm/.mim/configs/_base_/default_runtime.py' in names
    assert 'fan_mm/.mim/tools/test_corruption.py' in names
    assert {'fan_mm/models/backbones/fan_vit.py', 'fan_mm/report/style.css'} <= names
    data = {f.name for f in (repo_root / 'fan_mm' / 'evaluation' / 'data').iterdir()}
    assert {f'fan_mm/evaluation/data/{name}' for name in data} <= names
    assert not any(name.startswith('tests/') for name in names)
    assert all((mim / name).is_symlink() for name in ('configs', 'tools'))


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
