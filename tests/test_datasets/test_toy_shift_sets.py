"""Toy sets of adverse conditions: every tree is written, found by its record, and read as trainIds."""

import json
import runpy
import shutil
import zipfile

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from fan_mm.datasets.scenes import (
    COCO_CLASSES,
    SHIFT_LAYOUTS,
    Scene,
    Weather,
    forms_of,
    render_scene,
    shots,
    write_cityscapes,
    write_shift_set,
)
from fan_mm.datasets.scenes.atmosphere import koschmieder
from fan_mm.datasets.scenes.coco import annotate
from fan_mm.datasets.scenes.labels import Label
from fan_mm.datasets.scenes.scene import Instance
from fan_mm.datasets.scenes.shift_forms import shift_tree
from fan_mm.datasets.shifts import LABEL_MAPS, SHIFT_SETS
from fan_mm.datasets.shifts.label_maps import label_map
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError
from fan_mm.evaluation.shifts.submission import SERVERS, write_submission

TRAIN, VAL = 1, 4
SIZE = (64, 64)
FORMS = [(layout, form) for layout in SHIFT_LAYOUTS for form in forms_of(layout)]
MADE_OF_CITYSCAPES = ('foggy_cityscapes', 'rain_cityscapes')
RAINS = [
    f'alpha_{a}_beta_{b}_dropsize_{d}'
    for a, b, d in (
        ('0.01', '0.005', '0.01'),
        ('0.02', '0.01', '0.005'),
        ('0.03', '0.015', '0.002'),
    )
]
TIMES = [f'{kind}/{hour}' for kind in ('clear', 'fog', 'rain', 'snow') for hour in ('day', 'night')]
FOUR = dict.fromkeys(('fog', 'night', 'rain', 'snow'), VAL)
# (layout, split): condition -> pictures with a label (or boxes, or of a withheld split)
FOUND = {
    ('acdc', 'val'): FOUR,
    ('acdc', 'train'): dict.fromkeys(FOUR, TRAIN),
    ('acdc', 'test'): FOUR,
    ('acdc', 'val_ref'): FOUR,
    ('acdc_boxes', 'val'): FOUR,
    ('dark_zurich', 'val'): {'night': VAL},
    ('dark_zurich', 'train'): dict.fromkeys(('night', 'twilight', 'day'), TRAIN),
    ('dark_zurich', 'test'): {'night': VAL},
    ('dark_zurich', 'val_ref'): {'day': VAL},
    ('night_driving', 'test'): {'night': VAL},
    ('foggy_cityscapes', 'val'): dict.fromkeys(('beta_0.005', 'beta_0.01', 'beta_0.02'), VAL),
    ('rain_cityscapes', 'val'): dict.fromkeys(RAINS, 2 * VAL),
    ('foggy_driving', 'all'): {'fog': 3 * VAL},
    ('foggy_driving', 'fine'): {'fog': VAL},
    ('foggy_driving', 'dense'): {'fog': VAL},
    ('foggy_zurich', 'testv2'): {'fog': VAL},
    ('foggy_zurich', 'testv1'): {'fog': VAL // 2},
    ('bdd100k', 'val'): {'all': VAL - 2},
    ('bdd100k', 'test'): {'all': VAL},
    ('bdd100k', 'night'): {'all': 1},
    ('muses', 'val'): dict.fromkeys(TIMES, VAL),
    ('muses', 'test'): dict.fromkeys(TIMES, VAL),
    ('idd', 'val'): {'all': VAL},
    ('idd', 'test'): {'all': VAL},
    ('wilddash', 'public'): {'all': VAL},
    ('mapillary', 'validation'): {'all': VAL},
    ('coco_o', 'val2017'): dict.fromkeys(
        ('sketch', 'weather', 'cartoon', 'painting', 'tattoo', 'handmake'), VAL
    ),
}
LOST = {  # by flattening: the conditions
    ('acdc', 'flat', 'val'): {'all': 4 * VAL},
    ('acdc', 'flat', 'train'): {'all': 4 * TRAIN},
    ('acdc', 'flat', 'test'): {'all': 4 * VAL},
    ('acdc', 'flat', 'val_ref'): {'all': 4 * VAL},
}


def random_scene(height, width, seed, index, **_):
    """Stands in for a rendered scene: 256 blocks of all 19 classes and of what is ignored."""
    rng = np.random.default_rng([seed, index])
    rows, columns = np.arange(height) * 16 // height, np.arange(width) * 16 // width
    entities = rng.permutation(256).reshape(16, 16)[rows][:, columns]
    # 23 is prime: of up to 12 values of a class each has its turn
    classes = np.where(np.arange(256) % 23 < 19, np.arange(256) % 23, 255)
    return Scene(
        image=rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        labels=classes[entities].astype(np.uint8),
        entities=entities.astype(np.int32),
        instances=tuple(Instance(i, Label(i % 23)) for i in range(11, 19)),
        distance=rng.uniform(2, 50, (height, width)).astype(np.float32),
        focal=900.0,
    )


@pytest.fixture
def quick(monkeypatch):
    """Writes a set from random scenes -> its folder."""
    monkeypatch.setattr(shots, 'render_scene', random_scene)
    monkeypatch.setattr('fan_mm.datasets.scenes.cityscapes.render_scene', random_scene)

    def write(root, layout, form='plain', size=SIZE):
        if layout == 'cityscapes':
            write_cityscapes(root, size, TRAIN, VAL, jobs=1)
        else:
            write_shift_set(layout, root, size, TRAIN, VAL, jobs=1, form=form)
        return root

    return write


def splits_of(layout):
    return [split for name, split in FOUND if name == layout]


def test_every_set_but_the_clean_one_has_a_toy():
    assert {*SHIFT_LAYOUTS} == {*SHIFT_SETS} - {'cityscapes', 'camvid'}
    assert {layout for layout, _ in FOUND} == {*SHIFT_LAYOUTS}


def plant(root, layout, form):
    """The tree's files without content: what finding reads of pictures and labels are names."""
    tree = shift_tree(layout, form, {'train': TRAIN, 'val': VAL, 'test': VAL})
    for name in [name for shot in tree.shots for name in shot.files]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name, text in tree.texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize('layout, form', FORMS)
def test_records_find_every_form(quick, tmp_path, layout, form):
    record, labels = SHIFT_SETS[layout], None
    write = quick if record.task == 'detection' else plant
    root = write(tmp_path / 'toy', layout, form)
    if layout in MADE_OF_CITYSCAPES:
        labels = quick(tmp_path / 'clean', 'cityscapes')
    for split in splits_of(layout):
        found = record.find(root, split, labels)
        wanted = LOST.get((layout, form, split)) or FOUND[layout, split]
        assert {c.name: len(c.images) for c in found} == wanted, split
        for condition in found:
            assert len(set(condition.images)) == len(condition.images)
            withheld = split in record.withheld or record.task == 'detection'
            assert len(condition.labels) == (0 if withheld else len(condition.images))
            assert len(condition.unlabelled) == ((layout, split) == ('bdd100k', 'val'))
            references = [image for image in condition.images if '_ref' in image.name]
            assert len(references) == (len(condition.images) if split.endswith('_ref') else 0)


def is_read(layout, form):
    """Forms whose labels are encoded in a way of their own."""
    own = form == 'plain' or (form == 'older' and layout not in MADE_OF_CITYSCAPES)
    return own and SHIFT_SETS[layout].task == 'segmentation'


@pytest.mark.parametrize('layout, form', [pair for pair in FORMS if is_read(*pair)])
def test_labels_are_read_as_the_scenes_own(quick, tmp_path, layout, form):
    """Exactly: every value of every encoding, palettes and panoptic files included."""
    record, labels = SHIFT_SETS[layout], None
    root = quick(tmp_path / 'toy', layout, form)
    if layout in MADE_OF_CITYSCAPES:
        labels = quick(tmp_path / 'clean', 'cityscapes')
    register_task_library(Config(dict(default_scope='mmseg')))
    truth = {
        str(root / shot.image): random_scene(*(round(s * shot.scale) for s in SIZE), 0, shot.scene)
        for shot in shift_tree(layout, form, {'train': TRAIN, 'val': VAL, 'test': VAL}).shots
    }
    split = splits_of(layout)[0]
    values = set()
    for condition in record.find(root, split, labels):
        config = dict(record.dataset(condition), pipeline=[dict(type='LoadAnnotations')])
        with DefaultScope.overwrite_default_scope('mmseg'):
            dataset = DATASETS.build(config)
        assert len(dataset) == len(condition.images)
        for sample in dataset:
            wanted = truth[sample['img_path']].labels.copy()
            wanted[~np.isin(wanted, condition.scored)] = 255
            assert np.array_equal(sample['gt_seg_map'], wanted)
            values |= {*np.unique(cv2.imread(sample['seg_map_path'], cv2.IMREAD_UNCHANGED))}
    encoding = label_map(condition.encoding)
    if (layout, form) != ('wilddash', 'plain') and layout != 'mapillary':  # no values: indices
        assert {*encoding.train_ids} <= values, 'a value of the encoding does not occur'


def test_mapillarys_labels_are_indices_into_a_palette(quick, tmp_path):
    root = quick(tmp_path / 'toy', 'mapillary')
    values = set()
    for file in sorted(root.glob('validation/v1.2/labels/*.png')):
        with Image.open(file) as image:
            assert image.mode == 'P'
            values |= {*np.unique(np.array(image)).tolist()}
    assert values == {*label_map('mapillary_a').train_ids, 65}


@pytest.mark.parametrize('layout', ['acdc_boxes', 'coco_o'])
def test_boxes_are_those_of_the_scenes(quick, tmp_path, layout):
    root = quick(tmp_path / 'toy', layout)
    for condition in SHIFT_SETS[layout].find(root):
        document = json.loads(condition.ann_file.read_text())
        names = {c['id']: c['name'] for c in document['categories']}
        if layout == 'coco_o':
            assert len(names) == 80 and names[1] == 'person' and names[90] == 'toothbrush'
            assert (names[8], names[13], names[84]) == ('truck', 'stop sign', 'book')
        else:
            assert list(names) == [24, 25, 26, 27, 28, 31, 32, 33]
        assert [a['id'] for a in document['annotations']] == [
            *range(1, len(document['annotations']) + 1)
        ]
        for image in document['images']:
            file = condition.image_root / image['file_name']
            assert cv2.imread(str(file)).shape[:2] == (image['height'], image['width'])
            things = annotate(random_scene(*SIZE, 0, image['id']))
            found = [a for a in document['annotations'] if a['image_id'] == image['id']]
            assert [a['bbox'] for a in found] == [t['bbox'] for t in things]
            for there, thing in zip(found, things, strict=True):
                title = COCO_CLASSES[thing['category_id'] - 1]
                wanted = 'person' if (layout, title) == ('coco_o', 'rider') else title
                assert names[there['category_id']] == wanted
    if layout == 'acdc_boxes':  # a fault of the set, which nobody should train or be tested on
        with pytest.raises(InputError, match='images of other conditions'):
            SHIFT_SETS[layout].find(root, 'train')
        tests = json.loads(
            next(root.glob('gt_detection/fog/*_fog_test_image_info.json')).read_text()
        )
        assert len(tests['images']) == VAL and tests['annotations'] == []


# --------------------------------------------------------------------------------- what people break


def edited(quick, tmp_path, layout='acdc'):
    return quick(tmp_path / 'toy', layout)


def test_missing_labels_are_counted_and_no_labels_said(quick, tmp_path):
    root, acdc = edited(quick, tmp_path), SHIFT_SETS['acdc']
    for file in sorted(root.glob('gt/fog/val/*/*'))[:2]:  # both encodings of the first
        file.unlink()
    fog = acdc.find(root)[0]
    assert len(fog.images) == len(fog.labels) == VAL - 1
    assert [i.name for i in fog.unlabelled] == ['GOPR0475_frame_000000_rgb_anon.png']
    shutil.rmtree(root / 'gt')
    with pytest.raises(InputError, match='no labels below'):
        acdc.find(root)
    assert acdc.find(root, 'test')


def test_wrong_suffixes(quick, tmp_path):
    root, acdc = edited(quick, tmp_path), SHIFT_SETS['acdc']
    pictures = sorted(root.glob('rgb_anon/*/val/*/*.png'))
    pictures[0].rename(pictures[0].with_suffix('.jpg'))
    with pytest.raises(InputError, match='several formats'):
        acdc.find(root)
    for picture in pictures[1:]:
        picture.rename(picture.with_suffix('.jpg'))
    assert {c.name: len(c.images) for c in acdc.find(root)} == FOUR


def test_label_ids_in_the_place_of_train_ids(quick, tmp_path):
    """Under the wrong name they are refused when they are read; under their own they are mapped."""
    root, acdc = edited(quick, tmp_path), SHIFT_SETS['acdc']
    register_task_library(Config(dict(default_scope='mmseg')))

    def read():
        config = dict(acdc.dataset(acdc.find(root)[0]), pipeline=[dict(type='LoadAnnotations')])
        with DefaultScope.overwrite_default_scope('mmseg'):
            return [sample['gt_seg_map'] for sample in DATASETS.build(config)]

    right = read()
    for file in root.glob('gt/*/val/*/*_labelTrainIds.png'):
        file.unlink()
    assert acdc.find(root)[0].encoding == 'label_ids'
    assert all(np.array_equal(a, b) for a, b in zip(read(), right, strict=True))
    for file in root.glob('gt/*/val/*/*_labelIds.png'):
        file.rename(file.with_name(file.name.replace('labelIds', 'labelTrainIds')))
    with pytest.raises(InputError, match='labelIds'):
        read()


def test_equal_names_in_two_sets(quick, tmp_path):
    """ACDC's and Dark Zurich's pictures end alike, toy and real; one folder with both is said."""
    quick(tmp_path / 'both/acdc', 'acdc')
    quick(tmp_path / 'both/dark', 'dark_zurich')
    for name in ('acdc', 'dark_zurich'):
        with pytest.raises(InputError, match='belongs to'):
            SHIFT_SETS[name].find(tmp_path / 'both')
    assert SHIFT_SETS['acdc'].find(tmp_path / 'both/acdc')
    assert SHIFT_SETS['dark_zurich'].find(tmp_path / 'both/dark')


@pytest.mark.parametrize('server', sorted(SERVERS.keys() & SHIFT_LAYOUTS.keys()))
def test_test_splits_become_submissions(quick, tmp_path, server):
    """From the tree of a split without labels to the zip, whose values mean what was predicted."""
    root, record = quick(tmp_path / 'toy', server), SHIFT_SETS[server]
    images = [image for condition in record.find(root, 'test') for image in condition.images]
    scenes = {image: random_scene(*SIZE, 1, index) for index, image in enumerate(images)}
    predicted = {image: np.minimum(scene.labels, 18) for image, scene in scenes.items()}
    confidence = np.full(SIZE, 0.5)
    done = write_submission(
        server, ((image, predicted[image], confidence) for image in images), tmp_path / 'out'
    )
    encoding = LABEL_MAPS[record.encodings[0]]
    with zipfile.ZipFile(done.zip) as archive:
        assert len(archive.namelist()) == done.files
        for image in images:
            for name, kind in SERVERS[server].names(image).items():
                data = np.frombuffer(archive.read(name), np.uint8)
                pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
                if kind == 'labels':
                    scored = np.isin(predicted[image], encoding.scored)
                    wanted = np.where(scored, predicted[image], 255)
                    assert np.array_equal(encoding.table[pixels], wanted)


# -------------------------------------------------------------------------------------- the writer


def test_a_stopped_run_goes_on_with_the_files_that_pictures_share(quick, tmp_path):
    whole, parts = quick(tmp_path / 'whole', 'wilddash'), tmp_path / 'parts'

    def stop(given, total):
        yield next(iter(given))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shift_set('wilddash', parts, SIZE, TRAIN, VAL, jobs=1, progress=stop)
    assert not (parts / 'panoptic.json').exists()
    quick(parts, 'wilddash')
    files = {f.relative_to(whole): f.read_bytes() for f in whole.rglob('*') if f.is_file()}
    assert files == {f.relative_to(parts): f.read_bytes() for f in parts.rglob('*') if f.is_file()}
    next(parts.glob('images/*.jpg')).unlink()
    assert write_shift_set('wilddash', parts, SIZE, TRAIN, VAL, jobs=1) == 1
    assert json.loads((parts / 'panoptic.json').read_text()) == json.loads(
        (whole / 'panoptic.json').read_text()
    )


def test_other_forms_and_sets_are_refused(quick, tmp_path):
    root = quick(tmp_path / 'toy', 'night_driving')
    with pytest.raises(InputError, match='form plain instead of flat'):
        quick(root, 'night_driving', 'flat')
    with pytest.raises(InputError, match='has the forms plain, flat, not older'):
        quick(tmp_path / 'other', 'night_driving', 'older')


def test_command_line(quick, tmp_path, monkeypatch, capsys, repo_root):
    def run(*arguments):
        monkeypatch.setattr('sys.argv', ['make_toy_dataset', *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(repo_root / 'tools' / 'make_toy_dataset.py'), run_name='__main__')
        said = capsys.readouterr()
        return stop.value.code, (said.out + said.err).splitlines()[-1]

    root, small = tmp_path / 'toy', ('--size', '64x64', '--train', '1', '--val', '2', '--jobs', '1')
    status, line = run('dark_zurich', root, *small, '--form', 'nested')
    assert (status or 0, line) == (0, f'{root}: 1 + 2 scenes per condition, 9 of them new')
    assert len(list(root.glob('Dark_Zurich_val_anon/rgb_anon/val/night/GOPR0356/*.png'))) == 2
    status, line = run('coco', tmp_path / 'coco', '--form', 'flat')
    assert (status, line) == (2, 'error: --form flat: coco has only plain')


def test_fog_over_toy_cityscapes_follows_koschmieders_law(tmp_path):
    """Rendered, not planted: the file is the clean file of the same name, seen through its distances."""
    write_cityscapes(tmp_path / 'clean', SIZE, 1, 1, seed=4, jobs=1)
    write_shift_set('foggy_cityscapes', tmp_path / 'fog', SIZE, 1, 1, seed=4, jobs=1)
    name = 'val/toyhafen/toyhafen_000000_000000_leftImg8bit'
    clean = cv2.imread(str(tmp_path / f'clean/leftImg8bit/{name}.png'))[..., ::-1]
    distance = render_scene(*SIZE, 4, 1_000_000, weather=Weather()).distance
    for beta in (0.005, 0.01, 0.02):
        file = tmp_path / f'fog/leftImg8bit_foggy/{name}_foggy_beta_{beta}.png'
        foggy = koschmieder(clean, distance, beta, np.array([200.0, 205.0, 210.0]))
        assert np.array_equal(cv2.imread(str(file))[..., ::-1], np.rint(foggy))
