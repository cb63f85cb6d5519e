import subprocess
import sys
from importlib import metadata

import pytest

from fan_mm import versions
from fan_mm.errors import InputError
from fan_mm.versions import Requirement


def requirement(**changes) -> Requirement:
    fields = dict(module='numpy', at_least='1.0', below='3', distributions=('numpy',), pin='2.2.6')
    return Requirement(**{**fields, **changes})


def test_what_is_installed_is_accepted():
    versions.check_versions()


@pytest.mark.parametrize(
    'changes, verdict',
    [(dict(at_least='99'), 'too old'), (dict(at_least='0.1', below='1'), 'too new')],
)
def test_a_version_out_of_range_is_one_line_with_the_command(monkeypatch, changes, verdict):
    monkeypatch.setattr(versions, 'REQUIRED', (requirement(**changes),))
    with pytest.raises(ImportError) as error:
        versions.check_versions()
    line = str(error.value)
    assert verdict in line and metadata.version('numpy') in line
    assert 'pip install "numpy==2.2.6"' in line and '\n' not in line


def test_a_missing_requirement_is_one_line_with_the_command(monkeypatch):
    absent = requirement(module='absent', distributions=('no-such-distribution',), pin='1.0')
    monkeypatch.setattr(versions, 'REQUIRED', (absent,))
    with pytest.raises(ImportError, match='needs absent: pip install "no-such'):
        versions.check_versions()


def test_a_task_library_out_of_range_only_warns(monkeypatch):
    monkeypatch.setattr(versions, 'TASK_LIBRARIES', (requirement(at_least='99'),))
    with pytest.warns(UserWarning, match='too old'):
        versions.check_versions()


def test_a_missing_task_library_is_said_when_it_is_asked_for(monkeypatch):
    absent = requirement(module='mmseg', distributions=('no-such-distribution',), pin='1.4.2')
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
        'print(*{m.partition(".")[0] for m in set(sys.modules) - before})'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert 'fan_mm' in modules
    assert not heavy & modules


def test_pins_agree_with_the_requirements_file(repo_root):
    lines = (repo_root / 'requirements.txt').read_text().splitlines()
    pinned = dict(line.split('==') for line in lines if '==' in line)
    for r in (*versions.REQUIRED, *versions.TASK_LIBRARIES):
        assert pinned[r.distributions[0]] == r.pin
