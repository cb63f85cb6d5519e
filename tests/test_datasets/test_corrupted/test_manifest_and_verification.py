"""The manifest, the checksums, and what verifying finds."""

import hashlib
import json
import os
import shutil
import subprocess
from concurrent.futures import Executor, Future

import numpy as np
import pytest
from corrupted_files import check, make, pictures, tree
from rich.console import Console

from fan_mm.datasets.corrupted import verify as verifier
from fan_mm.datasets.corrupted.verify import verify
from fan_mm.errors import InputError


def test_manifest(tmp_path, source):
    make(source, tmp_path / 'dst', seed=9)
    manifest = json.loads((tmp_path / 'dst' / 'manifest.json').read_text())
    assert manifest['schema'] == 'fan_mm.corrupted_dataset/1'
    assert manifest['complete'] is True
    assert manifest['options'] == dict(
        layout='cityscapes',
        split='val',
        cells={'gaussian_noise': [1, 3], 'motion_blur': [2], 'snow': [5]},
        seed=9,
        channel_order='rgb',
        file_format='png',
        quality=None,
    )
    assert manifest['versions']['numpy'] == np.__version__
    assert manifest['sources']['images'] == 3
    assert set(manifest['folders']) == {
        'gaussian_noise/1',
        'gaussian_noise/3',
        'motion_blur/2',
        'snow/5',
    }
    sums = (tmp_path / 'dst' / 'checksums' / 'snow' / '5.sha256').read_bytes()
    entry = manifest['folders']['snow/5']
    assert entry == dict(images=3, sha256=hashlib.sha256(sums).hexdigest())


@pytest.mark.skipif(shutil.which('sha256sum') is None, reason='needs sha256sum')
def test_sha256sum_reads_the_checksums(tmp_path, source):
    make(source, tmp_path / 'dst')
    command = ['sha256sum', '--check', '--strict', 'checksums/snow/5.sha256']
    subprocess.run(command, cwd=tmp_path / 'dst', check=True, capture_output=True)


def test_verify_names_what_is_wrong_and_the_same_call_mends_it(tmp_path, source):
    destination = tmp_path / 'dst'
    make(source, destination)
    before = tree(destination)
    missing, damaged, cut = pictures(destination)[:3]
    missing.unlink()
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-20])
    (destination / 'snow' / '5' / 'notes.txt').write_text('mine')
    relative = [p.relative_to(destination).as_posix() for p in (missing, damaged, cut)]
    assert set(check(destination)) == {
        f'missing: {relative[0]}',
        f'damaged: {relative[1]}',
        f'damaged: {relative[2]}',
        'unexpected: snow/5/notes.txt',
    }
    for path in (damaged, cut, destination / 'snow' / '5' / 'notes.txt'):
        path.unlink()
    assert make(source, destination).written == 3
    assert tree(destination) == before
    assert check(destination) == []


def test_verify_holds_few_files_at_a_time(tmp_path, source, monkeypatch):
    """ImageNet-C has 3.75 million."""
    waiting = most = 0

    class Counted(Future):
        def result(self, timeout=None):
            nonlocal waiting
            waiting -= 1
            return super().result(timeout)

    class Counting(Executor):
        def __init__(self, jobs):
            pass

        def submit(self, function, *arguments):
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            future = Counted()
            future.set_result(function(*arguments))
            return future

    make(source, tmp_path / 'dst')
    monkeypatch.setattr(verifier, 'ThreadPoolExecutor', Counting)
    pictures(tmp_path / 'dst')[-1].unlink()
    assert len(check(tmp_path / 'dst')) == 1
    assert (waiting, most) == (0, 2)


def test_verify_notices_changed_checksums(tmp_path, source):
    make(source, tmp_path / 'dst')
    sums = tmp_path / 'dst' / 'checksums' / 'snow' / '5.sha256'
    sums.write_text(sums.read_text().replace('a', 'b'))
    problems = check(tmp_path / 'dst')
    assert len(problems) == 1
    assert 'checksums/snow/5.sha256' in problems[0]


def test_verify_of_what_is_no_corrupted_dataset(tmp_path):
    with pytest.raises(InputError, match=r'manifest\.json'):
        check(tmp_path)
    (tmp_path / 'manifest.json').write_text('[]')
    with pytest.raises(InputError, match='not a manifest'):
        check(tmp_path)


@pytest.mark.parametrize(
    'content', [b'xx', b'no digest  snow/5/a.png\n', b'\xff\xfe\n', b'ab  c\n']
)
@pytest.mark.parametrize('name', ['snow/5.sha256', 'sources.txt'])
def test_damaged_notes_are_one_line(tmp_path, source, tool, name, content):
    make(source, tmp_path / 'dst')
    (tmp_path / 'dst/checksums' / name).write_bytes(content)
    status, output, errors = tool('cityscapes', str(source), str(tmp_path / 'dst'), '--verify')
    if name != 'sources.txt' or content != b'xx':  # a line that a power cut has ended
        assert f'damaged: checksums/{name}' in output
        assert (status, errors) == (1, '')
    if content != b'xx':
        with pytest.raises(InputError, match=f'damaged: .*{name}: remove it'):
            make(source, tmp_path / 'dst')
        (tmp_path / 'dst/checksums' / name).unlink()
    make(source, tmp_path / 'dst')
    assert check(tmp_path / 'dst') == []


@pytest.mark.parametrize(
    'key',
    ['corruption_version', 'versions', 'options', 'sources', 'complete', 'unreadable', 'folders'],
)
@pytest.mark.parametrize('value', [None, 3, [], {'snow/5': 3}])
def test_a_manifest_without_its_parts_is_one_line(tmp_path, source, key, value):
    make(source, tmp_path / 'dst')
    path = tmp_path / 'dst/manifest.json'
    manifest = json.loads(path.read_text())
    for content in (manifest | {key: value}, {k: v for k, v in manifest.items() if k != key}):
        path.write_text(json.dumps(content))
        for run in (lambda: check(tmp_path / 'dst'), lambda: make(source, tmp_path / 'dst')):
            if isinstance(value, dict) and key in ('unreadable', 'versions') and key in content:
                continue  # of the right kind
            with pytest.raises(InputError, match=r'damaged: .*manifest\.json'):
                run()


def test_verifying_takes_the_granted_cores(tmp_path, source, monkeypatch):
    make(source, tmp_path / 'dst')
    threads = []

    class Pool(verifier.ThreadPoolExecutor):
        def __init__(self, number):
            threads.append(number)
            super().__init__(number)

    monkeypatch.setattr(verifier, 'ThreadPoolExecutor', Pool)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {2, 5, 6}, raising=False)
    assert verify(tmp_path / 'dst', console=Console(quiet=True)) == []
    assert threads == [3]
