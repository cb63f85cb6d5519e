import itertools
import os

import pytest

from fan_mm.corruptions import ALGORITHM_VERSION
from fan_mm.datasets.corrupted import LAYOUTS, corrupted_path
from fan_mm.datasets.corrupted.manifest import Options, new_manifest, write_manifest
from fan_mm.errors import InputError
from fan_mm.evaluation.cells import Cell
from fan_mm.evaluation.premade import PremadeImages, ReadPremade

CELLS = [Cell('snow', 1), Cell('fog', 3)]
BELOW = {
    'cityscapes': ['lindau/lindau_0.png', 'munster/munster_0.png'],
    'imagenet': ['n01440764/val_1.JPEG', 'n01443537/val_2.JPEG'],
    'coco': ['000000000139.jpg', '000000000285.jpg'],
}


def clean_paths(layout):
    return [f'data/{layout}/images/val/{below}' for below in BELOW[layout]]


def fill(root, layout, cells=CELLS, file_format='keep'):
    for cell in cells:
        for below in BELOW[layout]:
            path = corrupted_path(root, layout, *cell, below, file_format)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


@pytest.mark.parametrize('layout', list(LAYOUTS))
@pytest.mark.parametrize('file_format', ['keep', 'png', 'jpg'])
def test_layouts_of_the_generator_are_recognised(tmp_path, layout, file_format):
    fill(tmp_path, layout, file_format=file_format)
    images = PremadeImages.find(tmp_path, CELLS, clean_paths(layout))
    for cell in CELLS:
        for clean, below in zip(clean_paths(layout), BELOW[layout], strict=True):
            expected = corrupted_path(tmp_path, layout, *cell, below, file_format)
            assert images.path(cell, clean) == expected


def test_archives_of_imagenet_c_in_a_folder_each(tmp_path):
    cells = [*CELLS, Cell('jpeg_compression', 5), Cell('spatter', 2)]
    for cell, archive in zip(cells, ('weather', 'weather', 'digital', 'extra'), strict=True):
        fill(tmp_path / archive, 'imagenet', [cell])
    images = PremadeImages.find(tmp_path, cells, clean_paths('imagenet'))
    assert images.folder(cells[-1]) == tmp_path / 'extra/spatter/2'
    with pytest.raises(
        InputError, match=r'expected it below .*/snow/1 or .*/snow_1 or .*/weather/snow/1;'
    ):
        PremadeImages.find(tmp_path / 'digital', CELLS, clean_paths('imagenet'))


def test_trees_with_more_folders_are_recognised(tmp_path):
    """As who replaces the last folder of data/cityscapes/leftImg8bit/clean/val by the cell."""
    for cell in CELLS:
        for below in BELOW['cityscapes']:
            path = tmp_path / cell.corruption / str(cell.severity) / 'val' / below
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    images = PremadeImages.find(tmp_path, CELLS, clean_paths('cityscapes'))
    assert images.depth == 3


@pytest.mark.parametrize('order', [1, -1])
def test_images_may_lie_at_different_depths(tmp_path, order):
    """mmpretrain looks for pictures in all folders below a class's."""
    images = ['bus/a.jpg', 'bus/more/b.jpg', 'car/a.jpg', 'car/more/of/it/a.jpg'][::order]
    for cell, below in itertools.product(CELLS, images):
        path = corrupted_path(tmp_path, 'imagenet', *cell, below, 'jpg')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    clean = [f'data/val/{below}' for below in images]
    found = PremadeImages.find(tmp_path, CELLS, clean)
    for below, path in zip(images, clean, strict=True):
        assert found.path(CELLS[0], path) == tmp_path / 'snow/1' / below


