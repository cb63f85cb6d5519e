"""faster-coco-eval gives the numbers of pycocotools, the evaluator of record."""

import json
import sys

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext', reason='mmdet needs compiled mmcv ops')
from mmdet.evaluation import CocoMetric

from fan_mm.datasets.scenes import COCO_CLASSES, write_coco
from fan_mm.engine.fast_coco_metric import FastCocoMetric
from fan_mm.errors import InputError
from fan_mm.evaluation.scores import compute_scores


@pytest.fixture(scope='module')
def annotations(tmp_path_factory):
    root = tmp_path_factory.mktemp('fast') / 'toy'
    write_coco(root, (96, 128), 1, 12, jobs=1)
    return root / 'annotations/instances_val2017.json'


def samples(annotations, rng):
    """The truth, moved about, with some missed, some invented and some of another class."""
    from pycocotools.coco import COCO

    coco = COCO(annotations)
    for number in coco.imgs:
        boxes, masks, labels = [], [], []
        for annotation in coco.loadAnns(coco.getAnnIds(number)):
            for _ in range(rng.integers(0, 3)):
                shift = rng.integers(-3, 4, 2)
                x, y, w, h = annotation['bbox']
                boxes.append([x + shift[0], y + shift[1], x + w + shift[0], y + h + shift[1]])
                masks.append(np.roll(coco.annToMask(annotation), shift[::-1], (0, 1)))
                labels.append(annotation['category_id'] - 1)
        labels = np.where(rng.uniform(size=len(labels)) < 0.2, 2, labels).astype(int)
        found = dict(
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            masks=torch.tensor(np.array(masks).reshape(-1, 96, 128)).bool(),
            labels=torch.tensor(labels),
            scores=torch.tensor(rng.uniform(size=len(labels)).round(2), dtype=torch.float32),
        )
        yield dict(img_id=number, ori_shape=(96, 128), pred_instances=found)


def metric(cls, annotations, **options):
    made = cls(ann_file=str(annotations), metric=['bbox', 'segm'], **options)
    made.dataset_meta = dict(classes=COCO_CLASSES)
    return made


@pytest.mark.parametrize(
    'options',
    [{}, dict(iou_thrs=np.linspace(0.25, 0.75, 11)), dict(proposal_nums=(1, 3, 9))],
    ids=['usual', 'thresholds', 'numbers'],
)
def test_equal_to_pycocotools(annotations, options):
    pytest.importorskip('faster_coco_eval')
    for seed in range(4):
        scores = []
        for cls in (CocoMetric, FastCocoMetric):
            made = metric(cls, annotations, **options)
            made.process({}, list(samples(annotations, np.random.default_rng(seed))))
            scores.append(compute_scores([made], [made.results]))
        assert scores[0].metrics == scores[1].metrics
        assert scores[0].per_class == scores[1].per_class
        assert options or 5 < scores[0].metrics['bbox_mAP'] < 95
        assert 'segm_mAP_s' in scores[0].metrics
        assert list(scores[0].per_class) == ['bbox_mAP'] and scores[0].headline == 'bbox_mAP'
        assert next(iter(scores[0].metrics)) == 'bbox_mAP'
        assert made.metrics == ['bbox', 'segm']


def test_each_class_has_its_own_value_whatever_the_order_of_ids(annotations, tmp_path):
    pytest.importorskip('faster_coco_eval')
    content = json.loads(annotations.read_text())
    for entry in content['categories']:
        entry['id'] = 100 - entry['id']
    for entry in content['annotations']:
        entry['category_id'] = 100 - entry['category_id']
    falling = tmp_path / 'falling.json'
    falling.write_text(json.dumps(content))
    found = list(samples(annotations, np.random.default_rng(0)))
    scores = []
    for cls, file in ((CocoMetric, annotations), (CocoMetric, falling), (FastCocoMetric, falling)):
        made = metric(cls, file)
        made.process({}, found)
        scores.append(compute_scores([made], [made.results]).per_class)
    assert scores[0] == scores[1] == scores[2]


def test_nothing_detected(annotations):
    pytest.importorskip('faster_coco_eval')
    made = metric(FastCocoMetric, annotations)
    empty = dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long(), scores=torch.zeros(0))
    empty['masks'] = torch.zeros(0, 96, 128).bool()
    ids = [image['id'] for image in json.loads(annotations.read_text())['images']]
    found = [dict(img_id=i, ori_shape=(96, 128), pred_instances=empty) for i in ids]
    made.process({}, found)
    assert compute_scores([made], [made.results]).metrics['bbox_mAP'] == 0


def test_what_it_does_not_do_is_said(annotations, monkeypatch):
    with pytest.raises(InputError, match='use CocoMetric for proposals'):
        FastCocoMetric(ann_file=str(annotations), metric='proposal')
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(InputError, match='pip install faster-coco-eval'):
        metric(FastCocoMetric, annotations)
