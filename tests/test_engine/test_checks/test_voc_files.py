"""VOC's files: what mmdet would leave out in silence, or end with after hours, is one line."""

import re

import pytest

from fan_mm.engine.checks.voc_files import check_voc, reads_as_voc
from fan_mm.errors import InputError

OBJECT = (
    '<object><name>{}</name><bndbox><xmin>5</xmin><ymin>10</ymin><xmax>35</xmax><ymax>60</ymax></bndbox>'
    '</object>'
)
SIZE = '<size><width>128</width><height>96</height></size>'
PLACE = 'test_dataloader.dataset'


@pytest.fixture
def root(tmp_path):
    for folder in ('JPEGImages', 'Annotations'):
        (tmp_path / 'VOC2007' / folder).mkdir(parents=True)
    for name in ('1', '2', '3'):
        (tmp_path / f'VOC2007/JPEGImages/{name}.jpg').write_bytes(b'jpeg')
        objects = OBJECT.format('cat') + OBJECT.format('dog')
        (tmp_path / f'VOC2007/Annotations/{name}.xml').write_text(
            f'<annotation>{SIZE}{objects}</annotation>'
        )
    (tmp_path / 'list.txt').write_text('1\n2\n3\n')
    return tmp_path


def dataset(root, *classes):
    pytest.importorskip('mmcv._ext', reason='detectors need compiled mmcv ops')
    datasets = pytest.importorskip('mmdet.datasets')
    return datasets.VOCDataset(
        data_root=str(root),
        ann_file='list.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=dict(classes=classes),
        lazy_init=True,
    )


@pytest.mark.parametrize('classes', [('cat', 'dog'), ('dog',), ('bird', 'cat')])
def test_good_files(root, classes):
    built = dataset(root, *classes)
    assert reads_as_voc(type(built))
    check_voc(PLACE, built)
    built.full_init()
    assert len(built) == 3


def test_a_rare_class(root, monkeypatch):
    monkeypatch.setattr('fan_mm.engine.checks.voc_files._FILES', 1)
    rewrite('<name>dog', '<name>sofa')(root)
    assert check_voc(PLACE, dataset(root, 'sofa')) == []


def test_classes_that_no_object_has(root):
    built = dataset(root, 'Cat', 'Dog')
    with pytest.raises(InputError, match="are 'cat', 'dog', but the classes are 'Cat', 'Dog': set"):
        check_voc(PLACE, built)
    built.full_init()
    assert not any(info['instances'] for info in built.data_list)  # in silence


def rewrite(old, new):
    def change(root):
        file = root / 'VOC2007/Annotations/2.xml'
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            rewrite('<name>dog', '<name>Dog'),
            "objects named 'Dog' are left out: the class is written 'dog'",
        ),
        (rewrite('<name>dog', '<name> dog'), "objects named ' dog' are left out"),
        (rewrite('<name>dog', '<name>bird'), None),  # not wanted
        (rewrite('<xmin>5', '<xmin>35'), None),  # of no width
        (rewrite('<ymin>10', '<ymin>60'), None),
        (
            rewrite('<xmin>5', '<xmin>55'),
            r'2\.xml: an object has xmin 55, ymin 10, xmax 35, ymax 60: its corners are swapped',
        ),
        (
            lambda root: (root / 'list.txt').write_text('1\n2\n1'),
            '1 images listed more than once',
        ),
    ],
)
def test_what_is_left_out_is_said(root, change, words):
    change(root)
    notes = check_voc(PLACE, dataset(root, 'cat', 'dog'))
    assert len(notes) == (words is not None)
    assert words is None or re.search(words, notes[0]), notes


@pytest.mark.parametrize(('number', 'said'), [(3, True), (2, False)])
def test_objects_that_are_all_difficult_are_said(root, number, said):
    for file in sorted((root / 'VOC2007/Annotations').iterdir())[:number]:
        text = file.read_text().replace('</name>', '</name><difficult>1</difficult>')
        file.write_text(text)
    notes = check_voc(PLACE, dataset(root, 'cat'))
    assert notes == (
        [
            f'{PLACE}: all 3 objects checked have difficult 1: mmdet leaves them out of training, and metrics do '
            'not count them'
        ]
        if said
        else []
    )


