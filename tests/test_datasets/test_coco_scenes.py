"""Toy COCO: valid annotations, masks of what is seen, crowds, images without objects."""

import json

import cv2
import numpy as np
import pytest

from fan_mm.datasets.scenes import COCO_CLASSES, render_scene, storage, write_coco
from fan_mm.datasets.scenes.coco import MIN_AREA, annotate, polygons, run_lengths
from fan_mm.datasets.scenes.labels import THINGS, Label
from fan_mm.datasets.scenes.storage import FIRST_SCENE

SIZE = (96, 128)


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    root = tmp_path_factory.mktemp('coco') / 'toy'
    assert write_coco(root, SIZE, 24, 12, seed=3, jobs=1) == 36
    return root


def snapshot(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob('*') if p.is_file()}


def filled(segmentation, height, width):
    """What pycocotools makes of a segmentation."""
    coder = pytest.importorskip('pycocotools.mask')
    if isinstance(segmentation, dict):
        code = coder.frPyObjects(segmentation, height, width)
    else:
        code = coder.merge(coder.frPyObjects(segmentation, height, width))
    return coder.decode(code).astype(bool)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_annotations_are_valid(toy, split):
    document = json.loads((toy / f'annotations/instances_{split}2017.json').read_text())
    assert tuple(c['name'] for c in document['categories']) == COCO_CLASSES
    assert [c['id'] for c in document['categories']] == list(range(1, 9))
    images = {image['id']: image for image in document['images']}
    assert len(images) == {'train': 24, 'val': 12}[split]
    for image in images.values():
        assert cv2.imread(str(toy / f'{split}2017' / image['file_name'])).shape == (*SIZE, 3)
        assert (image['height'], image['width']) == SIZE
    ids = [a['id'] for a in document['annotations']]
    assert ids == list(range(1, len(ids) + 1))
    for annotation in document['annotations']:
        assert annotation['image_id'] in images
        mask = filled(annotation['segmentation'], *SIZE)
        assert mask.sum() == annotation['area']
        assert list(cv2.boundingRect(mask.astype(np.uint8))) == annotation['bbox']
        assert isinstance(annotation['segmentation'], dict) == bool(annotation['iscrowd'])
        assert annotation['iscrowd'] or annotation['area'] >= MIN_AREA
    kinds = {bool(a['iscrowd']) for a in document['annotations']}
    assert kinds == {False, True}
    with_objects = {a['image_id'] for a in document['annotations']}
    assert 0 < len(with_objects) < len(images), 'some images are without objects'


def test_masks_are_what_is_seen_of_each_thing():
    """Every pixel of a thing is in exactly one mask; nearer things cover farther ones."""
    holes = pieces = 0
    for index in range(8):
        scene = render_scene(96, 192, 1, index)
        seen = np.zeros(scene.labels.shape, int)
        for annotation in annotate(scene):
            mask = filled(annotation['segmentation'], *seen.shape)
            title = COCO_CLASSES[annotation['category_id'] - 1]
            assert {Label(int(v)).title for v in np.unique(scene.labels[mask])} == {title}
            seen += mask
            if not annotation['iscrowd']:
                assert len(np.unique(scene.entities[mask])) == 1
                pieces = max(pieces, len(annotation['segmentation']))
                _, tree = cv2.findContours(
                    mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
                )
                holes += (tree[0, :, 3] >= 0).sum()
        assert np.array_equal(seen, np.isin(scene.labels, list(THINGS)))
    assert pieces > 1 and holes > 0


def test_polygons_give_the_very_mask_back():
    rng = np.random.default_rng(0)
    for _ in range(50):
        small = rng.uniform(size=(8, 9)) < 0.6
        mask = cv2.resize(small.astype(np.uint8), (40, 37), interpolation=cv2.INTER_NEAREST) > 0
        assert np.array_equal(filled(polygons(mask), *mask.shape), mask)


@pytest.mark.parametrize(
    'rows, counts',
    [
        ([[0, 1], [1, 1]], [1, 3]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 0], [0, 0]], [4]),
        ([[1, 0], [0, 0]], [0, 1, 3]),
    ],
)
def test_run_lengths_go_column_by_column(rows, counts):
    assert run_lengths(np.array(rows, bool)) == dict(size=[2, 2], counts=counts)


def test_objects_of_all_three_sizes(tmp_path):
    write_coco(tmp_path, (192, 256), 40, 1, jobs=1)
    document = json.loads((tmp_path / 'annotations/instances_train2017.json').read_text())
    areas = np.array([a['area'] for a in document['annotations'] if not a['iscrowd']])
    counts = np.histogram(areas, [0, 32**2, 96**2, 1e9])[0]
    assert (counts > [20, 30, 1]).all()


def test_same_options_same_bytes_and_a_stopped_run_goes_on(toy):
    options = dict(size=SIZE, train=24, val=12, seed=3)
    before = snapshot(toy)
    (toy / 'annotations/instances_val2017.json').unlink()
    assert write_coco(toy, **options, jobs=1) == 12
    assert snapshot(toy) == before
    assert write_coco(toy, **options) == 0


def test_two_processes_write_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, '_FEW', 4)
    for jobs in (1, 2):
        write_coco(tmp_path / str(jobs), SIZE, 6, 3, seed=3, jobs=jobs)
    assert snapshot(tmp_path / '1') == snapshot(tmp_path / '2')


def test_mmdet_reads_it(toy):
    dataset = pytest.importorskip('mmdet.datasets').CocoDataset
    found = dataset(
        data_root=str(toy),
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017'),
        metainfo=dict(classes=COCO_CLASSES),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
        ],
        test_mode=True,
    )
    assert len(found) == 12
    assert found[0]['img_id'] == FIRST_SCENE['val']
    boxes = [sample['gt_bboxes'].tensor.numpy() for sample in found]
    assert sum(map(len, boxes)) > 10
    for sample in found:
        masks = sample['gt_masks'].to_ndarray().astype(bool)
        assert len(masks) == len(sample['gt_bboxes_labels'])
        for mask, (x0, y0, x1, y1) in zip(masks, sample['gt_bboxes'].tensor.tolist(), strict=True):
            rows, columns = np.nonzero(mask)
            assert (columns.min(), rows.min()) == (x0, y0)
            assert (columns.max() + 1, rows.max() + 1) == (x1, y1)
