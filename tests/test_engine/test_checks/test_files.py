"""Pictures as a pipeline loads them, in which size and how turned; and those that a list names twice."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fan_mm.engine.checks import files
from fan_mm.engine.checks.files import listed_twice, other_size, turned_photos

LOADER = dict(type='LoadImageFromFile')


def photo(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new('RGB', (40, 20)).save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    ('orientation', 'loader', 'loaded'),
    [
        (1, LOADER, (20, 40)),
        (3, LOADER, (20, 40)),
        (6, LOADER, (40, 20)),
        (8, dict(LOADER, imdecode_backend='pillow'), (40, 20)),
        (6, dict(LOADER, color_type='color_ignore_orientation'), (20, 40)),
        (6, dict(LOADER, color_type='unchanged'), (20, 40)),
    ],
)
def test_the_loader_says_whether_exif_turns_a_photo(tmp_path, orientation, loader, loaded):
    file = photo(tmp_path / 'a.jpg', orientation)
    pipeline = [loader, dict(type='Other')]
    assert other_size(file, loaded, pipeline) == ''
    wrong = other_size(file, loaded[::-1], pipeline)
    turned = loaded == (40, 20)
    assert wrong == ('20x40 when rotated according to EXIF' if turned else '40x20')


@pytest.mark.parametrize('pipeline', [None, [], [dict(type='ReadsItself')], [object()]])
def test_both_sizes_are_right_where_nobody_says(tmp_path, pipeline):
    file = photo(tmp_path / 'a.jpg', 6)
    assert other_size(file, (20, 40), pipeline) == other_size(file, (40, 20), pipeline) == ''
    assert other_size(file, (40, 40), pipeline) == '40x20'


def photos(root, *orientations):
    """Photos of a dark left half and a bright quarter."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:10, 20:] = 255
    for number, orientation in enumerate(orientations):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(root / f'{number}.jpg', exif=exif)
    return sorted(root.iterdir())


IGNORING = dict(LOADER, color_type='color_ignore_orientation')


@pytest.mark.parametrize('orientation', range(2, 9))
@pytest.mark.parametrize(
    ('loader', 'how'),
    [
        (LOADER, 'rotates them'),
        (dict(LOADER, imdecode_backend='pillow', to_float32=True), 'rotates them'),
        (IGNORING, 'leaves them as stored'),
        (dict(type='ReadsItself'), 'may rotate them or not'),
    ],
)
def test_photos_that_are_turned_are_said_once(tmp_path, orientation, loader, how):
    paths = photos(tmp_path, 1, 1, orientation, orientation, 1)
    (note,) = turned_photos('test_dataloader.dataset', paths, [loader])
    assert note.startswith(
        'test_dataloader.dataset: 2 of 5 images checked have an EXIF orientation, such as '
        f'{orientation} of {paths[2]}; the pipeline {how}, and the labels must match: '
    )


def test_upright_photos_and_what_is_none_are_not_said(tmp_path):
    files = [*photos(tmp_path, 1, 1), tmp_path / 'none.jpg', None]
    assert turned_photos('place', files, [LOADER]) == []


@pytest.mark.parametrize(('images', 'checked'), [(0, 0), (1, 1), (200, 200), (2000, 200)])
def test_so_many_photos_are_looked_at_evenly_spaced(monkeypatch, images, checked):
    asked = []

    def read(path):
        asked.append(path)
        return SimpleNamespace(orientation=6)

    monkeypatch.setattr(files, 'read_header', read)
    paths = [f'{i:04d}' for i in range(images)]
    notes = turned_photos('place', paths, [])
    assert len(set(asked)) == len(asked) == checked
    if checked:
        assert (min(asked), max(asked)) == (paths[0], paths[-1])
        gaps = np.diff(sorted(map(int, asked)))
        assert set(gaps) <= {images // checked, images // checked + 1}
        assert notes[0].startswith(f'place: {checked} of {checked} images checked')


def test_listed_twice():
    assert listed_twice('list.txt', ['a', 'b']) == []
    (note,) = listed_twice('list.txt', ['b', 'a', 'b', 'a', 'b'])
    assert note.startswith('list.txt: 2 images listed more than once (the first is b, 3 times)')
