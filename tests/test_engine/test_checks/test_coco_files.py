"""COCO files: what mmdet or pycocotools fail on or misunderstand is refused, and nothing else.

mmdet and pycocotools themselves are the oracle: a file that is refused is one that they fail on, or give
another result for; one that is taken gives the right one.
"""

import copy
import json

import numpy as np
import pytest

from fan_mm.engine.checks.coco_files import (
    check_as_dataset,
    check_as_truth,
    read_coco,
    unknown_categories,
)
from fan_mm.errors import InputError

CLASSES = ('cat', 'dog')
SQUARE = [[10, 10, 40, 10, 40, 40, 10, 40]]
CONTENT = {
    'info': {},
    'images': [
        {'id': index, 'file_name': f'{index}.png', 'height': 60, 'width': 80} for index in (1, 2)
    ],
    'categories': [{'id': 3, 'name': 'cat'}, {'id': 5, 'name': 'dog'}],
    'annotations': [
        {
            'id': 10 + index,
            'image_id': 1 + index // 2,
            'category_id': (3, 5)[index % 2],
            'bbox': [10, 10, 30, 30],
            'area': 900,
            'iscrowd': 0,
            'segmentation': SQUARE,
        }
        for index in range(4)
    ],
}


def rle(height, width):
    mask = np.zeros((height, width), np.uint8, order='F')
    mask[10:40, 10:40] = 1
    coco = pytest.importorskip('pycocotools.mask')
    return coco.encode(mask) | {'counts': coco.encode(mask)['counts'].decode()}


def runs(height=60, width=80):
    """The same mask as a list of runs, as datasets that other programs convert have them."""
    return {'counts': [10 * 60 + 10, *[30, 30] * 29, 30, 20 + 40 * 60], 'size': [height, width]}


def of(key, value):
    """A change of the second annotation."""

    def change(content):
        content['annotations'][1][key] = value() if callable(value) else value

    return change


def without(key, part='annotations'):
    return lambda content: content[part][1].pop(key)


def write(tmp_path, change):
    content = copy.deepcopy(CONTENT)
    change(content)
    file = tmp_path / 'annotations.json'
    file.write_text(json.dumps(content))
    return file


def mmdet_dataset(file, masks):
    from mmdet.datasets import CocoDataset

    dataset = CocoDataset(
        ann_file=str(file),
        data_prefix=dict(img=''),
        metainfo=dict(classes=CLASSES),
        test_mode=True,
        serialize_data=False,
    )
    if masks:
        from mmdet.datasets.transforms import LoadAnnotations

        for info in dataset.data_list:
            LoadAnnotations(with_mask=True)(dict(info, ori_shape=(60, 80)))
    return sum(not i['ignore_flag'] for info in dataset.data_list for i in info['instances'])


def map_of_the_truth(file, kind):
    """What pycocotools gives a model that answers with the right boxes or masks."""
    import torch
    from mmdet.evaluation import CocoMetric

    metric = CocoMetric(ann_file=str(file), metric=kind)
    metric.dataset_meta = dict(classes=CLASSES)
    mask = torch.zeros(2, 60, 80, dtype=torch.bool)
    mask[:, 10:40, 10:40] = True
    for id_ in json.loads(file.read_text())['images']:
        found = dict(
            bboxes=torch.tensor([[10.0, 10, 40, 40]] * 2),
            scores=torch.ones(2),
            labels=torch.tensor([0, 1]),
            masks=mask,
        )
        sample = dict(pred_instances=found, img_id=id_['id'], ori_shape=(60, 80))
        metric.process({}, [sample])
    return metric.evaluate(2)[f'coco/{kind}_mAP']


def objects_or_none(file, masks):
    """None where mmdet fails."""
    try:
        return mmdet_dataset(file, masks)
    except Exception:
        return None


def map_or_none(file, kind):
    """None where pycocotools fails."""
    try:
        return map_of_the_truth(file, kind)
    except Exception:
        return None


# pycocotools gives the right mAP for the objects that it does see, or makes numbers of text
TAKEN_BY_PYCOCOTOOLS = ('iscrowd text', 'text in bbox', 'id of an image twice')

