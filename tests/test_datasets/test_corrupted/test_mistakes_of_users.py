"""Wrong arguments, destinations and sources are one line each."""

import os
import shutil

import pytest
from corrupted_files import make, make_source

from fan_mm.datasets.corrupted import worker
from fan_mm.datasets.corrupted.verify import verify
from fan_mm.errors import InputError


def test_destinations_that_would_mix_things_up(tmp_path, source):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'thesis.tex').write_text('mine')
    with pytest.raises(InputError, match='not empty'):
        make(source, tmp_path / 'full')
    assert os.listdir(tmp_path / 'full') == ['thesis.tex']
    with pytest.raises(InputError, match='inside the folder of the clean images'):
        make(source, source / 'leftImg8bit' / 'val' / 'c')
    with pytest.raises(InputError, match='is not a folder'):
        make(source, tmp_path / 'full' / 'thesis.tex')


def test_two_runs_at_once(tmp_path, source):
    fcntl = pytest.importorskip('fcntl')
    (tmp_path / 'dst').mkdir()
    lock = os.open(tmp_path / 'dst', os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(InputError, match='another run'):
        make(source, tmp_path / 'dst')
    os.close(lock)
    assert make(source, tmp_path / 'dst').files == 12


def test_the_tools_mistakes_are_one_line(tmp_path, source, tool):
    for options, message in (
        (['--corruptions', 'snwo'], "did you mean 'snow'"),
        (['--severities', '7'], 'severity'),
        (['--split', 'demo'], 'no folder'),
        (['--split', ''], "--split '' is not a folder"),
        (['--verify'], 'manifest.json'),
    ):
        status, _, errors = tool('cityscapes', str(source), str(tmp_path / 'dst'), *options)
        assert status == 2
        assert errors.startswith('error: ')
        assert message in errors
        assert errors.count('\n') == 1


def test_two_sources_of_one_target(tmp_path):
    make_source(tmp_path, 'coco', count=1)
    shutil.copy(
        tmp_path / 'val2017' / '000000000000.jpg', tmp_path / 'val2017' / '000000000000.png'
    )
    with pytest.raises(InputError, match=r'be written as 000000000000\.png \(0+\.jpg, 0+\.png\)'):
        make(tmp_path, tmp_path / 'dst', 'coco', file_format='png')
    assert make(tmp_path, tmp_path / 'dst', 'coco', file_format='keep').files == 8


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(cells={}), 'no corruptions'),
        (dict(layout='camvid'), "layout must be one of cityscapes, coco, imagenet, not 'camvid'"),
        (dict(jobs=0), 'jobs'),
        (dict(quality=101, file_format='jpg'), 'quality'),
        (dict(quality=90), 'quality'),
        (dict(file_format='webp'), 'format'),
        (dict(channel_order='bgr'), 'channel_order must be one of rgb, bgr-as-rgb'),
        (dict(split='test'), 'leftImg8bit/test'),
    ],
)
def test_wrong_arguments(tmp_path, source, options, message):
    with pytest.raises(InputError, match=message):
        make(source, tmp_path / 'dst', **options)
    assert not (tmp_path / 'dst').exists()


def test_a_verification_by_no_process(tmp_path):
    with pytest.raises(InputError, match='jobs must be at least 1, not 0'):
        verify(tmp_path, jobs=0)


def test_a_folder_without_images(tmp_path):
    (tmp_path / 'val2017').mkdir()
    with pytest.raises(InputError, match=r'no images \(.*\.png.*\) below'):
        make(tmp_path, tmp_path / 'dst', 'coco')


def test_a_killed_worker_is_one_line(tmp_path, source, monkeypatch):
    """Out of memory: the kernel kills a worker."""
    submit = worker.Pool.submit

    def submit_and_kill(pool, *arguments):
        task = submit(pool, *arguments)
        for process in pool._executor._processes.values():
            process.kill()
        return task

    monkeypatch.setattr(worker.Pool, 'submit', submit_and_kill)
    with pytest.raises(InputError, match='fewer --jobs'):
        make(source, tmp_path / 'dst', jobs=2)
