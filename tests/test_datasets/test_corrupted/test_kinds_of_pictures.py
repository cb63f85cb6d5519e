"""Every kind of picture and name becomes what mmcv reads of it, or is left out by name."""

import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from corrupted_files import check, make, make_source, pictures, scene
from mmengine.registry import TRANSFORMS
from PIL import Image
from rich.console import Console

from fan_mm.datasets.corrupted.manifest import read_manifest
from fan_mm.datasets.corrupted.verify import verify
from fan_mm.errors import InputError
from fan_mm.fileio import printable


def save_as(path, convert=lambda image: image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    convert(Image.fromarray(scene())).save(path, **options)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return dict(exif=exif)


def deep(image):
    return Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)


def with_alpha(image):
    image = image.convert('RGBA')
    image.putalpha(100)
    return image


ANIMATED = dict(save_all=True, append_images=[Image.new('RGB', (96, 64))])

# name -> how it is converted and saved, what is said of it
KINDS = {
    'a.jpg': (None, {}, None),
    'b.JPG': (None, {}, None),
    'c.jpeg': (None, {}, None),
    'd.jfif': (None, dict(format='JPEG'), None),
    'turned.jpg': (None, turned(6), 'rotated according to EXIF'),
    'flipped.jpg': (None, turned(3), 'rotated according to EXIF'),
    'turned.png': (None, turned(8), 'rotated according to EXIF'),
    'grey.png': (lambda image: image.convert('L'), {}, None),
    'bits.png': (lambda image: image.convert('1'), {}, None),
    'palette.png': (lambda image: image.convert('P'), {}, None),
    'cmyk.jpg': (lambda image: image.convert('CMYK'), {}, None),
    'deep.png': (deep, {}, 'reduced to 8 bits'),
    'alpha.png': (with_alpha, {}, 'without transparency'),
    'moving.png': (None, ANIMATED, 'with only the first of several frames or pages'),
    'moving.webp': (None, ANIMATED, 'with only the first of several frames or pages'),
    'pages.tif': (None, ANIMATED, 'with only the first of several frames or pages'),
    'e.bmp': (None, {}, None),
    'f.webp': (None, {}, None),
    'g.TIFF': (None, {}, None),
    'h.ppm': (None, {}, None),
    f'{"n" * 251}.png': (None, {}, None),
}


@pytest.mark.parametrize('name', KINDS, ids=lambda name: name[-12:])
def test_every_kind_of_picture_is_made_as_mmcv_reads_it(tmp_path, name):
    convert, options, said = KINDS[name]
    path = tmp_path / 'src/val2017' / name
    save_as(path, convert or (lambda image: image), **options)
    summary = make(tmp_path / 'src', tmp_path / 'dst', 'coco', {'fog': (1,)}, file_format='png')
    assert (summary.files, summary.unreadable) == (1, {})
    assert bool(summary.remarks) == bool(said)  # Pillow takes a moving WebP for transparent, too
    assert not said or summary.remarks[said] == [name]
    load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    fog = TRANSFORMS.build(dict(type='CorruptImage', corruption='fog', severity=1))
    expected = fog(load(dict(img_path=str(path))))['img']
    written = tmp_path / 'dst/fog_1' / Path(name).with_suffix('.png')
    assert np.array_equal(cv2.imread(str(written), cv2.IMREAD_UNCHANGED), expected)
    assert cv2.imread(str(written)).shape == (
        (96, 64, 3) if name.startswith('turned') else (64, 96, 3)
    )
    with Image.open(written) as copy:
        assert 'exif' not in copy.info
    assert check(tmp_path / 'dst') == []


def test_formats_that_are_kept(tmp_path):
    for name in ('a.jpg', 'b.JPG', 'c.jfif', 'd.png', 'e.bmp', 'f.webp', 'g.tif'):
        save_as(tmp_path / 'src/val2017' / name, **KINDS['d.jfif'][1] if name == 'c.jfif' else {})
    make(tmp_path / 'src', tmp_path / 'dst', 'coco', {'fog': (1,)}, file_format='keep')
    assert sorted(os.listdir(tmp_path / 'dst/fog_1')) == [
        *('a.jpg', 'b.JPG', 'c.jfif', 'd.png', 'e.png', 'f.png', 'g.png')
    ]


def test_what_is_left_out_is_counted_and_named(tmp_path, tool):
    folder = tmp_path / 'src/val2017'
    save_as(folder / 'a.png')
    save_as(folder / 'b.bmp')
    save_as(folder / 'a.gif')  # a.png is taken
    for name in ('notes.txt', 'a.xml', '.DS_Store', 'more/b.npy', 'more/c.csv'):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    Image.fromarray(scene()[..., 0].astype(np.float32)).save(folder / 'heights.tif')
    arguments = ['coco', str(tmp_path / 'src'), str(tmp_path / 'dst')]
    status, out, errors = tool(
        *arguments, '--corruptions', 'fog', '--severities', '1', '--jobs', '1'
    )
    assert status == 1
    assert (
        f'left out: a.xml, more/b.npy, more/c.csv and 1 more below {folder}: no image suffix' in out
    )
    assert f'left out: a.gif below {folder}: its name is taken' in out
    assert errors == 'unreadable, left out: heights.tif (OpenCV cannot decode it)\n'
    assert sorted(os.listdir(tmp_path / 'dst/fog_1')) == ['a.png', 'b.png']