def test_class_folders_are_found_for_images_that_have_none(tmp_path):
    """Released ImageNet-C beside OpenMMLab's flat val folder with meta/val.txt."""
    fill(tmp_path, 'imagenet')
    clean = [f'data/imagenet/val/{below.split("/")[1]}' for below in BELOW['imagenet']]
    images = PremadeImages.find(tmp_path, CELLS, clean)
    for cell in CELLS:
        for path, below in zip(clean, BELOW['imagenet'], strict=True):
            assert images.path(cell, path) == corrupted_path(tmp_path, 'imagenet', *cell, below)
    (tmp_path / 'fog/3' / BELOW['imagenet'][1]).unlink()
    with pytest.raises(InputError, match='lacks 1 of 1 images of fog/3, such as val_2'):
        PremadeImages.find(tmp_path, CELLS, clean)
    PremadeImages.find(tmp_path, CELLS[:1], [*clean, clean[0]])  # listed twice
    for other in ('data/imagenet/other/val_1.JPEG', 'data/imagenet/val/val_1.png'):
        with pytest.raises(InputError, match=f'no copy of val_1.*{clean[0]} and {other}'):
            PremadeImages.find(tmp_path, CELLS, [*clean, other])
    (tmp_path / 'snow/1/n01443537/val_1.JPEG').touch()
    (tmp_path / 'fog/3/n01443537/val_1.JPEG').touch()
    with pytest.raises(InputError, match='no copy of val_1'):  # which of two?
        PremadeImages.find(tmp_path, CELLS, clean)


def test_a_missing_image_is_named_before_the_sweep(tmp_path):
    fill(tmp_path, 'cityscapes')
    (tmp_path / 'fog/3/munster/munster_0.png').unlink()
    with pytest.raises(InputError, match=r'lacks 1 of 1 images of fog/3, such as munster_0'):
        PremadeImages.find(tmp_path, CELLS, clean_paths('cityscapes'))


def test_a_missing_cell_is_named(tmp_path):
    fill(tmp_path, 'coco', CELLS[1:])
    with pytest.raises(InputError, match='2 of 2 images of snow/1'):
        PremadeImages.find(tmp_path, CELLS, clean_paths('coco'))


@pytest.mark.parametrize(
    ('severities', 'counted_from_0'),
    [(range(5), True), (range(6), False), (range(1, 6), False), (range(4), False)],
)
@pytest.mark.parametrize('layout', ['coco', 'cityscapes'])
def test_severities_counted_from_0(tmp_path, layout, severities, counted_from_0):
    """0 may be the clean images; where 5 is missing it is not."""
    cells = [Cell('fog', severity) for severity in severities]
    fill(tmp_path, layout, cells)
    if counted_from_0:
        with pytest.raises(InputError, match=r'fog.0 to .*4 are there, but not .*5: .* rename'):
            PremadeImages.find(tmp_path, cells[1:3], clean_paths(layout))
    else:
        PremadeImages.find(tmp_path, cells[1:3], clean_paths(layout))


def test_another_dataset_is_refused(tmp_path):
    fill(tmp_path, 'cityscapes')
    with pytest.raises(InputError, match=r'no copy of 000000000139.jpg for snow/1'):
        PremadeImages.find(tmp_path, CELLS, clean_paths('coco'))


def test_identity_and_protocol_are_the_manifests(tmp_path):
    fill(tmp_path, 'coco')
    images = PremadeImages.find(tmp_path, CELLS, clean_paths('coco'))
    assert images.origin() == 'files without a manifest'
    assert set(images.protocol().values()) == {None}

    def identity(**changes):
        options = dict(
            layout='coco',
            split='val',
            cells={'fog': (3,)},
            seed=4,
            channel_order='rgb',
            file_format='png',
            quality=None,
        )
        write_manifest(tmp_path, new_manifest(Options(**{**options, **changes}), ['a.png']))
        return images.identity()

    first = identity()
    assert first.startswith('generated')
    assert images.protocol() == {
        'seed': 4,
        'channel_order': 'rgb',
        'corruption_version': ALGORITHM_VERSION,
    }
    assert identity(seed=5) != first
    assert identity(file_format='jpg', quality=90) != first
    assert identity(cells={'fog': (3,), 'snow': (1,)}) == first  # a folder that grows


