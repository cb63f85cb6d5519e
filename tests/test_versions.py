import subprocess
import sys
from importlib import metadata

import pytest

from fan_mm import versions
from fan_mm.errors import InputError
from fan_mm.versions import Requirement


def requirement(**changes) -> Requirement:
    fields = dict(module='numpy', at_least='1.0', below='3', pins={'numpy': '2.2.6'})
    return Requirement(**{**fields, **changes})


def test_what_is_installed_is_accepted():
    versions.check_versions()


@pytest.mark.parametrize(
    'changes, verdict',
    [
        (dict(at_least='99'), 'too old'),
        (dict(at_least='0.1', below='1'), 'too new'),
        (dict(below=metadata.version('numpy')), 'too new'),
    ],
)
def test_a_version_out_of_range_is_one_line_with_the_command(monkeypatch, changes, verdict):
    monkeypatch.setattr(versions, 'REQUIRED', (requirement(**changes),))
    with pytest.raises(ImportError) as error:
        versions.check_versions()
    line = str(error.value)
    assert verdict in line and metadata.version('numpy') in line
    assert 'pip install "numpy==2.2.6"' in line and '\n' not in line


def test_a_missing_requirement_is_one_line_with_the_command(monkeypatch):
    absent = requirement(module='absent', pins={'no-such-distribution': '1.0'})
    monkeypatch.setattr(versions, 'REQUIRED', (absent,))
    with pytest.raises(ImportError, match='needs absent: pip install "no-such'):
        versions.check_versions()


@pytest.mark.parametrize(
    'installed, command',
    [
        ({'mmengine': '0.8.0', 'mmcv': '2.1.0'}, 'mmengine==0.10.7'),
        ({'onedl-mmengine': '0.8.0', 'onedl-mmcv': '2.3.6'}, 'onedl-mmengine==0.10.12'),
        ({'mmcv': '2.1.0'}, 'mmengine==0.10.7'),
        ({'onedl-mmcv': '2.3.6'}, 'onedl-mmengine==0.10.12'),
        ({}, 'onedl-mmengine==0.10.12'),
        ({'mmengine': '0.10.7', 'mmdet': '3.3.0'}, 'mmcv==2.1.0'),
        ({'mmengine-lite': '0.8.0'}, 'mmengine-lite==0.10.7'),
    ],
)
def test_the_command_is_of_the_brand_that_is_installed(monkeypatch, installed, command):
    everything = {'torch': '2.11.0', 'numpy': '2.2.6', 'opencv-python': '4.12.0.88', **installed}

    def version(name):
        if name not in everything:
            raise metadata.PackageNotFoundError(name)
        return everything[name]

    monkeypatch.setattr(metadata, 'version', version)
    with pytest.raises(ImportError, match=f'pip install "{command}"$'):
        versions.check_versions()


def test_a_task_library_out_of_range_only_warns(monkeypatch):
    monkeypatch.setattr(versions, 'TASK_LIBRARIES', (requirement(at_least='99'),))
    with pytest.warns(UserWarning, match='too old'):
        versions.check_versions()


def test_a_missing_task_library_is_said_when_it_is_asked_for(monkeypatch):
    absent = requirement(module='mmseg', pins={'no-such-distribution': '1.4.2'})
    monkeypatch.setattr(versions, 'TASK_LIBRARIES', (absent,))
    with pytest.raises(InputError, match='needs mmseg'):
        versions.require_task_library('mmseg')


def test_importing_needs_no_task_library_and_nothing_heavy():
    heavy = {
        *('mmseg', 'mmdet', 'mmpretrain', 'matplotlib', 'rich'),
        *('scipy', 'sklearn', 'skimage', 'numba', 'imagecorruptions'),
    }
    # What mmengine and mmcv themselves import does not count against us.
    code = (
        'import sys, torch, mmengine.runner, mmcv.transforms, mmcv.cnn\n'
        'before = set(sys.modules)\n'
        'import fan_mm\n'
        'assert mmengine.registry.DATASETS.get("CamVidDataset")\n'
        'print(*{m.partition(".")[0] for m in set(sys.modules) - before})'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert 'fan_mm' in modules
    assert not heavy & modules


def test_pins_agree_with_the_requirements_files(repo_root):
    pinned = {}
    for name in ('requirements.txt', 'requirements/openmmlab.txt'):
        lines = (repo_root / name).read_text().splitlines()
        pinned.update(line.split('==') for line in lines if '==' in line)
    for r in (*versions.REQUIRED, *versions.TASK_LIBRARIES):
        for name, pin in r.pins.items():
            assert pinned.get(name.removesuffix('-lite'), pin) == pin
        assert next(iter(r.pins)) in pinned
