"""A dataset that is there: what is added to it, and what is refused."""

import json

import pytest
from corrupted_files import CELLS, check, make, pictures, tree

from fan_mm.errors import InputError


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(seed=1), 'seed 0 there, 1 now'),
        (dict(file_format='jpg'), 'file format png there, jpg now'),
        (dict(channel_order='bgr-as-rgb'), 'channel order rgb there, bgr-as-rgb now'),
        (dict(cells=CELLS | {'snow': (4,)}), r'severities of snow \[5\] there, \[4\] now'),
        (dict(cells={'fog': (1,)}), r'severities of motion_blur \[2\] there, none now'),
    ],
)
def test_other_options_are_refused_not_mixed(tmp_path, source, change, message):
    make(source, tmp_path / 'dst')
    before = tree(tmp_path / 'dst')
    with pytest.raises(InputError, match=message):
        make(source, tmp_path / 'dst', **change)
    assert tree(tmp_path / 'dst') == before


def test_equal_differences_are_said_once(tmp_path, source):
    names = ('fog', 'frost', 'snow', 'spatter', 'contrast')
    make(source, tmp_path / 'dst', cells=dict.fromkeys(names, (1,)))
    with pytest.raises(InputError) as error:
        make(source, tmp_path / 'dst', cells=dict.fromkeys(names, (2,)), seed=1)
    assert str(error.value).startswith(
        f'{tmp_path}/dst was made with other options (seed 0 there, 1 now; '
        'severities of fog, frost, snow and 2 more [1] there, [2] now): '
    )


def test_more_cells_are_added_to_those_that_stay(tmp_path, source):
    more = {'gaussian_noise': (1, 2, 3), 'motion_blur': (2,), 'fog': (1,), 'snow': (4, 5)}
    make(source, tmp_path / 'dst')
    files = pictures(tmp_path / 'dst')
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    assert make(source, tmp_path / 'dst', cells=more).written == 9
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before
    make(source, tmp_path / 'at_once', cells=more)
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'at_once')
    assert check(tmp_path / 'dst') == []


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('corruption_version', '0', 'corruption version 0 there'),
        ('versions', {'numpy': '1.0'}, 'numpy 1.0 there'),
        ('sources', {'images': 2, 'sha256': ''}, 'source images 2 there, 3 now'),
        ('sources', {'images': 3, 'sha256': ''}, 'names differ'),
        ('schema', 'fan_mm.corrupted_dataset/99', 'schema'),
    ],
)
def test_a_manifest_of_other_code_or_sources_is_refused(tmp_path, source, key, value, message):
    make(source, tmp_path / 'dst')
    path = tmp_path / 'dst' / 'manifest.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(InputError, match=message):
        make(source, tmp_path / 'dst')
