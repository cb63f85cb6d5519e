"""The generator of corrupted datasets: layouts, bytes, interruptions, verification, errors."""

import errno
import hashlib
import io
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.registry import TRANSFORMS
from PIL import Image
from rich.console import Console

from fan_mm.corruptions import BENCHMARKS, choose_cells
from fan_mm.datasets.corrupted import corrupted_path, worker
from fan_mm.datasets.corrupted import generate as generator
from fan_mm.datasets.corrupted import verify as verifier
from fan_mm.datasets.corrupted.manifest import read_manifest
from fan_mm.datasets.corrupted.verify import verify
from fan_mm.errors import InputError
from fan_mm.evaluation.scope import choose_scope
from fan_mm.fileio import printable

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'make_corrupted_dataset.py'
# Relative paths below SRC, as the three datasets have them.
NAMES = {
    'cityscapes': 'leftImg8bit/val/{group}/{group}_{index:06d}_000019_leftImg8bit.png',
    'coco': 'val2017/{index:012d}.jpg',
    'imagenet': 'val/{group}/ILSVRC2012_val_{index:08d}.JPEG',
}
CELLS = {'gaussian_noise': (1, 3), 'motion_blur': (2,), 'snow': (5,)}


def make_source(root, layout, count=3, size=(48, 80)):
    """Pictures with large and small structure."""
    rng = np.random.default_rng(0)
    for index in range(count):
        group = ('aachen', 'bonn')[index % 2]
        path = root / NAMES[layout].format(group=group, index=index)
        path.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        picture = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
        noise = rng.integers(-9, 10, picture.shape)
        cv2.imwrite(str(path), (picture + noise).clip(0, 255).astype(np.uint8))
    return root


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path / 'cityscapes', 'cityscapes')


def make(source, destination, layout='cityscapes', cells=CELLS, **options):
    options = dict(jobs=1, console=Console(quiet=True)) | options
    return generator.generate(source, destination, layout, cells, **options)


def check(destination):
    return verify(destination, jobs=1, console=Console(quiet=True))


