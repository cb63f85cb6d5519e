"""COCO-O and ACDC's boxes: which file, which pictures, which folder its names are relative to."""

import json
import os

import pytest

from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.errors import InputError

DOMAINS = ('sketch', 'weather', 'cartoon', 'painting', 'tattoo', 'handmake')


def write(root, boxes, names, folder):
    """A COCO file and its pictures, named from a folder."""
    (root / boxes).parent.mkdir(parents=True, exist_ok=True)
    (root / boxes).write_text(
        json.dumps({'images': [{'id': i, 'file_name': n} for i, n in enumerate(names)]})
    )
    for name in names:
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (root / folder / name).touch()


def coco_o(root, domains=DOMAINS):
    """The same base names in every domain."""
    for domain in domains:
        write(
            root,
            f'{domain}/annotations/instances_val2017.json',
            ['000000000139.jpg', '000000000285.jpg'],
            f'{domain}/val2017',
        )


def acdc(
    root,
    folder='rgb_anon',
    boxes='gt_detection',
    split='val',
    conditions=('fog', 'night', 'rain', 'snow'),
):
    for condition in conditions:
        names = [f'{condition}/{split}/GP01/GP01_frame_{n}_rgb_anon.png' for n in (1, 2)]
        write(
            root,
            f'{boxes}/{condition}/instancesonly_{condition}_{split}_gt_detection.json',
            names,
            folder,
        )


@pytest.mark.parametrize('below', ('', 'ood_coco'))
def test_coco_o(below, tmp_path):
    coco_o(tmp_path / below)
    conditions = SHIFT_SETS['coco_o'].find(tmp_path)
    assert [c.name for c in conditions] == list(DOMAINS)
    for condition in conditions:
        folder = tmp_path / below / condition.name
        assert condition.image_root == folder / 'val2017'
        assert [p.name for p in condition.images] == ['000000000139.jpg', '000000000285.jpg']
        assert {p.parent for p in condition.images} == {folder / 'val2017'}
        assert SHIFT_SETS['coco_o'].dataset(condition) == dict(
            type='mmdet.CocoDataset',
            ann_file=str(folder / 'annotations' / 'instances_val2017.json'),
            data_prefix=dict(img=str(folder / 'val2017')),
            test_mode=True,
        )


@pytest.mark.parametrize(
    ('folder', 'boxes'),
    [
        ('rgb_anon', 'gt_detection'),
        ('rgb_anon_trainvaltest/rgb_anon', 'gt_detection_trainval/gt_detection'),
        ('rgb_anon/rgb_anon', 'gt_detection'),
    ],
)
def test_boxes_of_acdc(folder, boxes, tmp_path):
    acdc(tmp_path, folder, boxes)
    acdc(tmp_path, folder, boxes, 'train')
    conditions = SHIFT_SETS['acdc_boxes'].find(tmp_path)
    assert [c.name for c in conditions] == ['fog', 'night', 'rain', 'snow']
    for condition in conditions:
        assert condition.image_root == tmp_path / folder
        assert condition.ann_file.name == f'instancesonly_{condition.name}_val_gt_detection.json'
        assert len(condition.images) == 2 and all(p.is_file() for p in condition.images)
    assert SHIFT_SETS['acdc_boxes'].dataset(conditions[0])['type'] == 'mmdet.CityscapesDataset'


@pytest.mark.parametrize('others', [False, True])
def test_boxes_in_a_folder_of_their_own(others, tmp_path):
    """They count where the pictures' folder has none."""
    acdc(tmp_path / 'all')
    if not others:
        (tmp_path / 'all/gt_detection').rename(tmp_path / 'boxes')
    else:
        (tmp_path / 'boxes').mkdir()
    conditions = SHIFT_SETS['acdc_boxes'].find(tmp_path / 'all', labels=tmp_path / 'boxes')
    assert [c.name for c in conditions] == ['fog', 'night', 'rain', 'snow']
    for condition in conditions:
        assert condition.image_root == tmp_path / 'all/rgb_anon'
        assert condition.labels_folder == tmp_path / 'boxes'
        below = tmp_path / ('all/gt_detection' if others else 'boxes')
        assert condition.ann_file.parent == below / condition.name