# a change of the file, and which of (dataset, dataset with masks, boxes, masks) it makes impossible
DATASET, DATASET_MASKS, BOX, MASK = 'dataset', 'dataset with masks', 'bbox', 'segm'
EVERYTHING = {DATASET, DATASET_MASKS, BOX, MASK}
CHANGES = {
    'as it is': (lambda content: None, set()),
    'no iscrowd': (without('iscrowd'), {BOX, MASK}),
    'iscrowd null': (of('iscrowd', None), {BOX, MASK}),
    'iscrowd text': (of('iscrowd', '0'), EVERYTHING),
    'iscrowd false': (of('iscrowd', False), set()),
    'no area': (without('area'), EVERYTHING),
    'area null': (of('area', None), EVERYTHING),
    'area text': (of('area', '900'), EVERYTHING),
    'no info': (lambda content: content.pop('info'), set()),
    'no height': (without('height', 'images'), EVERYTHING - {BOX}),
    'width text': (
        lambda content: content['images'][0].update(width='80'),
        {DATASET, DATASET_MASKS, MASK},
    ),
    'no file name': (without('file_name', 'images'), {DATASET, DATASET_MASKS}),
    'no bbox': (without('bbox'), EVERYTHING - {MASK}),
    'three numbers': (of('bbox', [10, 10, 30]), EVERYTHING - {MASK}),
    'text in bbox': (of('bbox', ['10', 10, 30, 30]), EVERYTHING - {MASK}),
    'no segmentation': (without('segmentation'), {DATASET_MASKS, MASK}),
    'empty segmentation': (of('segmentation', []), {DATASET_MASKS, MASK}),
    'flat polygon': (of('segmentation', SQUARE[0]), {DATASET_MASKS, MASK}),
    'segmentation text': (of('segmentation', 'mask.png'), {DATASET_MASKS, MASK}),
    'run lengths': (of('segmentation', lambda: rle(60, 80)), set()),
    'run lengths of another size': (of('segmentation', lambda: rle(59, 80)), {MASK}),
    'run lengths in a list': (of('segmentation', lambda: runs()), set()),
    'run lengths without a size': (of('segmentation', {'counts': [4800]}), {DATASET_MASKS, MASK}),
    'points in a polygon': (
        of('segmentation', [list(zip(*[iter(SQUARE[0])] * 2, strict=True))]),
        {DATASET_MASKS, MASK},
    ),
    'id of an annotation twice': (of('id', 10), EVERYTHING),
    'id of an annotation missing': (without('id'), EVERYTHING),
    'id of an annotation as text': (of('id', 'a'), {BOX, MASK}),
    'id of an annotation as a number in text': (of('id', '99'), set()),
    'id of an image twice': (lambda content: content['images'][1].update(id=1), EVERYTHING),
    'an object on no picture': (
        lambda content: content['annotations'].append(
            dict(content['annotations'][0], id=99, image_id=99)
        ),
        set(),
    ),
    'an object of no class': (
        lambda content: content['annotations'].append(
            dict(content['annotations'][0], id=99, category_id=99)
        ),
        set(),
    ),
    'ids of images as text': (
        lambda content: (
            [image.update(id=str(image['id'])) for image in content['images']],
            [a.update(image_id=str(a['image_id'])) for a in content['annotations']],
        ),
        set(),
    ),
    'picture without objects': (
        lambda content: content['images'].append(dict(content['images'][0], id=7)),
        {'more objects'},
    ),
}


@pytest.fixture(scope='module', autouse=True)
def libraries():
    pytest.importorskip('mmcv._ext', reason='detectors need compiled mmcv ops')
    pytest.importorskip('mmdet')
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)


@pytest.mark.parametrize('masks', [False, True])
@pytest.mark.parametrize('name', CHANGES)
def test_datasets(tmp_path, name, masks):
    change, impossible = CHANGES[name]
    file = write(tmp_path, change)
    if (DATASET_MASKS if masks else DATASET) in impossible:
        with pytest.raises(InputError) as error:
            check_as_dataset(read_coco(file), CLASSES, 'LoadAnnotations' if masks else None)
        assert str(file) in str(error.value) and '\n' not in str(error.value)
        assert objects_or_none(file, masks) != 4
    elif name != 'run lengths of another size':  # the size in the file may be the wrong one
        usable = check_as_dataset(read_coco(file), CLASSES, 'LoadAnnotations' if masks else None)
        assert usable == mmdet_dataset(file, masks) == 4


@pytest.mark.parametrize('kind', [BOX, MASK])
@pytest.mark.parametrize('name', CHANGES)
def test_truth(tmp_path, name, kind):
    change, impossible = CHANGES[name]
    file = write(tmp_path, change)
    if kind in impossible:
        with pytest.raises(InputError) as error:
            check_as_truth(read_coco(file), CLASSES, None, [kind])
        assert str(file) in str(error.value) and '\n' not in str(error.value)
        if name not in TAKEN_BY_PYCOCOTOOLS:
            assert map_or_none(file, kind) != 1
    elif 'more objects' not in impossible:
        assert check_as_truth(read_coco(file), CLASSES, None, [kind]) == []
        assert map_of_the_truth(file, kind) == 1


