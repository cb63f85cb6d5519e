"""Folders that are no set's, another set's, or two in one: one line each."""

import os

import pytest
from shift_trees import LAYOUTS, acdc, flat, found, plant

from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.errors import InputError

CITYSCAPES_TREE = flat(LAYOUTS['cityscapes'][1])
MISTAKES = {
    'no folder': ('acdc', [], dict(), r'^ACDC: no such folder: .*/set$'),
    'empty': (
        'acdc',
        ['readme.txt'],
        {},
        r'has no images of ACDC; expected: rgb_anon/CONDITION/.*\.png$',
    ),
    'split': (
        'acdc',
        flat(acdc()),
        dict(split='vall'),
        r"no split 'vall': choose from val, train, test",
    ),
    'another split': (
        'acdc',
        flat(acdc(split='train')),
        {},
        r'no images of ACDC, split val; it has train: --split acdc=SPLIT selects it$',
    ),
    'encoding': (
        'acdc',
        flat(acdc()),
        dict(encoding='idd_level3'),
        'labels as train_ids, label_ids, not',
    ),
    'no labels': (
        'acdc',
        [f for f in flat(acdc()) if '_gt_' not in f],
        {},
        r'^ACDC, split val: no labels below .* for rgb_anon/fog/val/.* or any other image; expected:',
    ),
    'labels as jpg': (
        'acdc',
        [f.replace('Ids.png', 'Ids.jpg') for f in flat(acdc())],
        {},
        'ACDC, split val: no labels below',
    ),
    'mixed labels': (
        'acdc',
        flat(acdc()) + [f.replace('0100', '0101') for f in flat(acdc(kind='labelIds'))],
        {},
        r'labels are mixed \(4 as Cityscapes trainIds, 4 as Cityscapes labelIds\), and no kind covers all 8',
    ),
    'mixed pictures': (
        'acdc',
        flat(acdc()) + [f.replace('0100', '0101') for f in flat(acdc(suffix='jpg'))],
        {},
        r'images of ACDC, split val, have several formats \(4 \.png, 4 \.jpg\): keep one',
    ),
    'dark zurich as acdc': (
        'acdc',
        flat(LAYOUTS['dark zurich'][1]),
        {},
        r'is not ACDC: rgb_anon/val/night/.* belongs to Dark Zurich \(--dark-zurich\)$',
    ),
    'acdc as dark zurich': ('dark_zurich', flat(acdc()), {}, r'belongs to ACDC \(--acdc\)$'),
    **{
        f'{one} as {other}, {place or "no folder"}': (
            other,
            [
                f'rgb_anon/{place}{frame}_rgb_anon.png',
                f'gt/{place}{frame}_gt_labelTrainIds.png',
            ]
            if place
            else [f'{frame}_rgb_anon.png', f'{frame}_gt_labelTrainIds.png'],
            {'split': place.strip('/') or None},
            rf'is not {own}: .*{frame}_rgb_anon.png belongs to {whose} \(',
        )
        for one, other, own, whose, frame in (
            ('flat acdc', 'dark_zurich', 'Dark Zurich', 'ACDC', 'GOPR0122_frame_000161'),
            ('flat dark zurich', 'acdc', 'ACDC', 'Dark Zurich', 'GOPR0356_frame_000321'),
        )
        for place in ('', 'val/', 'test/')
        if one == 'flat acdc' or place != 'test/'
    },
    'cityscapes as night driving': (
        'night_driving',
        CITYSCAPES_TREE,
        {},
        r'belongs to Cityscapes \(--cityscapes\)$',
    ),
    'cityscapes as foggy driving': (
        'foggy_driving',
        CITYSCAPES_TREE,
        {},
        r'belongs to Cityscapes \(--cityscapes\)$',
    ),
    'cityscapes as idd': ('idd', CITYSCAPES_TREE, {}, r'belongs to Cityscapes \(--cityscapes\)$'),
    'idd as cityscapes': (
        'cityscapes',
        flat(LAYOUTS['idd I and II'][1]),
        {},
        r'belongs to IDD \(--idd\)$',
    ),
    'cityscapes as its fog': (
        'foggy_cityscapes',
        CITYSCAPES_TREE,
        {},
        r'has no images of Foggy Cityscapes; .*; it looks like Cityscapes \(--cityscapes\)$',
    ),
    'muses as acdc': ('acdc', flat(LAYOUTS['muses'][1]), {}, r'looks like MUSES \(--muses\)$'),
    'bdd100k as wilddash': (
        'wilddash',
        flat(LAYOUTS['bdd100k'][1]),
        {},
        r'belongs to BDD100K \(--bdd100k\)$',
    ),
    'mapillary as wilddash': (
        'wilddash',
        flat(LAYOUTS['mapillary 1.2'][1]),
        {},
        r'belongs to Mapillary Vistas \(--mapillary\)$',
    ),
    'wilddash as bdd100k': (
        'bdd100k',
        flat(LAYOUTS['wilddash, older'][1]),
        {},
        r'belongs to WildDash 2',
    ),
    'coco-o as mapillary': (
        'mapillary',
        ['sketch/val2017/1.jpg', 'sketch/annotations/instances_val2017.json'],
        {},
        r'looks like COCO-O \(--coco-o\)$',
    ),
    'idd, polygons only': (
        'idd',
        ['leftImg8bit/val/1/a_leftImg8bit.png', 'gtFine/val/1/a_gtFine_polygons.json'],
        {},
        r'no labels below .*createLabels\.py',
    ),
    'mapillary, labels of 2.0 only': (
        'mapillary',
        ['validation/images/a.jpg', 'validation/v2.0/labels/a.png'],
        {},
        r'only labels as mapillary_v2: read them with --encoding mapillary=NAME',
    ),
    'no list': (
        'bdd100k',
        flat(LAYOUTS['bdd100k'][1]),
        dict(split='night'),
        r'split night: no list images_trainval_night_correct_filenames.txt below',
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes_are_one_line(mistake, tmp_path):
    name, files, options, line = MISTAKES[mistake]
    if files:
        plant(tmp_path / 'set', *files)
    with pytest.raises(InputError, match=line) as raised:
        SHIFT_SETS[name].find(tmp_path / 'set', **options)
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        ('', 'is empty'),
        (
            'leftImg8bit/test/public/gone_leftImg8bit.png',
            r'lists 1 images that are not below .*gone_',
        ),
    ],
)
def test_a_list_that_does_not_fit(lines, message, tmp_path):
    plant(tmp_path, *flat(LAYOUTS['foggy driving'][1]))
    plant(tmp_path, 'leftImg8bit_testdense_filenames.txt', content=lines)
    with pytest.raises(InputError, match=message):
        SHIFT_SETS['foggy_driving'].find(tmp_path, 'dense')