@pytest.mark.parametrize('below', ['train/GP01/', ''])
def test_the_file_of_rain_in_training_names_all_conditions(below, tmp_path):
    acdc(tmp_path, split='train')
    names = [f'{c}/{below}GP01_frame_1_rgb_anon.png' for c in ('fog', 'rain')]
    write(
        tmp_path, 'gt_detection/rain/instancesonly_rain_train_gt_detection.json', names, 'rgb_anon'
    )
    with pytest.raises(
        InputError, match=f'lists 1 images of other conditions, such as fog/{below}'
    ):
        SHIFT_SETS['acdc_boxes'].find(tmp_path, 'train')


def test_a_picture_is_missing(tmp_path):
    coco_o(tmp_path)
    (tmp_path / 'tattoo' / 'val2017' / '000000000139.jpg').unlink()
    with pytest.raises(
        InputError, match=r'lists 1 images that are not below .*, such as 000000000139\.jpg$'
    ):
        SHIFT_SETS['coco_o'].find(tmp_path)


def test_all_pictures_are_missing(tmp_path):
    write(tmp_path, 'sketch/annotations/instances_val2017.json', ['1.jpg'], 'elsewhere')
    with pytest.raises(InputError, match=r'lists 1 images that are not below'):
        SHIFT_SETS['coco_o'].find(tmp_path)


@pytest.mark.parametrize('change', [None, ('000000000139', '000000000138'), (' ', ''), (' ', '  ')])
def test_two_files_of_one_condition(change, tmp_path):
    """A copy is none too many; another one, as large or not, would have to be guessed at."""
    coco_o(tmp_path)
    boxes = tmp_path / 'weather/annotations/instances_val2017.json'
    copy = tmp_path / 'copy' / boxes.relative_to(tmp_path)
    copy.parent.mkdir(parents=True)
    copy.write_text(boxes.read_text().replace(*change or ('', '')))
    for file in (boxes, copy):  # not told apart by their times
        os.utime(file, (0, 0))
    if change:
        with pytest.raises(InputError, match='both contain boxes of weather: keep one'):
            SHIFT_SETS['coco_o'].find(tmp_path)
    else:
        assert [c.name for c in SHIFT_SETS['coco_o'].find(tmp_path)] == list(DOMAINS)


@pytest.mark.parametrize(
    ('objects', 'masks'), [([[1, 2]], True), ([[1, 2], None], False), ([], False)]
)
def test_masks_count_where_all_objects_have_one(objects, masks, tmp_path):
    coco_o(tmp_path, ['sketch'])
    file = tmp_path / 'sketch/annotations/instances_val2017.json'
    content = json.loads(file.read_text())
    content['annotations'] = [dict(segmentation=outline) for outline in objects]
    file.write_text(json.dumps(content))
    (condition,) = SHIFT_SETS['coco_o'].find(tmp_path)
    assert condition.masks == masks


@pytest.mark.parametrize('content', ('', '[]', '{"images": [{}]}', '{"images": []}'))
def test_a_damaged_file(content, tmp_path):
    coco_o(tmp_path, ['sketch'])
    (tmp_path / 'sketch/annotations/instances_val2017.json').write_text(content)
    with pytest.raises(
        InputError, match=r'instances_val2017\.json (is not a COCO file|lists no images)'
    ):
        SHIFT_SETS['coco_o'].find(tmp_path)


def test_mistakes(tmp_path):
    acdc(tmp_path / 'acdc', split='train')
    coco_o(tmp_path / 'coco_o')
    for name, folder, options, line in (
        (
            'acdc_boxes',
            'acdc',
            {},
            r'has no boxes of .* split val; it has train: --split acdc=SPLIT',
        ),
        ('acdc_boxes', 'acdc', dict(split='test'), r'has no split .test.: choose from val, train$'),
        ('acdc_boxes', 'acdc', dict(split='a.txt'), r'has no split .a\.txt.: .* val, train$'),
        ('acdc_boxes', 'acdc', dict(encoding='train_ids'), 'boxes have no label encodings'),
        ('coco_o', 'acdc', {}, r'has no images of COCO-O.*it looks like ACDC \(--acdc\)'),
        ('acdc_boxes', 'coco_o', {}, r'looks like COCO-O \(--coco-o\)'),
        ('acdc_boxes', 'nowhere', {}, 'no such folder'),
    ):
        with pytest.raises(InputError, match=line):
            SHIFT_SETS[name].find(tmp_path / folder, **options)
    for path in (tmp_path / 'acdc').rglob('*.json'):
        path.unlink()
    with pytest.raises(InputError, match=r'has no boxes of .*expected: gt_detection/'):
        SHIFT_SETS['acdc_boxes'].find(tmp_path / 'acdc')
