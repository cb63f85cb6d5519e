import os

import pytest

from fan_mm.datasets.corrupted import layouts
from fan_mm.datasets.shifts import paths
from fan_mm.errors import InputError
from fan_mm.folders import files_below
from fan_mm.images import find_images


@pytest.fixture
def tree(tmp_path):
    """Files, links to folders (forth, back, to each other), hidden and lost ones."""
    top, far = tmp_path / 'top', tmp_path / 'far'
    hidden = ('.hid/3.png', 'a/._1.png', '@eaDir/1.png/small.png')
    for file in (top / 'a/1.png', far / '2.png', *(top / name for name in hidden)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (top / 'lost.png').symlink_to('nowhere')
    (top / 'itself.png').symlink_to('itself.png')
    (top / 'file.png').symlink_to('a/1.png')
    (top / 'far').symlink_to(far)
    (far / 'back').symlink_to(top)
    (top / 'a/here').symlink_to('.')
    if hasattr(os, 'mkfifo'):
        os.mkfifo(top / 'pipe.png')
    return top


FOUND = ['a/1.png', 'far/2.png', 'file.png', 'itself.png', 'lost.png']


def test_files_below(tree):
    assert sorted('/'.join(parts) for parts in files_below(tree)) == FOUND


FINDERS = {
    'demo': lambda folder: [relative.as_posix() for _, relative in find_images(folder)],
    'generator': lambda folder: layouts.find_images(folder)[0],
    'sets': lambda folder: ['/'.join(parts) for parts in paths.files_below(folder, 'a set')],
}


@pytest.mark.parametrize('finder', FINDERS)
def test_every_tool_finds_the_same_files(tree, finder):
    assert FINDERS[finder](tree) == FOUND


def test_two_links_in_a_folder_may_lead_to_one_place(tree):
    (tree / 'far2').symlink_to(tree / 'far')
    assert sorted('/'.join(parts) for parts in files_below(tree)) == sorted([*FOUND, 'far2/2.png'])


@pytest.mark.parametrize('finder', FINDERS)
def test_a_folder_that_cannot_be_read_is_said(tree, finder, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith('/a'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scan(path)

    monkeypatch.setattr('os.scandir', refuse)
    with pytest.raises(InputError, match=r'cannot read .*top/a: Permission denied'):
        FINDERS[finder](tree)