SHARED = {
    'sites': ['a/val/cat/0001.jpg', 'b/val/cat/0001.jpg'],
    'sequences': ['data/seq01/cat/0001.jpg', 'data/seq02/cat/0001.jpg'],
    'formats': ['a/val/cat/0001.jpg', 'a/val/cat/0001.png'],
    'formats in another case': ['a/val/cat/0001.JPG', 'a/val/cat/0001.jpeg'],
    'absolute and not': ['a/val/cat/0001.jpg', '/b/val/cat/0001.jpg'],
}


@pytest.mark.parametrize('clean', SHARED.values(), ids=SHARED)
@pytest.mark.parametrize('suffix', ['.png', '.JPEG', '.webp'])
def test_one_copy_of_two_images_is_refused(tmp_path, clean, suffix):
    copy = tmp_path / 'fog/1/cat' / f'0001{suffix}'
    copy.parent.mkdir(parents=True)
    copy.touch()
    other = copy.with_name('0002.png')
    other.touch()
    images = [clean[0], 'a/val/cat/0002.jpg', clean[1]]
    with pytest.raises(InputError, match='would both read') as error:
        PremadeImages.find(tmp_path, [Cell('fog', 1)], images)
    assert all(path in str(error.value) for path in clean)
    PremadeImages.find(tmp_path, [Cell('fog', 1)], images[:2])
    PremadeImages.find(tmp_path, [Cell('fog', 1)], [*images[:2], clean[0], f'./{clean[0]}'])


def test_images_of_one_name_with_a_copy_each(tmp_path):
    """As ``make_corrupted_dataset.py --format keep`` makes them."""
    clean = ['val/0001.jpg', 'val/0001.png']
    for cell in CELLS:
        for name in ('0001.jpg', '0001.png'):
            path = tmp_path / f'{cell.corruption}_{cell.severity}' / name
            path.parent.mkdir(exist_ok=True)
            path.touch()
    images = PremadeImages.find(tmp_path, CELLS, clean)
    assert [images.path(CELLS[0], path).name for path in clean] == ['0001.jpg', '0001.png']
    (tmp_path / 'fog_3/0001.jpg').unlink()
    with pytest.raises(InputError, match=r'would both read .*fog_3/0001.png'):
        PremadeImages.find(tmp_path, CELLS, clean)


def test_links_to_one_copy_or_one_folder_of_copies(tmp_path):
    copy = tmp_path / 'fog/1/seq01/0001.png'
    copy.parent.mkdir(parents=True)
    copy.touch()
    clean = ['data/seq01/0001.png', 'data/seq02/0001.png']
    (tmp_path / 'fog/1/seq02').symlink_to('seq01')
    with pytest.raises(InputError, match='would both read'):
        PremadeImages.find(tmp_path, [Cell('fog', 1)], clean)
    clean = ['data/seq01/IMG.png', 'data/seq01/img.png']
    copy.rename(copy.with_name('IMG.png'))
    copy.with_name('img.png').symlink_to('IMG.png')  # as a file system without cases has it
    with pytest.raises(InputError, match='would both read'):
        PremadeImages.find(tmp_path, [Cell('fog', 1)], clean)
    copy.with_name('img.png').unlink()
    copy.with_name('img.png').touch()
    PremadeImages.find(tmp_path, [Cell('fog', 1)], clean)


def test_a_stray_copy_does_not_hide_the_tree(tmp_path):
    fill(tmp_path, 'cityscapes')
    (tmp_path / 'snow/1/lindau_0.png').touch()
    images = PremadeImages.find(tmp_path, CELLS, clean_paths('cityscapes'))
    assert images.depth == 2


