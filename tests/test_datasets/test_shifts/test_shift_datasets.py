"""The sets in somebody's config: pictures and labels as trainIds, whatever the pipeline's form."""

import json
import re

import numpy as np
import pytest
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from striped_sets import write

from fan_mm.config_parts import type_name
from fan_mm.datasets.shifts import LABEL_MAPS, SHIFT_SETS, ShiftDataset
from fan_mm.datasets.shifts.reading import LoadTrainIds, categories_of, doubt, mapping
from fan_mm.engine.checks.labels import LabelReaders, check_labels
from fan_mm.engine.config_checks import check_data
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
OWN = {
    'acdc': 'ACDCDataset',
    'foggy_cityscapes': 'FoggyCityscapesDataset',
    'rain_cityscapes': 'RainCityscapesDataset',
    'foggy_driving': 'FoggyDrivingDataset',
    'foggy_zurich': 'FoggyZurichDataset',
    'muses': 'MUSESDataset',
    'idd': 'IDDDataset',
    'wilddash': 'WildDash2Dataset',
    'mapillary': 'MapillaryVistasDataset',
}
MMSEG = {
    'dark_zurich': 'DarkZurichDataset',
    'night_driving': 'NightDrivingDataset',
    'bdd100k': 'BDD100KDataset',
    'cityscapes': 'CityscapesDataset',
}


@pytest.fixture(autouse=True)
def mmseg():
    pytest.importorskip('mmseg')
    from mmengine.config import Config

    register_task_library(Config(dict(default_scope='mmseg')))
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def acdc(root, labels, kind='labelTrainIds', conditions=('fog', 'night'), count=2):
    """Tiny pictures of ACDC, with one (H, W) label array for all."""
    rng = np.random.default_rng(0)
    for condition in conditions:
        for number in range(count):
            stem = f'{condition}/val/GP01/GP01{condition}_frame_{number}'
            write(
                root / f'rgb_anon/{stem}_rgb_anon.png', rng.integers(0, 256, (8, 16, 3), np.uint8)
            )
            write(root / f'gt/{stem}_gt_{kind}.png', labels)
    return root


def values_of(encoding):
    """All values of an encoding, in a label picture of 8 x 16."""
    values = sorted(LABEL_MAPS[encoding].legal)
    return np.resize(np.array(values, np.uint8), 128).reshape(8, 16)


def build(**cfg):
    return DATASETS.build(dict(pipeline=PIPELINE, **cfg))


def test_registered_under_their_own_names():
    for name, kind in OWN.items():
        assert SHIFT_SETS[name].dataset_type == kind
        cls = DATASETS.get(kind)
        assert issubclass(cls, ShiftDataset) and name == cls.SHIFT
    for name, kind in MMSEG.items():
        assert SHIFT_SETS[name].dataset_type == kind
        with DATASETS.switch_scope_and_registry('mmseg') as registry:
            assert registry.get(kind).__module__.startswith('mmseg.')


@pytest.mark.parametrize('kind', ('labelTrainIds', 'labelIds'))
def test_labels_are_train_ids(kind, tmp_path):
    encoding = {'labelTrainIds': 'train_ids', 'labelIds': 'label_ids'}[kind]
    labels = values_of(encoding)
    acdc(tmp_path, labels, kind)
    dataset = build(type='ACDCDataset', data_root=str(tmp_path), conditions=['night'])
    assert len(dataset) == 2
    sample = dataset[1]['data_samples']
    assert sample.img_path.endswith('night/val/GP01/GP01night_frame_1_rgb_anon.png')
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0], LABEL_MAPS[encoding].table[labels])