@pytest.mark.parametrize(
    ('key', 'value'), [('image_id', '1'), ('category_id', '5'), ('category_id', '3')]
)
def test_ids_of_another_type_would_match_nothing(tmp_path, key, value):
    file = write(tmp_path, of(key, value))
    assert mmdet_dataset(file, False) == 3  # in silence
    with pytest.raises(
        InputError, match=f'annotation 11 has {key} "{value}", .* the id is {value}'
    ):
        read_coco(file)

    def turned(content):
        for image in content['images']:
            image['id'] = str(image['id'])

    file = write(tmp_path, turned)
    with pytest.raises(InputError, match=r'annotation 10 has image_id 1, .* the id is "1"'):
        read_coco(file)


def test_categories_that_the_file_does_not_name_are_said(tmp_path):
    file = write(tmp_path, of('category_id', 6))
    (note,) = unknown_categories(read_coco(file))
    assert '1 of 4 annotations have a category_id that no category has (the first is 6)' in note
    assert unknown_categories(read_coco(write(tmp_path, lambda content: None))) == []


def test_what_never_counts_is_said(tmp_path):
    file = write(tmp_path, of('id', 0))
    assert 'id 0 never counts' in check_as_truth(read_coco(file), CLASSES, None, [BOX])[0]
    assert map_of_the_truth(file, BOX) < 1
    file = write(tmp_path, of('bbox', [40, 40, -30, -30]))
    assert 'always counts as missed' in check_as_truth(read_coco(file), CLASSES, None, [BOX])[0]
    assert map_of_the_truth(file, BOX) < 1


def test_only_what_is_evaluated_is_read(tmp_path):
    file = write(tmp_path, lambda content: content['annotations'][3].pop('iscrowd'))
    assert check_as_truth(read_coco(file), CLASSES, [1], [BOX]) == []
    assert check_as_truth(read_coco(file), ('cat',), None, [BOX]) == []
    with pytest.raises(InputError, match='annotation 13 has no iscrowd'):
        check_as_truth(read_coco(file), CLASSES, [1, 2], [BOX])


@pytest.mark.parametrize(
    ('content', 'why'),
    [
        (b'\xef\xbb\xbf{}', 'byte order mark'),
        (b'\x1f\x8b\x08', 'compressed'),
        (b'\xff\xfe{', 'not a COCO annotation file'),
        (b'', 'not a COCO annotation file'),
        (b'[]', 'not a COCO annotation file'),
        (b'{"images": [1], "categories": []}', 'not a COCO annotation file'),
        (b'{"images": {}, "categories": []}', 'not a COCO annotation file'),
        (b'{"images": [], "categories": [{"id": 1}]}', 'category 1 has no name'),
        (b'{"images": [{"id": null}], "categories": []}', 'image None has id null'),
        (b'{"images": [{"id": 1}, {"id": "1"}], "categories": []}', 'numbers and text'),
    ],
)
def test_files_that_are_none(tmp_path, content, why):
    file = tmp_path / 'a.json'
    file.write_bytes(content)
    with pytest.raises(InputError, match=why) as error:
        read_coco(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ('change', 'as_dataset', 'as_truth'),
    [
        (lambda mask: mask['counts'].pop(), None, 'do not add up to 4800 pixels'),
        (lambda mask: mask['counts'].append(1), 'do not add up', 'do not add up'),
        (lambda mask: mask['counts'].append(0.5), 'do not add up', 'do not add up'),
        (lambda mask: mask.update(size=[80]), 'without its size', 'without its size'),
        (lambda mask: mask.update(counts=7), 'without counts', 'without counts'),
    ],
)
def test_runs_that_pycocotools_reads_beyond_the_end_of(tmp_path, change, as_dataset, as_truth):
    """No oracle: it never ends, or takes what it finds in memory; trailing background may be left out."""
    mask = runs()
    change(mask)
    file = read_coco(write(tmp_path, of('segmentation', mask)))
    for check, words in (
        (lambda: check_as_dataset(file, CLASSES, 'masks'), as_dataset),
        (lambda: check_as_truth(file, CLASSES, None, ['segm']), as_truth),
    ):
        if words is None:
            check()
            continue
        with pytest.raises(InputError, match=f'annotation 11 has a segmentation.* {words}'):
            check()
    check_as_truth(file, CLASSES, None, ['bbox'])


def test_runs_of_another_size_and_ignored_objects_are_said(tmp_path):
    file = read_coco(write(tmp_path, of('segmentation', runs(80, 60))))
    (note,) = check_as_truth(file, CLASSES, None, ['segm'])
    assert 'annotation 11 has a segmentation of size [80, 60], but its image [60, 80]' in note
    file = read_coco(write(tmp_path, of('ignore', 1)))
    (note,) = check_as_truth(file, CLASSES, None, ['bbox'])
    assert note.endswith(
        '1 objects have ignore 1, but pycocotools counts them as missed unless iscrowd is 1'
    )
