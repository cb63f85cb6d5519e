import itertools
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


@pytest.mark.parametrize('number', [2, 9])
def test_folders_that_link_to_each_other_are_found_in_each_other_once(tmp_path, number):
    names = [str(i) for i in range(number)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / 'picture.png').touch()
        for other in names:
            if other != name:
                (tmp_path / name / other).symlink_to(tmp_path / other)
    found = list(files_below(tmp_path))
    ways = [(name,) for name in names] + list(itertools.permutations(names, 2))
    assert sorted(found) == sorted((*way, 'picture.png') for way in ways)


def test_a_linked_folder_may_have_links(tmp_path):
    top, data, far = (tmp_path / name for name in ('top', 'data', 'far'))
    for folder in (top / 'real', data, far / 'below'):
        folder.mkdir(parents=True)
        (folder / '1.png').touch()
    for name in ('rain', 'fog'):  # one place
        (top / name).symlink_to(data)
    (data / 'more').symlink_to(far)
    (data / 'below').symlink_to(far / 'below')
    found = {'/'.join(parts) for parts in files_below(top)}
    of_data = ('1.png', 'more/below/1.png', 'below/1.png')
    assert found == {'real/1.png', *(f'{n}/{file}' for n in ('rain', 'fog') for file in of_data)}


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