@pytest.mark.parametrize(
    ('name', 'picture', 'label', 'encoding'),
    [
        (
            'idd',
            'leftImg8bit/val/1/a_leftImg8bit.jpg',
            'gtFine/val/1/a_gtFine_labellevel3Ids.png',
            'idd_level3',
        ),
        ('wilddash', 'images/wd0001_a.jpg', 'labels/wd0001_a.png', 'wilddash'),
        ('mapillary', 'validation/images/a.jpg', 'validation/labels/a.png', 'mapillary_b'),
        ('mapillary', 'validation/images/a.jpg', 'validation/v2.0/labels/a.png', 'mapillary_v2'),
        (
            'cityscapes',
            'leftImg8bit/val/b/b_1_2_leftImg8bit.png',
            'gtFine/val/b/b_1_2_gtFine_labelIds.png',
            'label_ids',
        ),
    ],
)
def test_a_condition_as_it_was_found(name, picture, label, encoding, tmp_path):
    """`ShiftSet.dataset` reads what `ShiftSet.find` found."""
    write(tmp_path / picture, np.zeros((8, 16, 3), np.uint8))
    write(tmp_path / label, values_of(encoding))
    record = SHIFT_SETS[name]
    choice = encoding if name == 'mapillary' else None
    (condition,) = record.find(tmp_path, encoding=choice)
    assert condition.scored == LABEL_MAPS[encoding].scored
    dataset = build(**record.dataset(condition))
    sample = dataset[0]['data_samples']
    assert sample.img_path == str(tmp_path / picture)
    np.testing.assert_array_equal(
        sample.gt_sem_seg.data[0], LABEL_MAPS[encoding].table[values_of(encoding)]
    )


def test_palette_pictures_hold_indices(tmp_path):
    from PIL import Image

    write(tmp_path / 'validation/images/a.jpg', np.zeros((8, 16, 3), np.uint8))
    labels = values_of('mapillary_a')
    picture = Image.fromarray(labels, 'P')
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    (tmp_path / 'validation/labels').mkdir()
    picture.save(tmp_path / 'validation/labels/a.png')
    dataset = build(type='MapillaryVistasDataset', data_root=str(tmp_path))
    np.testing.assert_array_equal(
        dataset[0]['data_samples'].gt_sem_seg.data[0], LABEL_MAPS['mapillary_a'].table[labels]
    )


def panoptic(root, segments, names=('wd0001_a',)):
    """WildDash 2: a category for each segment id."""
    ids = np.resize(np.array(list(segments)), 128).reshape(8, 16)
    colours = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8)  # BGR
    for name in names:
        write(root / f'images/{name}.jpg', np.zeros((8, 16, 3), np.uint8))
        write(root / f'panoptic/{name}.png', colours)
    infos = [{'id': i, 'category_id': c} for i, c in segments.items() if c is not None]
    annotations = [{'file_name': f'{n}.png', 'segments_info': infos} for n in names]
    (root / 'panoptic.json').write_text(json.dumps({'annotations': annotations}))
    return np.vectorize(lambda i: 255 if segments[i] is None else segments[i])(ids)


@pytest.mark.parametrize('backend', ('pillow', 'cv2'))
def test_panoptic_pictures_of_wilddash(backend, tmp_path):
    categories = panoptic(tmp_path, {0: None, 7: 7, 300: 26, 70000: 35, 16777215: 100})
    pipeline = [PIPELINE[0], dict(type='LoadAnnotations', imdecode_backend=backend), PIPELINE[2]]
    dataset = DATASETS.build(
        dict(type='WildDash2Dataset', data_root=str(tmp_path), pipeline=pipeline)
    )
    np.testing.assert_array_equal(
        dataset[0]['data_samples'].gt_sem_seg.data[0], LABEL_MAPS['wilddash'].table[categories]
    )
    cfg = dict(type='WildDash2Dataset', data_root=str(tmp_path), pipeline=pipeline)
    check('test_dataloader.dataset', cfg)


@pytest.mark.parametrize('shape', [(4, 6), (4, 6, 1)])
def test_panoptic_pictures_without_colours(shape):
    with pytest.raises(InputError, match=r'^a\.png .*: it has no colours$'):
        categories_of(np.zeros(shape, np.uint8), {}, 'a.png')


def test_panoptic_pictures_without_their_file(tmp_path):
    panoptic(tmp_path, {7: 7})
    (tmp_path / 'panoptic.json').unlink()
    with pytest.raises(InputError, match=r'panoptic\.json: No such file.* contains the categories'):
        build(type='WildDash2Dataset', data_root=str(tmp_path))
    (tmp_path / 'panoptic.json').write_text('{"annotations": [{"a": 1}]}')
    with pytest.raises(InputError, match=r'panoptic\.json is not a panoptic file'):
        build(type='WildDash2Dataset', data_root=str(tmp_path))
    (tmp_path / 'panoptic.json').write_text('{"annotations": []}')
    with pytest.raises(InputError, match=r'panoptic\.json does not list wd0001_a\.png'):
        build(type='WildDash2Dataset', data_root=str(tmp_path))
    panoptic(tmp_path, {7: 7, 9: None})
    with pytest.raises(InputError, match=r'has segment 9, which panoptic\.json does not list'):
        build(type='WildDash2Dataset', data_root=str(tmp_path))[0]