def test_fifty_thousand_images_are_looked_for_by_listing_folders(tmp_path, monkeypatch):
    clean = [f'val/n{i % 50:08d}/val_{i:08d}.JPEG' for i in range(5000)]
    for cell in CELLS:
        for path in clean:
            copy = tmp_path / cell.corruption / str(cell.severity) / path.removeprefix('val/')
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.touch()
    looked = []
    real = os.stat

    def stat(path, *args, **options):
        looked.append(path)
        return real(path, *args, **options)

    monkeypatch.setattr(os, 'stat', stat)
    PremadeImages.find(tmp_path, CELLS, clean)
    assert len(looked) < 500


def copies(root, cells=CELLS, pixels=b'the same'):
    for cell in cells:
        for name in ('a.png', 'b.png'):
            path = root / cell.corruption / str(cell.severity) / 'town' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pixels + name.encode())
    return PremadeImages(root, '{corruption}/{severity}', 2)


def test_a_set_without_a_manifest_is_told_by_content(tmp_path):
    first = copies(tmp_path / 'job1')
    moved = copies(tmp_path / 'job2')
    other = copies(tmp_path / 'job3', pixels=b'not same')
    clean = ['data/town/a.png', 'data/town/b.png']
    assert first.identity() == moved.identity() != other.identity()
    for cell in CELLS:
        one = first.contents(cell, clean)
        assert one == moved.contents(cell, clean) != other.contents(cell, clean)
    (tmp_path / 'job2/fog/3/town/b.png').write_bytes(b'edited, bb.png')
    assert first.contents(CELLS[0], clean) == moved.contents(CELLS[0], clean)
    assert first.contents(CELLS[1], clean) != moved.contents(CELLS[1], clean)


def test_transform_reads_the_copy_or_says_that_it_is_gone(tmp_path):
    fill(tmp_path, 'cityscapes')
    (tmp_path / 'fog/3/lindau/lindau_0.png').write_bytes(b'a picture')
    step = ReadPremade(PremadeImages.find(tmp_path, CELLS, clean_paths('cityscapes')))
    step.corruption, step.severity = CELLS[1]
    clean = clean_paths('cityscapes')[0]
    read = step({'img_path': clean, 'seg_map_path': 'labels.png'})
    assert read == {
        'img_path': str(tmp_path / 'fog/3/lindau/lindau_0.png'),
        'seg_map_path': 'labels.png',
    }
    (tmp_path / 'fog/3/lindau/lindau_0.png').unlink()
    with pytest.raises(FileNotFoundError, match='no copy of'):
        step({'img_path': clean})


WORDNET = {'a': 'n01440764', 'b': 'n01440764', 'c': 'n01443537', 'd': 'n01443537'}


@pytest.mark.parametrize(
    ('folders', 'labels', 'message'),
    [
        (WORDNET, [0, 0, 1, 1], None),
        (
            WORDNET,
            [0, 1, 1, 1],
            'b.JPEG has label 1, but its copy is in n01440764 with those of ',
        ),
        (WORDNET, [1, 1, 0, 0], 'n01440764 has label 1 and n01443537 0: the list of labels'),
        (WORDNET, [3, 3, 3, 3], None),  # of coarser classes
        (WORDNET, [1, 1, 0, None], None),  # not all are known
        (dict(a='dog', b='dog', c='cat', d='cat'), [1, 1, 0, 0], None),  # any order
        ({}, [1, 0, 1, 0], None),
    ],
)
def test_labels_beside_clean_images_are_those_of_the_copies(tmp_path, folders, labels, message):
    clean = [f'val/{name}.JPEG' for name in 'abcd']
    for cell, (name, folder) in itertools.product(CELLS, folders.items()):
        path = tmp_path / cell.corruption / str(cell.severity) / folder / f'{name}.JPEG'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if folders:
        images = PremadeImages.find(tmp_path, CELLS, clean)
        assert dict(images.class_folders) == folders
    else:
        images = PremadeImages(tmp_path, '{corruption}', 1)
    if message is None:
        images.check_labels(clean, labels)
    else:
        with pytest.raises(InputError, match=message):
            images.check_labels(clean, labels)