def test_two_pictures_of_one_name_are_not_guessed_at(tmp_path):
    plant(tmp_path, *flat(acdc()))
    plant(tmp_path, *(f'foggier/{p}' for p in flat(acdc()) if '_rgb_' in p), content='other bytes')
    with pytest.raises(InputError, match='have the same name but differ'):
        found(tmp_path, 'acdc')


@pytest.mark.parametrize(('content', 'differ'), [('one', False), ('two', True)])
def test_label_maps_of_one_name_are_compared_to_the_byte(tmp_path, content, differ):
    labels = [p for p in flat(acdc()) if '_gt_labelTrainIds' in p]
    plant(tmp_path, *flat(acdc()))
    plant(tmp_path, *labels, content='one')
    plant(tmp_path, *(f'again/{p}' for p in labels), content=content)
    if not differ:
        assert found(tmp_path, 'acdc')
        return
    with pytest.raises(InputError, match=r'labelTrainIds.* have the same name but differ'):
        found(tmp_path, 'acdc')


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    """Its pictures would be missing in silence."""
    plant(tmp_path, *flat(acdc()))
    listed = os.scandir

    def scandir(path):
        if str(path).endswith('rain'):
            raise PermissionError(13, 'Permission denied', str(path))
        return listed(path)

    monkeypatch.setattr(os, 'scandir', scandir)  # modes do not stop root
    with pytest.raises(InputError, match=r'^ACDC: cannot read .*rain: Permission denied$'):
        found(tmp_path, 'acdc')


def test_damaged_meta_of_muses(tmp_path):
    plant(tmp_path, *flat(LAYOUTS['muses'][1]))
    plant(tmp_path, 'meta.json', content='[1')
    with pytest.raises(InputError, match=r'meta\.json is not a meta\.json of MUSES'):
        found(tmp_path, 'muses')