def test_in_wrappers_and_alternatives(tmp_path):
    """Test-time augmentation, and transforms that are built already."""
    labels = values_of('label_ids')
    acdc(tmp_path, labels, 'labelIds')
    expected = LABEL_MAPS['label_ids'].table[labels]
    tta = [
        PIPELINE[0],
        dict(
            type='TestTimeAug',
            transforms=[
                [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0.0, 1.0)],
                [dict(type='LoadAnnotations')],
                [dict(type='PackSegInputs')],
            ],
        ),
    ]
    cfg = dict(type='ACDCDataset', data_root=str(tmp_path))
    found = DATASETS.build(dict(cfg, pipeline=tta))[0]['data_samples']
    assert len(found) == 2
    for sample in found:
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], expected)
    some = dict(type='RandomApply', prob=1.0, transforms=PIPELINE[:2])
    one = dict(type='RandomChoice', transforms=[[some], PIPELINE[:2]])
    for steps in (PIPELINE, [some, PIPELINE[2]], [one, PIPELINE[2]], tta):
        built = [TRANSFORMS.build(step) for step in steps]
        for _ in range(2):  # what is built may be shared
            samples = DATASETS.build(dict(cfg, pipeline=built))[0]['data_samples']
            for sample in samples if steps is tta else [samples]:
                np.testing.assert_array_equal(sample.gt_sem_seg.data[0], expected)


def test_built_wrappers_with_labels_are_not_changed():
    built = TRANSFORMS.build(dict(type='RandomApply', prob=1.0, transforms=PIPELINE[:2]))
    inner = list(built.transforms.transforms)
    mapped = mapping([built], None)[0]
    assert isinstance(mapped.transforms.transforms[1], LoadTrainIds)
    assert built.transforms.transforms == inner


def test_wrappers_without_labels_stay_the_same_objects():
    built = TRANSFORMS.build(dict(type='RandomApply', prob=1.0, transforms=PIPELINE[:1]))
    assert mapping([built], None)[0] is built


def test_some_of_the_classes(tmp_path):
    labels = values_of('label_ids')
    acdc(tmp_path, labels, 'labelIds')
    dataset = build(
        type='ACDCDataset', data_root=str(tmp_path), metainfo=dict(classes=['car', 'road'])
    )
    expected = np.full((8, 16), 255)
    expected[labels == 26], expected[labels == 7] = 0, 1
    np.testing.assert_array_equal(dataset[0]['data_samples'].gt_sem_seg.data[0], expected)
    assert dataset.metainfo['palette'] == [[0, 0, 142], [128, 64, 128]]


def test_together_with_cityscapes(tiny_cityscapes, tmp_path):
    acdc(tmp_path / 'acdc', values_of('label_ids'), 'labelIds')
    cityscapes = dict(
        type='CityscapesDataset',
        data_root=str(tiny_cityscapes),
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=PIPELINE,
    )
    ours = dict(type='ACDCDataset', data_root=str(tmp_path / 'acdc'), pipeline=PIPELINE)
    for parts in ([cityscapes, ours], [ours, cityscapes]):
        assert len(DATASETS.build(dict(type='ConcatDataset', datasets=parts))) == 7


def test_labels_of_another_folder_and_relative_to_the_root(tmp_path):
    write(
        tmp_path / 'foggy/val/bonn/bonn_000000_000019_leftImg8bit_foggy_beta_0.02.png',
        np.zeros((8, 16, 3), np.uint8),
    )
    write(
        tmp_path / 'city/gtFine/val/bonn/bonn_000000_000019_gtFine_labelIds.png',
        values_of('label_ids'),
    )
    for labels in ('../city', str(tmp_path / 'city')):
        dataset = build(
            type='FoggyCityscapesDataset',
            data_root=str(tmp_path / 'foggy'),
            data_prefix=dict(seg_map_path=labels),
            conditions=['beta_0.02'],
        )
        assert 0 in dataset[0]['data_samples'].gt_sem_seg.data


