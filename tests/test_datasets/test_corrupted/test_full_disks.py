"""The space that is needed, and disks that have less."""

import errno
import hashlib
import io
import os
import shutil
import subprocess

import cv2
import pytest
from corrupted_files import CELLS, make, make_source, pictures, stop_after, tree
from rich.console import Console

from fan_mm.datasets.corrupted import generate as generator
from fan_mm.errors import InputError


def test_more_cells_that_do_not_fit_leave_the_dataset_whole(tmp_path, source, monkeypatch):
    make(source, tmp_path / 'dst')
    before = tree(tmp_path / 'dst')
    monkeypatch.setattr(generator._Run, 'estimate', lambda *_: 10**18)
    with pytest.raises(InputError, match='free some space'):
        make(source, tmp_path / 'dst', cells=CELLS | {'fog': (1,)})
    assert tree(tmp_path / 'dst') == before


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_nothing_is_half_written(tmp_path, source, monkeypatch, number):
    make(source, tmp_path / 'whole')
    with monkeypatch.context() as patch:
        stop_after(patch, 4, OSError(number, os.strerror(number)))
        with pytest.raises(InputError, match='is full') as caught:
            make(source, tmp_path / 'dst')
    assert '\n' not in str(caught.value)
    whole = tree(tmp_path / 'whole')
    for path in pictures(tmp_path / 'dst'):
        name = path.relative_to(tmp_path / 'dst').as_posix()
        assert hashlib.sha256(path.read_bytes()).hexdigest() == whole[name]
    make(source, tmp_path / 'dst')
    assert tree(tmp_path / 'dst') == whole


def test_a_disk_that_is_really_full(tmp_path, monkeypatch):
    mount = tmp_path / 'small'
    mount.mkdir()
    tmpfs = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(mount)]
    if shutil.which('mount') is None or subprocess.run(tmpfs, capture_output=True).returncode:
        pytest.skip('cannot mount a small file system here')
    try:
        source = make_source(tmp_path / 'src', 'cityscapes', count=8, size=(128, 256))
        with pytest.raises(InputError, match='free some space'):  # the estimate says so before
            make(source, mount / 'dst')
        assert pictures(mount) == []
        roomy = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(generator.shutil, 'disk_usage', lambda path: roomy)
        with pytest.raises(InputError, match='is full'):
            make(source, mount / 'dst', jobs=2)
        monkeypatch.undo()
        assert pictures(mount)
        assert all(cv2.imread(str(path)) is not None for path in pictures(mount))
        assert not [path for path in mount.rglob('.*') if path.is_file()]
    finally:
        subprocess.run(['umount', str(mount)], check=True)


def test_the_space_needed_is_said_before_the_start(tmp_path, monkeypatch):
    # Larger than the pieces that are encoded, and each image different.
    source = make_source(tmp_path / 'src', 'cityscapes', count=4, size=(600, 900))
    said = []
    monkeypatch.setattr(generator, 'readable', lambda size: said.append(size) or f'{size} bytes')
    console = Console(record=True, width=200, file=io.StringIO())
    make(source, tmp_path / 'dst', console=console)
    used = sum(path.stat().st_size for path in pictures(tmp_path / 'dst'))
    assert said[0] == pytest.approx(used, rel=0.1)
    text = console.export_text()
    assert f'4 images x 4 cells = 16 images in {tmp_path / "dst"}' in text
    assert f'about {said[0]} bytes to write, {said[1]} bytes free' in text
    assert text.index('to write') < text.index('corrupting')
    assert '16/16' in text
    assert 'images/s' in text
