"""Trees of real sets in the nestings people have them in, planted as files with next to nothing in them."""

import itertools

from fan_mm.datasets.shifts import SHIFT_SETS


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
        [
            *(
                f'leftImg8bit_foggyDBF/{CITY}_leftImg8bit_foggy_beta_{b}.png'
                for b in ('0.005', '0.02')
            ),
            f'leftImg8bit_foggy/{CITY}_leftImg8bit_foggyDBF_beta_0.01.png',
        ],
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
        ['{"val": {"REC0001_frame_000001": {"weather": "rain", "time_of_day": "night"}}}'],
    ),
}