def test_withheld_labels_leave_the_pictures(tmp_path):
    write(tmp_path / 'rgb_anon/fog/test/G/G_frame_1_rgb_anon.png', np.zeros((8, 16, 3), np.uint8))
    dataset = build(type='ACDCDataset', data_root=str(tmp_path), split='test')
    sample = dataset[0]['data_samples']
    assert 'gt_sem_seg' not in sample and sample.ori_shape == (8, 16)
    cfg = dict(type='ACDCDataset', data_root=str(tmp_path), split='test', pipeline=PIPELINE)
    assert check('test_dataloader.dataset', cfg) == []


@pytest.mark.parametrize(
    ('cfg', 'line'),
    [
        (dict(type='ShiftDataset', shift='adcd'), "shift must be one of acdc, .*, not 'adcd'"),
        (dict(type='ShiftDataset', shift='coco_o'), "shift must be one of acdc, .*, not 'coco_o'"),
        (
            dict(type='ACDCDataset', data_root=None),
            'ACDCDataset needs data_root, the folder with ACDC',
        ),
        (
            dict(type='ACDCDataset', conditions=['hail']),
            "no ACDC of condition 'hail'; it has fog, night",
        ),
        (
            dict(type='ACDCDataset', metainfo=dict(classes=['cat'])),
            "ACDCDataset has no class 'cat'",
        ),
        (dict(type='ACDCDataset', split='valid'), "ACDC has no split 'valid'"),
        (
            dict(type='ACDCDataset', ann_file='a.txt'),
            r'ann_file is not used: give a list .* as split$',
        ),
        (
            dict(type='ACDCDataset', data_prefix=dict(img_path='a')),
            'data_prefix can only have seg_map_path',
        ),
    ],
)
def test_mistakes_in_a_config(cfg, line, tmp_path):
    acdc(tmp_path, values_of('train_ids'))
    with pytest.raises(InputError, match=line):
        build(**(dict(data_root=str(tmp_path)) | cfg))


# ------------------------------------------------------------------------ labels looked into


def check(place, cfg):
    """What everybody's labels go through before a start (fan_mm/engine/checks/labels.py)."""
    built = DATASETS.build(dict(cfg, pipeline=[], lazy_init=True))
    return check_labels(place, cfg, built, LabelReaders({}, True))


def filled(*values):
    return np.resize(np.array(values, np.uint8), 128).reshape(8, 16)


@pytest.mark.parametrize(
    ('kind', 'labels', 'line'),
    [
        ('labelTrainIds', filled(7, 21, 26), 'label 21, which Cityscapes trainIds .*; are they Cityscapes labelIds'),
        ('labelTrainIds', filled(0, 13, 200), 'has the label 200.*is it an image of colours or instances'),
        ('labelTrainIds', np.zeros((8, 16, 3), np.uint8), 'is a colour image'),
        ('labelIds', filled(7, 34, 80), 'label 34, which Cityscapes labelIds do not have; are they WildDash ids'),
        (
            'labelIds',
            filled(0, 2, 8, 10, 13, 255),
            'others contain no value above 18 except 255: they look like trainIds',
        ),
        ('labelTrainIds', np.zeros((4, 16), np.uint8), 'has 16x4 pixels, its image 16x8'),
    ],
)  # fmt: skip
def test_values_that_cannot_be(kind, labels, line, tmp_path):
    acdc(tmp_path, labels, kind)
    cfg = dict(type='ACDCDataset', data_root=str(tmp_path), pipeline=PIPELINE)
    with pytest.raises(InputError, match=f'^place: .*{line}') as raised:
        check('place', cfg)
    assert '\n' not in str(raised.value)


def test_a_wrong_value_in_a_file_that_was_not_looked_into(tmp_path, monkeypatch):
    """Every file is looked at as it is read: nothing is scored in silence."""
    monkeypatch.setattr('fan_mm.engine.checks.labels.OF_OUR_SETS', 3)
    acdc(tmp_path, values_of('train_ids'), count=9)
    cfg = dict(type='ACDCDataset', data_root=str(tmp_path), pipeline=PIPELINE)
    paths = [sample['seg_map_path'] for sample in DATASETS.build(cfg).load_data_list()]
    write(tmp_path / paths[1], filled(26))
    check('place', cfg)
    with pytest.raises(InputError, match=f'{paths[1]} has the label 26'):
        DATASETS.build(cfg)[1]