def declared(encoding):
    def change(root):
        file = root / 'VOC2007/Annotations/2.xml'
        file.write_text(f'<?xml version="1.0" encoding="{encoding}"?>{file.read_text()}')

    return change


def test_files_without_objects_are_said(root):
    for file in (root / 'VOC2007/Annotations').iterdir():
        file.write_text(f'<annotation>{SIZE}</annotation>')
    assert check_voc(PLACE, dataset(root, 'cat')) == [
        f'{PLACE}: there are no objects in the 3 files checked'
    ]


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            rewrite('<xmin>5</xmin>', ''),
            "2.xml: the object 'cat' has no bndbox of four .*xmin None",
        ),
        (rewrite('<xmin>5', '<xmin>left'), "2.xml: the object 'cat' has no bndbox .*xmin left"),
        (
            lambda root: (root / 'VOC2007/JPEGImages/2.jpg').rename(root / '2.png'),
            r'no image .*2\.jpg',
        ),
        (
            lambda root: (root / 'VOC2007/Annotations/2.xml').unlink(),
            r'no annotation file .*2\.xml',
        ),
        (lambda root: (root / 'VOC2007/Annotations/2.xml').write_text('<a>'), r'2\.xml is not XML'),
        (
            declared('GB2312'),
            r'2\.xml must be saved as UTF-8: multi-byte encodings are not supported',
        ),
        (declared('utf-9'), r'2\.xml must be saved as UTF-8: unknown encoding: utf-9'),
        (
            lambda root: (root / 'list.txt').write_text(''),
            r'is empty: .*list\.txt contains no names',
        ),
    ],
)
def test_files_that_cannot_be_read(root, change, words):
    change(root)
    with pytest.raises(InputError, match=words) as error:
        check_voc(PLACE, dataset(root, 'cat'))
    assert '\n' not in str(error.value)


def test_only_what_is_kept_is_looked_for(root):
    (root / 'VOC2007/Annotations/3.xml').unlink()
    check_voc(PLACE, dataset(root, 'cat'), indices=2)


def test_readers_of_ones_own_are_left_alone():
    datasets = pytest.importorskip('mmdet.datasets')
    assert not reads_as_voc(datasets.WIDERFaceDataset)
    assert not reads_as_voc(datasets.CocoDataset)


def of_whole_images(root, *classes, **options):
    voc = pytest.importorskip('mmpretrain.datasets').VOC
    (root / 'VOC2007/ImageSets/Main').mkdir(parents=True, exist_ok=True)
    (root / 'VOC2007/ImageSets/Main/test.txt').write_text('1\n2\n3\n')
    given = dict(split='test', metainfo=dict(classes=classes), lazy_init=True)
    return voc(data_root=str(root / 'VOC2007'), **given | options)


def test_classes_of_whole_images(root):
    built = of_whole_images(root, 'cat', 'dog')
    assert reads_as_voc(type(built))
    assert check_voc(PLACE, built) == []
    assert check_voc(PLACE, of_whole_images(root, 'cat')) == []  # one of them is meant
    (note,) = check_voc(PLACE, of_whole_images(root, 'cat', 'Dog'))
    assert note == f"{PLACE}: objects named 'dog' are left out: the class is written 'Dog'"
    with pytest.raises(InputError, match="are 'cat', 'dog', but the classes are 'Cat': set"):
        check_voc(PLACE, of_whole_images(root, 'Cat'))
    bare = dict(data_prefix=dict(img_path='JPEGImages'), test_mode=True)
    assert check_voc(PLACE, of_whole_images(root, 'Cat', **bare)) == []  # without labels
    (root / 'VOC2007/JPEGImages/2.jpg').unlink()
    with pytest.raises(InputError, match=r'no image .*2\.jpg, which .*Main/test\.txt lists'):
        check_voc(PLACE, of_whole_images(root, 'cat'))
    with pytest.raises(InputError, match=r'no list .*VOC2007/ImageSets/Main/val\.txt'):
        check_voc(PLACE, of_whole_images(root, 'cat', split='val'))