def test_pictures_beyond_a_librarys_limit(tmp_path, monkeypatch):
    save_as(tmp_path / 'src/val2017/a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)  # mmcv's loader has no such limit
    assert make(tmp_path / 'src', tmp_path / 'dst', 'coco', {'fog': (1,)}).files == 1

    def too_large(*_):
        raise cv2.error('pixels <= CV_IO_MAX_IMAGE_PIXELS\n in function')

    monkeypatch.setattr(cv2, 'imdecode', too_large)
    summary = make(tmp_path / 'src', tmp_path / 'other', 'coco', {'fog': (1,)})
    assert summary.unreadable == {'a.png': 'pixels <= CV_IO_MAX_IMAGE_PIXELS in function'}


def test_unreadable_sources_are_named_and_the_rest_goes_on(tmp_path, tool):
    make_source(tmp_path / 'src', 'coco', count=5, size=(128, 128))
    folder = tmp_path / 'src' / 'val2017'
    good = pictures(folder)[0].read_bytes()
    (folder / 'cut.jpg').write_bytes(good[: len(good) * 2 // 3])
    (folder / 'empty.jpg').write_bytes(b'')
    (folder / 'text.jpg').write_text('not an image')
    cv2.imwrite(str(folder / 'small.jpg'), np.zeros((31, 90, 3), np.uint8))
    arguments = ['coco', str(tmp_path / 'src'), str(tmp_path / 'dst')]
    arguments += ['--corruptions', 'contrast', '--severities', '2', '3', '--jobs', '1']
    status, _, errors = tool(*arguments)
    assert status == 1
    lines = errors.splitlines()
    assert len(lines) == 4
    for name in ('cut.jpg', 'empty.jpg', 'text.jpg', 'small.jpg'):
        assert any(f'left out: {name} (' in line for line in lines)
    assert '90x31 pixels' in errors
    assert 'text.jpg (not an image)' in errors  # Pillow's words hold an address in memory
    assert 'truncated' in errors
    status, output, _ = tool(*arguments, '--verify')
    assert status == 1
    assert output.count('unreadable source') == 4
    assert len(pictures(tmp_path / 'dst')) == 10
    # Mended, they are made up for.
    for name in ('cut.jpg', 'empty.jpg', 'text.jpg', 'small.jpg'):
        (folder / name).write_bytes(good)
    cells = {'contrast': (2, 3)}
    assert make(tmp_path / 'src', tmp_path / 'dst', 'coco', cells).written == 8
    status, output, errors = tool(*arguments)
    assert (status, errors) == (0, '')
    assert '18 of them exist already' in output
    assert tool(*arguments, '--verify')[0] == 0


@pytest.mark.parametrize(
    'name', ['a\u2028b\x85c', 'a\nb', 'a\\nb', '\\\n', b'\xff', b'a\xe9\n'], ids=ascii
)
def test_names_that_are_no_text_or_no_line(tmp_path, name):
    """Latin-1 in an old archive, or a line break: the picture has its copies as any other has."""
    make_source(tmp_path, 'coco', count=1)
    plain = tmp_path / 'val2017' / '000000000000.jpg'
    odd = plain.with_name(os.fsdecode(name) + '.jpg')
    plain.rename(odd)
    cells = {'contrast': (1,)}
    out = tmp_path / 'dst'
    assert make(tmp_path, out, 'coco', cells).files == 1
    assert pictures(out) == [out / 'contrast_1' / odd.name]
    assert check(out) == verify(out, odd.parent, console=Console(quiet=True)) == []
    assert (
        subprocess.run(['sha256sum', '-c', 'checksums/contrast_1.sha256'], cwd=out).returncode == 0
    )
    assert make(tmp_path, out, 'coco', cells).written == 0
    pictures(out)[0].unlink()
    assert check(out) == [f'missing: contrast_1/{printable(odd.name)}']
    assert make(tmp_path, out, 'coco', cells).written == 1
    odd.write_bytes(b'no picture')
    with pytest.raises(InputError, match='changed after') as caught:
        make(tmp_path, out, 'coco', cells)
    assert str(caught.value).encode() and '\n' not in str(caught.value)
    shutil.rmtree(out)
    assert make(tmp_path, out, 'coco', cells).unreadable.keys() == {odd.name}
    assert read_manifest(out)['unreadable'].keys() == {odd.name}


def test_a_small_picture_of_imagenet_is_enlarged_first(tmp_path):
    """As in ImageNet-C; the other sets are corrupted at the pictures' own size."""
    for layout, left_out in (('imagenet', 0), ('coco', 1)):
        source = make_source(tmp_path / layout, layout, 1, size=(20, 30))
        summary = make(source, tmp_path / f'{layout}-c', layout, {'gaussian_noise': (1,)})
        assert (summary.files, len(summary.unreadable)) == (1 - left_out, left_out)