@pytest.mark.parametrize('encoding', LABEL_MAPS)
def test_no_encoding_is_doubted_where_it_is_right(encoding):
    assert doubt(LABEL_MAPS[encoding].legal, encoding) is None
    assert doubt([255], encoding) is None


def test_labels_of_mmsegs_own_class(tmp_path):
    """The same mistake under a class that is not ours: the likely reason is said, too."""
    acdc(tmp_path, filled(7, 21, 26), conditions=['night'])
    cfg = dict(
        type='DarkZurichDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='rgb_anon/night/val', seg_map_path='gt/night/val'),
        pipeline=PIPELINE,
    )
    with pytest.raises(
        InputError, match=r'has the label 21, but labels must be .*; are they labelIds\?'
    ):
        check('place', cfg)


def test_checked_with_a_config(tmp_path):
    """`check_data`, which training, testing and the OOD job call, knows these datasets."""
    from mmengine.config import Config

    acdc(tmp_path, filled(7, 21, 26))
    dataset = dict(type='ACDCDataset', data_root=str(tmp_path), pipeline=PIPELINE)
    cfg = Config(
        dict(
            default_scope='mmseg',
            model=dict(type='EncoderDecoder'),
            test_dataloader=dict(dataset=dataset),
            test_evaluator=dict(type='IoUMetric'),
        )
    )
    with pytest.raises(InputError, match=r'^test_dataloader\.dataset: .* has the label 21'):
        check_data(cfg, training=False)


@pytest.mark.parametrize('name', ('acdc_1024x1024', 'foggy_cityscapes_1024x1024'))
def test_base_files(name, repo_root, tmp_path):
    """The pipelines of the configs that show these sets run, in training and in testing."""
    from mmengine.config import Config

    cfg = Config.fromfile(repo_root / f'configs/_base_/datasets/{name}.py')
    labels = np.tile(values_of('label_ids'), (16, 16))
    for split in ('train', 'val'):
        if name.startswith('acdc'):
            write(
                tmp_path / f'rgb_anon/fog/{split}/G/G{split}_frame_1_rgb_anon.png',
                np.zeros((128, 256, 3)),
            )
            write(tmp_path / f'gt/fog/{split}/G/G{split}_frame_1_gt_labelIds.png', labels)
        else:
            stem = f'{split}/bonn/bonn_000000_0000{len(split)}9'
            write(tmp_path / f'a/{stem}_leftImg8bit_foggy_beta_0.02.png', np.zeros((128, 256, 3)))
            write(tmp_path / f'cityscapes/{stem}_gtFine_labelIds.png', labels)
    root = tmp_path if name.startswith('acdc') else tmp_path / 'a'
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(root)
        for step in loader.dataset.pipeline:
            if type_name(step) == 'RandomResize':
                step.scale = (256, 128)
        sample = DATASETS.build(loader.dataset)[0]['data_samples']
        assert set(np.unique(sample.gt_sem_seg.data)) <= {*range(19), 255}
    assert sample.gt_sem_seg.data.shape[1:] == (128, 256)  # the labels keep their size in testing


def test_the_page_of_sets(repo_root):
    """docs/real_shifts.md has every set with its splits and class, and every encoding."""
    page = (repo_root / 'docs/real_shifts.md').read_text()
    rows = [row for row in page.splitlines() if row.startswith('| `--')]
    for record in SHIFT_SETS.values():
        (row,) = (
            row for row in rows if re.fullmatch(f'{record.title}(,? .*)?', row.split(' | ')[1])
        )
        assert f'`{record.option}`' in row
        assert f'`{record.dataset_type.rpartition(".")[2]}`' in row
        for split in record.splits:
            assert f'`{split}`' in row or (split.endswith('_ref') and '`..._ref`' in row), split
    for encoding in LABEL_MAPS:
        assert f'`{encoding}`' in page or f'`_{encoding.rpartition("_")[2]}`' in page
