"""The layouts of corrupted datasets, and the bytes of their pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from corrupted_files import CELLS, NAMES, check, make, make_source, pictures, tree
from mmcv.transforms import Compose
from mmengine.registry import TRANSFORMS
from PIL import Image

from fan_mm.corruptions import BENCHMARKS
from fan_mm.datasets.corrupted import corrupted_path
from fan_mm.datasets.corrupted.layouts import image_folder
from fan_mm.errors import InputError
from fan_mm.evaluation.scope import choose_scope


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


def test_names_and_groups_mean_the_cells_that_a_sweep_reads(tmp_path, source, tool):
    asked = ['--corruptions', 'digital', 'noise', 'pixelate', '--severities', '3', '4']
    assert tool('cityscapes', str(source), str(tmp_path / 'dst'), *asked, '--jobs', '1')[0] == 0
    wanted = choose_scope(BENCHMARKS['cityscapes-c'], ['digital', 'noise', 'pixelate'], [3, 4])
    there = {
        path.parent.parent.relative_to(tmp_path / 'dst') for path in pictures(tmp_path / 'dst')
    }
    assert Path('brightness/4') in there
    assert there == {Path(str(cell)) for cell in wanted.cells[1:]}


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


@pytest.mark.parametrize('layout', ['imagenet', 'coco'])
def test_a_source_that_is_the_folder_of_the_split(tmp_path, layout):
    assert image_folder(tmp_path, layout, '.') == tmp_path
