"""Sources that are changed after copies of them were made."""

import io

import cv2
import pytest
from corrupted_files import CELLS, Interrupted, make, make_source, pictures, scene, stop_after, tree
from rich.console import Console

from fan_mm.datasets.corrupted import copies
from fan_mm.datasets.corrupted.verify import verify
from fan_mm.errors import InputError


def edit(path):
    """Another picture of equal length."""
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def replace(path):
    cv2.imwrite(str(path), scene())


@pytest.mark.parametrize('change', [edit, replace])
@pytest.mark.parametrize('ended', ['whole', 'stopped', 'killed'])
def test_a_changed_source_is_refused_and_named(tmp_path, source, monkeypatch, change, ended):
    if ended == 'whole':
        make(source, tmp_path / 'dst')
    else:
        with monkeypatch.context() as patch:
            stop_after(patch, 5, Interrupted())
            if ended == 'killed':
                patch.setattr(copies.Copies, 'save_checksums', lambda self: {})
            with pytest.raises(Interrupted):
                make(source, tmp_path / 'dst')
    before = tree(tmp_path / 'dst')
    first = pictures(source)[0]
    data = first.read_bytes()
    change(first)
    with pytest.raises(
        InputError, match=f'{first.name} below .* changed after their copies were made'
    ):
        make(source, tmp_path / 'dst')
    with pytest.raises(InputError, match='changed after'):
        make(source, tmp_path / 'dst', cells=CELLS | {'fog': (1,)})
    assert {n: d for n, d in tree(tmp_path / 'dst').items() if n.endswith('.png')} == {
        n: d for n, d in before.items() if n.endswith('.png')
    }
    first.write_bytes(data)
    make(source, tmp_path / 'dst')
    make(source, tmp_path / 'whole')
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')


def test_an_edit_among_many_is_found_when_the_picture_is_read(tmp_path, monkeypatch):
    source = make_source(tmp_path / 'src', 'coco', count=8)
    make(source, tmp_path / 'dst', 'coco', {'fog': (1,)})
    monkeypatch.setattr(copies, '_SAMPLE', 1)
    edited = pictures(source)[5]
    edit(edited)
    make(source, tmp_path / 'dst', 'coco', {'fog': (1,)})  # nothing is read
    folder = source / 'val2017'
    line = f'source changed after its copies were made: {edited.name}'
    assert verify(tmp_path / 'dst', folder, jobs=1, console=Console(quiet=True)) == [line]
    for jobs in (1, 2):
        with pytest.raises(InputError, match=f'{edited.name} below .* changed after'):
            make(source, tmp_path / 'dst', 'coco', {'fog': (1, 2)}, jobs=jobs)
    assert not (tmp_path / 'dst/fog_2' / edited.name).exists()


def test_a_source_without_copies_may_change(tmp_path, source, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 0, Interrupted())
        with pytest.raises(Interrupted):
            make(source, tmp_path / 'dst')
    replace(pictures(source)[0])
    make(source, tmp_path / 'dst')
    make(source, tmp_path / 'whole')
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')


def test_a_dataset_of_an_earlier_version_goes_on_and_says_what_is_not_known(tmp_path, source):
    make(source, tmp_path / 'dst')
    (tmp_path / 'dst/checksums/sources.txt').unlink()
    console = Console(record=True, width=300, file=io.StringIO())
    cells = CELLS | {'fog': (1,)}
    assert make(source, tmp_path / 'dst', cells=cells, console=console).written == 3
    assert 'changes of them cannot be detected' in console.export_text()
    make(source, tmp_path / 'whole', cells=cells)
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')
