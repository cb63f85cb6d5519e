"""Every set's files in the nestings people have them in: each picture once, with its own label."""

import itertools
import os
from pathlib import Path

import pytest

from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.errors import InputError

SEGMENTATION = [name for name, record in SHIFT_SETS.items() if record.task == 'segmentation']


def plant(root, *paths, content='x'):
    """Empty-handed files: finding reads names, and sizes where two have one name."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root


def found(root, name, *args, **options):
    """Condition -> [(picture, label or None)], as paths below the root."""
    conditions = SHIFT_SETS[name].find(root, *args, **options)
    return {
        c.name: [
            (image.relative_to(root).as_posix(), label and label.relative_to(root).as_posix())
            for image, label in itertools.zip_longest(c.images, c.labels)
        ]
        for c in conditions
    }


def acdc(images='rgb_anon', labels='gt', kind='labelTrainIds', suffix='png', split='val'):
    """Condition -> pairs of ACDC in two folders, one picture of each condition, and its reference."""
    stems = {c: f'{c}/{split}/GP0100/GP0100{n}_frame_00000{n}' for n, c in enumerate(ACDC)}
    return {
        c: [(f'{images}/{s}_rgb_anon.{suffix}', f'{labels}/{s}_gt_{kind}.png')]
        for c, s in stems.items()
    }


ACDC = ('fog', 'night', 'rain', 'snow')


def flat(pairs):
    return [path for of_one in pairs.values() for pair in of_one for path in pair if path]


CITY = 'val/frankfurt/frankfurt_000000_000294'
FOGS = {
    f'beta_{b}': [
        (
            f'leftImg8bit_foggy/{CITY}_leftImg8bit_foggy_beta_{b}.png',
            f'gtFine/{CITY}_gtFine_labelTrainIds.png',
        )
    ]
    for b in ('0.005', '0.01', '0.02')
}
RAIN = 'val/lindau/lindau_000001_000019'
# name: (set, condition -> pairs, other files that are none, options)
LAYOUTS = {
    'acdc': ('acdc', acdc(), ['gt/fog/val/GP0100/GP01000_frame_000000_gt_labelColor.png'], {}),
    'acdc, zips unpacked side by side': (
        'acdc',
        acdc('rgb_anon_trainvaltest/rgb_anon', 'gt_trainval/gt'),
        [],
        {},
    ),
    'acdc, rgb_anon twice': ('acdc', acdc('rgb_anon/rgb_anon', 'gt/gt'), [], {}),
    'acdc, rgb_anno': ('acdc', acdc('rgb_anno'), [], {}),
    'acdc, jpg': ('acdc', acdc(suffix='jpg'), [], {}),
    'acdc, JPEG': ('acdc', acdc(suffix='JPEG'), [], {}),
    'acdc, references beside pictures': (
        'acdc',
        acdc(),
        [
            'rgb_anon/fog/val_ref/GP0100/GP01000_frame_000000_rgb_ref_anon.png',
            'rgb_anon/fog/val/GP0100/GP01000_frame_000009_rgb_ref_anon.png',
            'gt/fog/val_ref/GP0100/GP01000_frame_000000_gt_ref_labelTrainIds.png',
        ],
        {},
    ),
    'acdc, other splits': (
        'acdc',
        acdc(split='train'),
        ['rgb_anon/fog/val/GP0100/GP01000_frame_000007_rgb_anon.png'],
        dict(split='train'),
    ),
    'acdc, references as the clean twin': (
        'acdc',
        {
            'fog': [
                (
                    'rgb_anon/fog/val_ref/GP0100/GP01000_frame_000000_rgb_ref_anon.png',
                    'gt/fog/val_ref/GP0100/GP01000_frame_000000_gt_ref_labelTrainIds.png',
                )
            ]
        },
        ['rgb_anon/fog/val/GP0100/GP01000_frame_000000_rgb_anon.png'],
        dict(split='val_ref'),
    ),
    'acdc, flattened, the condition lost': (
        'acdc',
        {
            'all': [
                (
                    f'rgb_anon/val/G_frame_00000{n}_rgb_anon.png',
                    f'gt/val/G_frame_00000{n}_gt_labelTrainIds.png',
                )
                for n in range(3)
            ]
        },
        [],
        {},
    ),
    'acdc, flattened pictures, labels by condition': (
        'acdc',
        {
            c: [
                (
                    f'rgb_anon/val/G_frame_{c_n}_rgb_anon.png',
                    f'gt/{c}/val/S/G_frame_{c_n}_gt_labelIds.png',
                )
            ]
            for c_n, c in enumerate(ACDC)
        },
        [],
        {},
    ),
    'acdc, flattened copies beside the original': (
        'acdc',
        acdc(),
        [f'rgb_anon/val/GP0100{n}_frame_00000{n}_rgb_anon.png' for n in range(4)],
        {},
    ),
    'acdc, no split in the folders': (
        'acdc',
        {'fog': [('fog/G_frame_1_rgb_anon.png', 'fog/G_frame_1_gt_labelTrainIds.png')]},
        [],
        {},
    ),
    'acdc, labels withheld': (
        'acdc',
        {'night': [('rgb_anon/night/test/GOPR0356/GOPR0356_frame_000001_rgb_anon.png', None)]},
        ['gt/night/val/GOPR0356/GOPR0356_frame_000009_gt_labelTrainIds.png'],
        dict(split='test'),
    ),
    'dark zurich': (
        'dark_zurich',
        {
            'night': [
                (
                    'rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png',
                    'gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelTrainIds.png',
                )
            ]
        },
        [
            'rgb_anon/val_ref/day/GOPR0356_ref/GOPR0356_frame_000321_ref_rgb_anon.png',
            'rgb_anon/val/night/GOPR0356/GOPR0356_frame_000322_ref_rgb_anon.png',
            'rgb_anon/train/night/GOPR0351/GOPR0351_frame_000001_rgb_anon.png',
            'gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_invIds.png',
            'gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelIds.png',
        ],
        {},
    ),
    'dark zurich, nested and flattened': (
        'dark_zurich',
        {
            'all': [
                (
                    'Dark_Zurich_val_anon/rgb_anon/val/GOPR0356_frame_000321_rgb_anon.png',
                    'Dark_Zurich_val_anon/gt/val/GOPR0356_frame_000321_gt_labelIds.png',
                )
            ]
        },
        [],
        {},
    ),
    'dark zurich, test': (
        'dark_zurich',
        {'night': [('rgb_anon/test/night/GP010364/GP010364_frame_000001_rgb_anon.png', None)]},
        [],
        dict(split='test'),
    ),
    'dark zurich, train by time of day': (
        'dark_zurich',
        {
            t: [(f'rgb_anon/train/{t}/G1/G1_frame_00000{n}_rgb_anon.png', None)]
            for n, t in enumerate(('night', 'twilight', 'day'))
        },
        [],
        dict(split='train'),
    ),
    'nighttime driving': (
        'night_driving',
        {
            'night': [
                (
                    'NighttimeDrivingTest/leftImg8bit/test/night/0_a_leftImg8bit.png',
                    'NighttimeDrivingTest/gtCoarse_daytime_trainvaltest/test/night/0_a_gtCoarse_labelTrainIds.png',
                )
            ]
        },
        ['NighttimeDrivingTest/gtCoarse_daytime_trainvaltest/test/night/0_a_gtCoarse_color.png'],
        {},
    ),
    'cityscapes': (
        'cityscapes',
        {
            'all': [
                (f'leftImg8bit/{CITY}_leftImg8bit.png', f'gtFine/{CITY}_gtFine_labelTrainIds.png')
            ]
        },
        [f'gtFine/{CITY}_gtFine_{kind}' for kind in ('labelIds.png', 'color.png', 'polygons.json')],
        {},
    ),
    'cityscapes, zips, labelIds': (
        'cityscapes',
        {
            'all': [
                (
                    f'leftImg8bit_trainvaltest/leftImg8bit/{CITY}_leftImg8bit.png',
                    f'gtFine_trainvaltest/gtFine/{CITY}_gtFine_labelIds.png',
                )
            ]
        },
        [f'leftImg8bit_foggy/{CITY}_leftImg8bit_foggy_beta_0.02.png'],
        {},
    ),
    'cityscapes, dummies of test': (
        'cityscapes',
        {'all': [('leftImg8bit/test/bonn/bonn_000000_000019_leftImg8bit.png', None)]},
        ['gtFine/test/bonn/bonn_000000_000019_gtFine_labelIds.png'],
        dict(split='test'),
    ),
    'foggy cityscapes': ('foggy_cityscapes', FOGS, [f'leftImg8bit/{CITY}_leftImg8bit.png'], {}),
    'foggy cityscapes, both transmissions': (
        'foggy_cityscapes',
        FOGS,
        [f'leftImg8bit_foggyDBF/{CITY}_leftImg8bit_foggy_beta_{b}.png' for b in ('0.005', '0.02')],
        {},
    ),
    'foggy cityscapes, a list of one fog': (
        'foggy_cityscapes',
        {'beta_0.02': FOGS['beta_0.02']},
        [f'leftImg8bit_foggy/{CITY}_leftImg8bit_foggy_beta_0.01.png'],
        dict(split='refined.txt'),
    ),
    'raincityscapes': (
        'rain_cityscapes',
        {
            f'alpha_{a}_beta_{b}_dropsize_{d}': [
                (
                    f'leftImg8bit_trainval_rain/leftImg8bit_rain/{RAIN}{middle}_rain_alpha_{a}_beta_{b}_dropsize_{d}_pattern_{p}.png',
                    f'gtFine/{RAIN}_gtFine_labelTrainIds.png',
                )
                for p in (1, 2)
            ]
            for a, b, d, middle in (
                ('0.01', '0.005', '0.01', '_leftImg8bit'),
                ('0.02', '0.01', '0.005', '_leftImg8bit'),
                ('0.03', '0.015', '0.002', ''),
            )
        },
        [],
        {},
    ),
    'foggy driving': (
        'foggy_driving',
        {
            'fog': [
                (
                    'leftImg8bit/test/public/a_leftImg8bit.png',
                    'gtFine/test/public/a_gtFine_labelTrainIds.png',
                ),
                (
                    'leftImg8bit/test_extra/web/a_leftImg8bit.png',
                    'gtCoarse/test_extra/web/a_gtCoarse_labelTrainIds.png',
                ),
            ]
        },
        [
            'gtFine/test/public/a_gtFine_labelIds.png',
            'gtCoarse/test/public/a_gtCoarse_labelTrainIds.png',
            'bboxGt/a.txt',
        ],
        {},
    ),
    'foggy driving, fine': (
        'foggy_driving',
        {
            'fog': [
                (
                    'leftImg8bit/test/public/a_leftImg8bit.png',
                    'gtFine/test/public/a_gtFine_labelTrainIds.png',
                )
            ]
        },
        ['leftImg8bit/test_extra/web/a_leftImg8bit.png'],
        dict(split='fine'),
    ),
    'foggy driving, dense': (
        'foggy_driving',
        {
            'fog': [
                (
                    'leftImg8bit/test/public/a_leftImg8bit.png',
                    'gtFine/test/public/a_gtFine_labelTrainIds.png',
                )
            ]
        },
        ['leftImg8bit/test/public/b_leftImg8bit.png', 'leftImg8bit/test/web/a_leftImg8bit.png'],
        dict(split='dense'),
    ),
    'foggy zurich, a list': (
        'foggy_zurich',
        {
            'fog': [
                (
                    'Foggy_Zurich/Foggy_Zurich/RGB/GOPR1/1508_frame_000001.png',
                    'Foggy_Zurich/Foggy_Zurich/gt_labelTrainIds/GOPR1/1508_frame_000001.png',
                )
            ]
        },
        [
            'Foggy_Zurich/Foggy_Zurich/RGB/GOPR1/1508_frame_000002.png',
            'Foggy_Zurich/Foggy_Zurich/RGB/GOPR2/1508_frame_000001.png',
            'Foggy_Zurich/Foggy_Zurich/gt_color/GOPR1/1508_frame_000001.png',
        ],
        {},
    ),
    'foggy zurich, no list': (
        'foggy_zurich',
        {'fog': [('RGB/GOPR1/15_frame_000001.png', 'gt_labelTrainIds/GOPR1/15_frame_000001.png')]},
        ['RGB/GOPR1/15_frame_000002.png'],
        {},
    ),
    'bdd100k': (
        'bdd100k',
        {
            'all': [
                ('bdd100k/images/10k/val/7d06-1.jpg', 'bdd100k/labels/sem_seg/masks/val/7d06-1.png')
            ]
        },
        [
            'bdd100k/images/100k/val/7d06-1.jpg',
            'bdd100k/images/10k/train/7d06-2.jpg',
            'bdd100k/labels/sem_seg/colormaps/val/7d06-1.png',
            'bdd100k/labels/pan_seg/bitmasks/val/7d06-1.png',
            'bdd100k/labels/sem_seg/masks/val/7d06-9.png',  # of a picture that is not there
        ],
        {},
    ),
    'bdd100k, older': (
        'bdd100k',
        {'all': [('seg/images/val/7d06-1.jpg', 'seg/labels/val/7d06-1_train_id.png')]},
        ['seg/color_labels/val/7d06-1_train_color.png'],
        {},
    ),
    'bdd100k, night': (
        'bdd100k',
        {
            'all': [
                ('images/10k/train/a-1.jpg', 'labels/sem_seg/masks/train/a-1.png'),
                ('images/10k/val/b-1.jpg', 'labels/sem_seg/masks/val/b-1.png'),
            ]
        },
        ['images/10k/val/b-2.jpg', 'labels/sem_seg/masks/val/b-2.png'],
        dict(split='night'),
    ),
    'muses': (
        'muses',
        {
            f'{w}/{t}': [
                (
                    f'frame_camera/val/{w}/{t}/REC000{n}_frame_000001_frame_camera.png',
                    f'gt_semantic/val/{w}/{t}/REC000{n}_frame_000001_gt_labelTrainIds.png',
                )
            ]
            for n, (w, t) in enumerate(
                itertools.product(('clear', 'fog', 'rain', 'snow'), ('day', 'night'))
            )
        },
        ['gt_semantic/val/clear/day/REC0000_frame_000001_gt_labelColor.png'],
        {},
    ),
    'muses, zips': (
        'muses',
        {
            'fog/night': [
                (
                    'RGB_Frame_Camera_trainvaltest/muses/frame_camera_trainvaltest/val/fog/night/REC0001_frame_000001_frame_camera.png',
                    'Semantic_Annotations_trainval/muses/gt_semantic/val/fog/night/REC0001_frame_000001_gt_labelTrainIds.png',
                )
            ]
        },
        [],
        {},
    ),
    'muses, flattened, meta.json': (
        'muses',
        {
            'rain/night': [
                (
                    'frame_camera/val/REC0001_frame_000001_frame_camera.png',
                    'gt_semantic/val/REC0001_frame_000001_gt_labelTrainIds.png',
                )
            ]
        },
        [],
        {},
    ),
    'idd I and II': (
        'idd',
        {
            'all': [
                (
                    'leftImg8bit/val/1/frame_leftImg8bit.png',
                    'gtFine/val/1/frame_gtFine_labellevel3Ids.png',
                ),
                (
                    'leftImg8bit/val/2/frame_leftImg8bit.jpg',
                    'gtFine/val/2/frame_gtFine_labellevel3Ids.png',
                ),
            ]
        },
        [
            'gtFine/val/1/frame_gtFine_polygons.json',
            'gtFine/val/1/frame_gtFine_instancelevel3Ids.png',
        ],
        {},
    ),
    'idd, csTrainIds': (
        'idd',
        {
            'all': [
                (
                    'IDD/leftImg8bit/val/1/a_leftImg8bit.png',
                    'IDD/gtFine/val/1/a_gtFine_labelcsTrainIds.png',
                )
            ]
        },
        [],
        {},
    ),
    'wilddash, panoptic': (
        'wilddash',
        {'all': [('wd_public_v2p0/images/wd0001_a.jpg', 'wd_public_v2p0/panoptic/wd0001_a.png')]},
        ['wd_public_v2p0/panoptic.json', 'wd_public_v2p0/labels/wd0001_a.png'],
        {},
    ),
    'wilddash, older': (
        'wilddash',
        {'all': [('images/wd0001_a.jpg', 'labels/wd0001_a.png')]},
        ['instances/wd0001_a.png'],
        {},
    ),
    'mapillary 1.2': (
        'mapillary',
        {'all': [('validation/images/a.jpg', 'validation/labels/a.png')]},
        ['training/images/b.jpg', 'validation/instances/a.png', 'config.json'],
        {},
    ),
    'mapillary 2.0': (
        'mapillary',
        {'all': [('validation/images/a.jpg', 'validation/v1.2/labels/a.png')]},
        ['validation/v2.0/labels/a.png', 'validation/v1.2/panoptic/a.png'],
        {},
    ),
    'mapillary 2.0, our own map': (
        'mapillary',
        {'all': [('validation/images/a.jpg', 'validation/v2.0/labels/a.png')]},
        ['validation/v1.2/labels/a.png'],
        dict(encoding='mapillary_v2'),
    ),
}
LISTS = {
    'foggy cityscapes, a list of one fog': (
        'refined.txt',
        [f'leftImg8bit_foggyDBF/{CITY}_leftImg8bit_foggy_beta_0.02.png'],
    ),
    'foggy driving, dense': (
        'lists_file_names/leftImg8bit_testdense_filenames.txt',
        ['leftImg8bit/test/public/a_leftImg8bit.png'],
    ),
    'foggy zurich, a list': (
        'Foggy_Zurich/lists_file_names/RGB_testv2_filenames.txt',
        ['RGB/GOPR1/1508_frame_000001.png'],
    ),
    'bdd100k, night': ('images_trainval_night_correct_filenames.txt', ['a-1.jpg', '', 'b-1']),
    'muses, flattened, meta.json': (
        'meta.json',
        ['{"REC0001_frame_000001": {"weather": "rain", "time_of_day": "night"}}'],
    ),
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_layouts(layout, tmp_path):
    name, pairs, others, options = LAYOUTS[layout]
    plant(tmp_path, *others, *flat(pairs))
    if layout in LISTS:
        file, lines = LISTS[layout]
        plant(tmp_path, file, content='\n'.join(lines) + '\n')
    assert found(tmp_path, name, **options) == pairs
    assert list(found(tmp_path, name, **options)) == list(pairs)  # conditions in their order


def test_every_set_has_a_layout():
    assert {name for name, *_ in LAYOUTS.values()} == set(SEGMENTATION)


@pytest.mark.parametrize('name', ('foggy_cityscapes', 'rain_cityscapes'))
def test_labels_of_cityscapes(name, tmp_path):
    pairs = {
        'foggy_cityscapes': LAYOUTS['foggy cityscapes'],
        'rain_cityscapes': LAYOUTS['raincityscapes'],
    }[name][1]
    pictures = [picture for of_one in pairs.values() for picture, _ in of_one]
    root = plant(tmp_path / 'set', *pictures)
    with pytest.raises(InputError, match=r'they are those of Cityscapes: --cityscapes DIR$'):
        found(root, name)
    cityscapes = plant(tmp_path / 'cityscapes', *(label for v in pairs.values() for _, label in v))
    conditions = SHIFT_SETS[name].find(root, labels=cityscapes)
    assert [c.name for c in conditions] == list(pairs)
    for condition in conditions:
        assert condition.labels_folder == cityscapes
        assert [str(p.relative_to(cityscapes)) for p in condition.labels] == [
            label for _, label in pairs[condition.name]
        ]
    for path in list(cityscapes.rglob('*.png')):
        path.unlink()
    with pytest.raises(InputError, match='no labels below'):
        SHIFT_SETS[name].find(root, labels=cityscapes)


def test_pictures_without_a_label_are_named(tmp_path):
    plant(tmp_path, *flat(acdc()))
    lost = 'rgb_anon/fog/val/GP0100/GP01000_frame_000077_rgb_anon.png'
    plant(tmp_path, lost)
    fog, night, *_ = SHIFT_SETS['acdc'].find(tmp_path)
    assert fog.unlabelled == (tmp_path / lost,) and night.unlabelled == ()
    assert len(fog.images) == len(fog.labels) == 1
    (tmp_path / flat({'night': acdc()['night']})[1]).unlink()
    conditions = SHIFT_SETS['acdc'].find(tmp_path)
    assert [c.name for c in conditions] == ['fog', 'rain', 'snow']
    assert conditions[0].notes == ('night: none of its 1 pictures has a label',)


@pytest.mark.parametrize(
    ('layout', 'encoding', 'notes'),
    [
        ('acdc', 'train_ids', ()),
        (
            'acdc, flattened copies beside the original',
            'train_ids',
            ('4 further copies left out, such as rgb_anon/val/GP01000_frame_000000_rgb_anon.png',),
        ),
        (
            'acdc, flattened, the condition lost',
            'train_ids',
            ('3 pictures lie in no folder that names a condition',),
        ),
        (
            'dark zurich, nested and flattened',
            'label_ids',
            ('1 pictures lie in no folder that names a condition',),
        ),
        ('acdc, labels withheld', '', ()),
        ('cityscapes, zips, labelIds', 'label_ids', ()),
        (
            'foggy zurich, no list',
            'train_ids',
            ('no list RGB_testv2_filenames.txt: all 1 pictures with a label',),
        ),
        ('idd I and II', 'idd_level3', ()),
        ('idd, csTrainIds', 'idd_train_ids', ()),
        ('wilddash, older', 'wilddash', ()),
        ('mapillary 2.0', 'mapillary_a', ()),
        ('mapillary 2.0, our own map', 'mapillary_v2', ()),
    ],
)
def test_encoding_and_notes(layout, encoding, notes, tmp_path):
    name, pairs, others, options = LAYOUTS[layout]
    plant(tmp_path, *others, *flat(pairs))
    for condition in SHIFT_SETS[name].find(tmp_path, **options):
        assert (condition.encoding, condition.notes) == (encoding, notes)
        assert condition.split == options.get('split', SHIFT_SETS[name].splits[0])


@pytest.mark.parametrize('encoding', ('mapillary_b', 'mapillary_c'))
def test_the_map_is_a_choice(encoding, tmp_path):
    plant(tmp_path, 'validation/images/a.jpg', 'validation/labels/a.png')
    (condition,) = SHIFT_SETS['mapillary'].find(tmp_path, encoding=encoding)
    assert condition.encoding == encoding


def test_png_counts_where_a_picture_is_there_as_jpg_too(tmp_path):
    pairs = acdc()
    plant(tmp_path, *flat(pairs))
    plant(tmp_path, *flat(acdc(suffix='jpg')), content='other bytes')
    assert found(tmp_path, 'acdc') == pairs


def test_two_sets_with_equal_names_side_by_side(tmp_path):
    """Each from its own folder, whatever lies in the other."""
    frame = 'GOPR0356/GOPR0356_frame_000321'
    plant(tmp_path / 'acdc', f'rgb_anon/night/val/{frame}_rgb_anon.png')
    plant(tmp_path / 'acdc', f'gt/night/val/{frame}_gt_labelTrainIds.png')
    plant(tmp_path / 'dz', f'rgb_anon/val/night/{frame}_rgb_anon.png')
    plant(tmp_path / 'dz', f'gt/val/night/{frame}_gt_labelTrainIds.png')
    for name, folder in (('acdc', 'acdc'), ('dark_zurich', 'dz')):
        assert len(found(tmp_path / folder, name)['night']) == 1
        with pytest.raises(
            InputError, match=r'is not .*: .*GOPR0356_frame.* is of (ACDC|Dark Zurich)'
        ):
            found(tmp_path, name)


def test_links_are_followed_but_not_in_circles(tmp_path):
    plant(tmp_path / 'disk', *flat(acdc()))
    (tmp_path / 'data').mkdir()
    for name in ('rgb_anon', 'gt'):
        (tmp_path / 'data' / name).symlink_to(tmp_path / 'disk' / name)
    (tmp_path / 'disk' / 'rgb_anon' / 'fog' / 'up').symlink_to(tmp_path / 'disk')
    assert found(tmp_path / 'data', 'acdc') == acdc()


CITYSCAPES_TREE = flat(LAYOUTS['cityscapes'][1])
MISTAKES = {
    'no folder': ('acdc', [], dict(), r'^ACDC: no such folder: .*/set$'),
    'empty': (
        'acdc',
        ['readme.txt'],
        {},
        r'has no pictures of ACDC; expected is rgb_anon/CONDITION/.*\.png$',
    ),
    'split': (
        'acdc',
        flat(acdc()),
        dict(split='vall'),
        r"no split 'vall': they are val, train, test",
    ),
    'another split': (
        'acdc',
        flat(acdc(split='train')),
        {},
        r'no pictures of ACDC, split val; it has train: --split acdc=SPLIT chooses$',
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
        r'^ACDC, split val: no labels below .* for rgb_anon/fog/val/.* or any other picture; expected is',
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
        r'labels are mixed \(4 as Cityscapes trainIds, 4 as Cityscapes labelIds\), and no kind has all 8',
    ),
    'mixed pictures': (
        'acdc',
        flat(acdc()) + [f.replace('0100', '0101') for f in flat(acdc(suffix='jpg'))],
        {},
        r'pictures of ACDC, split val, are of several formats \(4 \.png, 4 \.jpg\): keep one',
    ),
    'dark zurich as acdc': (
        'acdc',
        flat(LAYOUTS['dark zurich'][1]),
        {},
        r'is not ACDC: rgb_anon/val/night/.* is of Dark Zurich \(--dark-zurich\)$',
    ),
    'acdc as dark zurich': ('dark_zurich', flat(acdc()), {}, r'is of ACDC \(--acdc\)$'),
    'cityscapes as night driving': (
        'night_driving',
        CITYSCAPES_TREE,
        {},
        r'of Cityscapes \(--cityscapes\)$',
    ),
    'cityscapes as foggy driving': (
        'foggy_driving',
        CITYSCAPES_TREE,
        {},
        r'of Cityscapes \(--cityscapes\)$',
    ),
    'cityscapes as idd': ('idd', CITYSCAPES_TREE, {}, r'is of Cityscapes \(--cityscapes\)$'),
    'idd as cityscapes': (
        'cityscapes',
        flat(LAYOUTS['idd I and II'][1]),
        {},
        r'is of IDD \(--idd\)$',
    ),
    'cityscapes as its fog': (
        'foggy_cityscapes',
        CITYSCAPES_TREE,
        {},
        r'has no pictures of Foggy Cityscapes; .*; it looks like Cityscapes \(--cityscapes\)$',
    ),
    'muses as acdc': ('acdc', flat(LAYOUTS['muses'][1]), {}, r'looks like MUSES \(--muses\)$'),
    'bdd100k as wilddash': (
        'wilddash',
        flat(LAYOUTS['bdd100k'][1]),
        {},
        r'is of BDD100K \(--bdd100k\)$',
    ),
    'mapillary as wilddash': (
        'wilddash',
        flat(LAYOUTS['mapillary 1.2'][1]),
        {},
        r'is of Mapillary Vistas \(--mapillary\)$',
    ),
    'wilddash as bdd100k': (
        'bdd100k',
        flat(LAYOUTS['wilddash, older'][1]),
        {},
        r'is of WildDash 2',
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
        r'only labels as mapillary_v2: --encoding mapillary=NAME reads them',
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
            r'names 1 pictures that are not below .*gone_',
        ),
    ],
)
def test_a_list_that_does_not_fit(lines, message, tmp_path):
    plant(tmp_path, *flat(LAYOUTS['foggy driving'][1]))
    plant(tmp_path, 'leftImg8bit_testdense_filenames.txt', content=lines)
    with pytest.raises(InputError, match=message):
        SHIFT_SETS['foggy_driving'].find(tmp_path, 'dense')


def test_a_list_of_pictures_and_labels_in_absolute_paths(tmp_path):
    plant(tmp_path, *flat(acdc()))
    picture, label = acdc()['rain'][0]
    plant(tmp_path, 'rain.txt', content=f'/data/them/{picture} /data/them/{label}\n')
    assert found(tmp_path, 'acdc', 'rain.txt') == {'rain': [(picture, label)]}
    assert found(tmp_path, 'acdc', str(tmp_path / 'rain.txt')) == {'rain': [(picture, label)]}


def test_lists_of_raincityscapes_leave_out_a_part_of_the_names(tmp_path):
    name, pairs, *_ = LAYOUTS['raincityscapes']
    plant(tmp_path, *flat(pairs))
    (condition, files), *_ = pairs.items()
    line = Path(files[1][0]).name.replace('_leftImg8bit', '')
    plant(tmp_path, 'val.txt', content=line)
    assert found(tmp_path, name, 'val.txt') == {condition: [files[1]]}


def test_two_pictures_of_one_name_are_not_guessed_at(tmp_path):
    plant(tmp_path, *flat(acdc()))
    plant(tmp_path, *(f'foggier/{p}' for p in flat(acdc()) if '_rgb_' in p), content='other bytes')
    with pytest.raises(InputError, match='have one name and differ'):
        found(tmp_path, 'acdc')


@pytest.mark.parametrize('size', ('as large', 'larger or smaller'))
def test_equal_names_in_other_splits_and_conditions(size, tmp_path):
    """A made-up tree may use one name everywhere: neither pictures nor labels are confused."""
    pairs = {
        c: [
            (
                f'rgb_anon/{c}/val/S/S_frame_1_rgb_anon.png',
                f'gt/{c}/val/S/S_frame_1_gt_labelTrainIds.png',
            )
        ]
        for c in ACDC
    }
    for number, path in enumerate(flat(pairs)):
        content = 'x' * (number + 1) if size != 'as large' else 'x'
        plant(tmp_path, path, content=content)
        plant(tmp_path, path.replace('/val/', '/train/'), content=content + 'y')
    assert found(tmp_path, 'acdc') == pairs
    assert SHIFT_SETS['acdc'].find(tmp_path)[0].notes == ()


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
    with pytest.raises(InputError, match=r'meta\.json is no meta\.json of MUSES'):
        found(tmp_path, 'muses')