def tree(folder):
    """Every file's bytes, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


def pictures(folder):
    return sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.png', '.jpg', '.jpeg'))


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the command line in this process: (exit status, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr('sys.argv', [str(TOOL), *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        return ended.value.code, *capsys.readouterr()

    return run


# ------------------------------------------------------------------------------------ layouts


@pytest.mark.parametrize(
    ('layout', 'first'),
    [
        ('cityscapes', 'snow/5/aachen/aachen_000000_000019_leftImg8bit.png'),
        ('coco', 'snow_5/000000000000.jpg'),
        ('imagenet', 'snow/5/aachen/ILSVRC2012_val_00000000.JPEG'),
    ],
)
def test_layouts_keep_the_files_names(tmp_path, layout, first):
    make_source(tmp_path / 'src', layout)
    summary = make(tmp_path / 'src', tmp_path / 'dst', layout)
    assert (summary.files, summary.written, summary.unreadable) == (12, 12, {})
    found = tree(tmp_path / 'dst')
    assert first in found
    assert len(pictures(tmp_path / 'dst')) == 12
    below = {'cityscapes': 2, 'coco': 1, 'imagenet': 2}[layout]
    relative = Path(*Path(NAMES[layout].format(group='bonn', index=1)).parts[-below:])
    for corruption, severities in CELLS.items():
        for severity in severities:
            path = corrupted_path(tmp_path / 'dst', layout, corruption, severity, relative)
            assert path.is_file()
    assert check(tmp_path / 'dst') == []


def test_formats(tmp_path):
    make_source(tmp_path / 'src', 'coco', count=1)
    heads = {'png': b'\x89PNG', 'jpg': b'\xff\xd8', 'keep': b'\xff\xd8'}
    for file_format, head in heads.items():
        destination = tmp_path / file_format
        make(tmp_path / 'src', destination, 'coco', file_format=file_format)
        path = corrupted_path(destination, 'coco', 'snow', 5, '000000000000.jpg', file_format)
        assert path.suffix == ('.png' if file_format == 'png' else '.jpg')
        assert path.read_bytes().startswith(head)


def test_quality_shrinks_jpegs(tmp_path, source):
    sizes = []
    for quality in (30, 95):
        make(source, tmp_path / str(quality), file_format='jpg', quality=quality)
        sizes.append(sum(path.stat().st_size for path in pictures(tmp_path / str(quality))))
    assert sizes[0] < 0.7 * sizes[1]


def test_other_splits(tmp_path):
    make_source(tmp_path, 'coco', count=1)
    (tmp_path / 'val2017').rename(tmp_path / 'train2017')
    assert make(tmp_path, tmp_path / 'dst', 'coco', split='train').files == 4
    with pytest.raises(InputError, match='val2017'):
        make(tmp_path, tmp_path / 'dst2', 'coco')


# -------------------------------------------------------------------------------------- cells


def test_names_and_groups_mean_the_cells_that_a_sweep_reads(tmp_path, source, tool):
    asked = ['--corruptions', 'digital', 'noise', 'pixelate', '--severities', '3', '4']
    assert tool('cityscapes', str(source), str(tmp_path / 'dst'), *asked, '--jobs', '1')[0] == 0
    wanted = choose_scope(BENCHMARKS['cityscapes-c'], ['digital', 'noise', 'pixelate'], [3, 4])
    there = {
        path.parent.parent.relative_to(tmp_path / 'dst') for path in pictures(tmp_path / 'dst')
    }
    assert Path('brightness/4') in there
    assert there == {Path(str(cell)) for cell in wanted.cells[1:]}


# -------------------------------------------------------------------------------------- bytes


@pytest.mark.parametrize(
    ('order', 'inside'), [('rgb', 'bgr'), ('bgr-as-rgb', 'bgr-as-rgb')], ids=['rgb', 'bgr-as-rgb']
)
def test_png_files_hold_the_pixels_that_the_transform_makes(tmp_path, source, order, inside):
    make(source, tmp_path / 'dst', seed=4, channel_order=order)
    sources = pictures(source)
    assert len(sources) == 3
    for path in sources:
        relative = path.relative_to(source / 'leftImg8bit' / 'val')
        for corruption, severities in CELLS.items():
            for severity in severities:
                transforms = [
                    dict(type='LoadImageFromFile'),
                    dict(
                        type='CorruptImage',
                        corruption=corruption,
                        severity=severity,
                        seed=4,
                        channel_order=inside,
                    ),
                ]
                pipeline = Compose([TRANSFORMS.build(t) for t in transforms])
                written = corrupted_path(
                    tmp_path / 'dst', 'cityscapes', corruption, severity, relative
                )
                assert np.array_equal(
                    pipeline(dict(img_path=str(path)))['img'], cv2.imread(str(written))
                )


def test_imagenet_is_cropped_first_as_mmpretrain_does(tmp_path):
    mmpretrain_transforms = pytest.importorskip('mmpretrain.datasets.transforms')
    make_source(tmp_path / 'src', 'imagenet', count=2, size=(300, 417))
    tall = tmp_path / 'src' / 'val' / 'aachen' / 'tall.JPEG'
    cv2.imwrite(str(tall), cv2.imread(str(pictures(tmp_path / 'src')[0])).transpose(1, 0, 2))
    make(tmp_path / 'src', tmp_path / 'dst', 'imagenet', {'snow': (3,)}, file_format='png')
    pipeline = Compose(
        [
            TRANSFORMS.build(dict(type='LoadImageFromFile')),
            mmpretrain_transforms.ResizeEdge(256, backend='pillow', interpolation='bilinear'),
            mmpretrain_transforms.CenterCrop(224),
            TRANSFORMS.build(dict(type='CorruptImage', corruption='snow', severity=3)),
        ]
    )
    sources = pictures(tmp_path / 'src')
    assert len(sources) == 3
    for path in sources:
        relative = path.relative_to(tmp_path / 'src' / 'val')
        written = corrupted_path(tmp_path / 'dst', 'imagenet', 'snow', 3, relative, 'png')
        pixels = cv2.imread(str(written))
        assert pixels.shape == (224, 224, 3)
        assert np.array_equal(pipeline(dict(img_path=str(path)))['img'], pixels)


def test_one_process_and_two_write_the_same_bytes_and_nothing_else(tmp_path, source):
    make(source, tmp_path / 'one', jobs=1)
    make(source, tmp_path / 'two', jobs=2)
    assert tree(tmp_path / 'one') == tree(tmp_path / 'two')
    make(source, tmp_path / 'other', jobs=1, seed=1)
    snow = 'snow/5/bonn/bonn_000001_000019_leftImg8bit.png'
    assert tree(tmp_path / 'one')[snow] != tree(tmp_path / 'other')[snow]


def test_the_callers_opencv_threads_are_left_as_they_were(tmp_path, source):
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        make(source, tmp_path / 'dst')
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_images_with_exif_orientation_and_grey_ones_are_read_as_mmcv_does(tmp_path):
    folder = tmp_path / 'src' / 'val2017'
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (40, 64), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture.save(folder / 'turned.jpg', exif=exif)
    make(tmp_path / 'src', tmp_path / 'dst', 'coco', {'fog': (1,)}, file_format='png')
    load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    fog = TRANSFORMS.build(dict(type='CorruptImage', corruption='fog', severity=1))
    expected = fog(load(dict(img_path=str(folder / 'turned.jpg'))))['img']
    assert expected.shape == (64, 40, 3)
    assert np.array_equal(cv2.imread(str(tmp_path / 'dst' / 'fog_1' / 'turned.png')), expected)


# ----------------------------------------------------------------------------- kinds of pictures


def scene():
    """A picture of which every turn looks different."""
    small = np.zeros((4, 6, 3), np.uint8)
    small[0, :3], small[1:, 0], small[2, 4] = (250, 90, 30), (30, 200, 60), (90, 60, 220)
    return cv2.resize(small, (96, 64), interpolation=cv2.INTER_LINEAR)


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
    'turned.jpg': (None, turned(6), 'turned as EXIF says'),
    'flipped.jpg': (None, turned(3), 'turned as EXIF says'),
    'turned.png': (None, turned(8), 'turned as EXIF says'),
    'grey.png': (lambda image: image.convert('L'), {}, None),
    'bits.png': (lambda image: image.convert('1'), {}, None),
    'palette.png': (lambda image: image.convert('P'), {}, None),
    'cmyk.jpg': (lambda image: image.convert('CMYK'), {}, None),
    'deep.png': (deep, {}, 'cut to 8 bits'),
    'alpha.png': (with_alpha, {}, 'without transparency'),
    'moving.png': (None, ANIMATED, 'only the first of several frames or pages'),
    'moving.webp': (None, ANIMATED, 'only the first of several frames or pages'),
    'pages.tif': (None, ANIMATED, 'only the first of several frames or pages'),
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
    assert f'left out: a.xml, more/b.npy, more/c.csv and 1 more below {folder}: no picture' in out
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


# ------------------------------------------------------------------------------- manifest, verify


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


# --------------------------------------------------------------------------- sources that change


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
                patch.setattr(generator._Run, 'save_checksums', lambda self: {})
            with pytest.raises(Interrupted):
                make(source, tmp_path / 'dst')
    before = tree(tmp_path / 'dst')
    first = pictures(source)[0]
    data = first.read_bytes()
    change(first)
    with pytest.raises(InputError, match=f'{first.name} below .* changed since copies were made'):
        make(source, tmp_path / 'dst')
    with pytest.raises(InputError, match='changed since'):
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
    monkeypatch.setattr(generator, '_SAMPLE', 1)
    edited = pictures(source)[5]
    edit(edited)
    make(source, tmp_path / 'dst', 'coco', {'fog': (1,)})  # nothing is read
    folder = source / 'val2017'
    line = f'source changed since its copies were made: {edited.name}'
    assert verify(tmp_path / 'dst', folder, jobs=1, console=Console(quiet=True)) == [line]
    for jobs in (1, 2):
        with pytest.raises(InputError, match=f'{edited.name} below .* changed since'):
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
    assert 'whether they have changed since is not known' in console.export_text()
    make(source, tmp_path / 'whole', cells=cells)
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')


# ------------------------------------------------------------------------ damaged, and taken away


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


@pytest.mark.parametrize('what', ['one', 'a cell', 'all'])
def test_what_was_taken_away_meanwhile_is_said(tmp_path, source, monkeypatch, what):
    make(source, tmp_path / 'whole')
    corrupt_all = generator._Run.corrupt_all

    def take_away(run, *arguments):
        done = corrupt_all(run, *arguments)
        gone = {'one': 'snow/5/bonn', 'a cell': 'snow', 'all': ''}[what]
        shutil.rmtree(tmp_path / 'dst' / gone)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(generator._Run, 'corrupt_all', take_away)
        number = {'one': 1, 'a cell': 3, 'all': 12}[what]
        with pytest.raises(InputError, match=f'{number} images that were written are gone'):
            make(source, tmp_path / 'dst')
    assert json.loads((tmp_path / 'dst/manifest.json').read_text())['complete'] is False
    assert make(source, tmp_path / 'dst').written == number
    if what != 'all':  # with it the notes of the sources are gone
        assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')
    assert check(tmp_path / 'dst') == []


# -------------------------------------------------------------------------------- interruptions


class Interrupted(BaseException):
    pass


def stop_after(monkeypatch, count, error):
    """Let the count-th image write fail."""
    done = []

    def write_whole(path, content):
        done.append(path)
        if len(done) > count:
            raise error
        real(path, content)

    real = worker.write_whole
    monkeypatch.setattr(worker, 'write_whole', write_whole)


def test_whatever_exists_is_not_made_again(tmp_path, source, monkeypatch):
    make(source, tmp_path / 'whole')
    with monkeypatch.context() as patch:
        stop_after(patch, 5, Interrupted())
        with pytest.raises(Interrupted):
            make(source, tmp_path / 'dst')
    there = pictures(tmp_path / 'dst')
    assert len(there) == 5
    assert check(tmp_path / 'dst') == ['not finished: run the same command again, without --verify']
    times = [path.stat().st_mtime_ns for path in there]
    summary = make(source, tmp_path / 'dst')
    assert (summary.files, summary.written) == (12, 7)
    assert [path.stat().st_mtime_ns for path in there] == times
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')
    assert make(source, tmp_path / 'dst').written == 0
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')


def test_files_that_a_power_cut_left_incomplete_are_made_again(tmp_path, source, monkeypatch):
    make(source, tmp_path / 'whole')
    stop_after(monkeypatch, 6, Interrupted())
    with pytest.raises(Interrupted):
        make(source, tmp_path / 'dst')
    monkeypatch.undo()
    shutil.rmtree(tmp_path / 'dst' / 'checksums')  # written in an orderly end only
    empty, cut = pictures(tmp_path / 'dst')[:2]
    empty.write_bytes(b'')
    cut.write_bytes(cut.read_bytes()[:100])
    make(source, tmp_path / 'dst')
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')


def command(source, destination, *options):
    cells = ['--benchmark', 'all', '--corruptions', 'noise', 'fog', 'snow']
    cells += ['--severities', '1', '2', '4']
    return [
        sys.executable,
        str(TOOL),
        'cityscapes',
        str(source),
        str(destination),
        *cells,
        *options,
    ]


def environment():
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    return os.environ | {'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'}


def start_and_signal(arguments, destination, number, signal_number):
    """Start the tool, and send it a signal when it has written some images."""
    log = destination.with_suffix('.log')
    with log.open('w') as output:
        process = subprocess.Popen(
            arguments,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            # a test run in the background of a shell hands on an ignored SIGINT
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    deadline = time.monotonic() + 120
    while len(pictures(destination)) < number:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal_number)
    return process.wait(timeout=60), log.read_text()


@pytest.mark.slow
def test_killed_and_stopped_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    # Six images of 256x512 by 18 cells, two processes: some seconds of work.
    source = make_source(tmp_path / 'src', 'cityscapes', count=6, size=(256, 512))
    cells = choose_cells(BENCHMARKS['all'], ['noise', 'fog', 'snow'], [1, 2, 4])
    make(source, tmp_path / 'whole', cells=cells, jobs=2)
    total = len(pictures(tmp_path / 'whole'))
    destination = tmp_path / 'dst'
    arguments = command(source, destination, '--jobs', '2')

    status, _ = start_and_signal(arguments, destination, total // 10, signal.SIGKILL)
    assert status == -signal.SIGKILL
    time.sleep(1)  # the workers notice that their parent is gone
    orphans = len(pictures(destination))
    time.sleep(1)
    assert len(pictures(destination)) == orphans < total
    # What a process killed while it wrote leaves behind.
    folder = pictures(destination)[0].parent
    (folder / '.aachen_000000.0123456789ab.png').write_bytes(b'\x89PNG half')

    status, output = start_and_signal(arguments, destination, orphans + 3, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert 'Traceback' not in output
    assert not [name for name in tree(destination) if Path(name).name.startswith('.')]

    before = len(pictures(destination))
    alone = command(source, destination, '--jobs', '1')
    status, output = start_and_signal(alone, destination, before + 2, signal.SIGINT)
    assert status == 130
    assert 'Traceback' not in output
    before = len(pictures(destination))
    assert before < total

    assert make(source, destination, cells=cells, jobs=2).written == total - before
    assert tree(destination) == tree(tmp_path / 'whole')

    assert check(destination) == []


# --------------------------------------------------------------------------------------- errors


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
        f'{tmp_path}/dst was made otherwise (seed 0 there, 1 now; '
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


def test_more_cells_that_do_not_fit_leave_the_dataset_whole(tmp_path, source, monkeypatch):
    make(source, tmp_path / 'dst')
    before = tree(tmp_path / 'dst')
    monkeypatch.setattr(generator._Run, 'estimate', lambda *_: 10**18)
    with pytest.raises(InputError, match='make room'):
        make(source, tmp_path / 'dst', cells=CELLS | {'fog': (1,)})
    assert tree(tmp_path / 'dst') == before


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


def test_destinations_that_would_mix_things_up(tmp_path, source):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'thesis.tex').write_text('mine')
    with pytest.raises(InputError, match='not empty'):
        make(source, tmp_path / 'full')
    assert os.listdir(tmp_path / 'full') == ['thesis.tex']
    with pytest.raises(InputError, match='among the clean images'):
        make(source, source / 'leftImg8bit' / 'val' / 'c')
    with pytest.raises(InputError, match='cannot write'):
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
    assert '18 of them there already' in output
    assert tool(*arguments, '--verify')[0] == 0


def test_the_tools_mistakes_are_one_line(tmp_path, source, tool):
    for options, message in (
        (['--corruptions', 'snwo'], "did you mean 'snow'"),
        (['--severities', '7'], 'severity'),
        (['--split', 'demo'], 'no folder'),
        (['--verify'], 'manifest.json'),
    ):
        status, _, errors = tool('cityscapes', str(source), str(tmp_path / 'dst'), *options)
        assert status == 2
        assert errors.startswith('error: ')
        assert message in errors
        assert errors.count('\n') == 1


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
        with pytest.raises(InputError, match='make room'):  # the estimate says so before
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
    with pytest.raises(InputError, match='changed since') as caught:
        make(tmp_path, out, 'coco', cells)
    assert str(caught.value).encode() and '\n' not in str(caught.value)
    shutil.rmtree(out)
    assert make(tmp_path, out, 'coco', cells).unreadable.keys() == {odd.name}
    assert read_manifest(out)['unreadable'].keys() == {odd.name}


def test_two_sources_of_one_target(tmp_path):
    make_source(tmp_path, 'coco', count=1)
    shutil.copy(
        tmp_path / 'val2017' / '000000000000.jpg', tmp_path / 'val2017' / '000000000000.png'
    )
    with pytest.raises(InputError, match=r'would both become 000000000000\.png'):
        make(tmp_path, tmp_path / 'dst', 'coco', file_format='png')
    assert make(tmp_path, tmp_path / 'dst', 'coco', file_format='keep').files == 8


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(cells={}), 'no corruptions'),
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


def test_a_folder_without_images(tmp_path):
    (tmp_path / 'val2017').mkdir()
    with pytest.raises(InputError, match='no PNG or JPEG images'):
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
