"""CocoMetric's iou_thrs as numbers and lists, which pycocotools does not take."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext', reason='mmdet needs compiled mmcv ops')
from mmdet.evaluation import CocoMetric
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.registry import DefaultScope

from fan_mm.engine import fast_coco_metric  # noqa: F401  (registers FastCocoMetric)
from fan_mm.engine.detection_checks import check_evaluator
from fan_mm.engine.overlap_thresholds import OverlapThresholdsHook
from fan_mm.errors import InputError


class Other(BaseMetric):
    """No CocoMetric: its thresholds are its own affair."""

    iou_thrs = (0.5,)

    def process(self, data_batch, data_samples):
        raise NotImplementedError

    def compute_metrics(self, results):
        raise NotImplementedError


def coco_metric(folder, given):
    """A metric of one image with one object, and the results of a box that overlaps it by 0.6."""
    box = dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 100, 100], area=10000, iscrowd=0)
    content = dict(
        info={},
        images=[dict(id=1, width=200, height=200, file_name='a.jpg')],
        categories=[dict(id=1, name='car')],
        annotations=[box],
    )
    file = folder / 'a.json'
    file.write_text(json.dumps(content))
    made = CocoMetric(ann_file=str(file), metric='bbox', iou_thrs=given)
    made.dataset_meta = dict(classes=('car',))
    found = dict(
        bboxes=torch.tensor([[0.0, 0.0, 100.0, 60.0]]),
        labels=torch.tensor([0]),
        scores=torch.tensor([0.9]),
    )
    made.process({}, [dict(img_id=1, ori_shape=(200, 200), pred_instances=found)])
    return made


@pytest.mark.parametrize(
    ('given', 'score'),
    [
        (0.5, 1.0),
        ([0.5], 1.0),
        ((0.75,), 0.0),
        ([0.5, 0.75], 0.5),
        (np.array([0.5]), 1.0),
        (None, 0.3),
    ],
)
def test_any_form_is_taken(tmp_path, given, score):
    loop = SimpleNamespace(evaluator=Evaluator([Other(), coco_metric(tmp_path, given)]))
    for val, test in ((loop, dict(type='TestLoop')), (None, loop)):
        OverlapThresholdsHook().before_run(SimpleNamespace(_val_loop=val, _test_loop=test))
    other, own = loop.evaluator.metrics
    assert other.iou_thrs == (0.5,)
    assert own.compute_metrics(own.results)['bbox_mAP'] == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(iou_thrs=[0.5]), None),
        (dict(iou_thrs=0.5), None),
        (dict(iou_thrs=None, classwise=True), None),
        (dict(iou_thrs=[0.5] * 6, classwise=True), None),
        (dict(iou_thrs=[50]), r'must be numbers above 0 and up to 1, not \[50\]'),
        (dict(iou_thrs='x'), "must be numbers above 0 and up to 1, not 'x'"),
        (dict(iou_thrs=[]), r'must be numbers above 0 and up to 1, not \[\]'),
        (dict(iou_thrs=[0.5], classwise=True), r'shows the sixth of iou_thrs, which are 1'),
        (dict(iou_thrs=[50], type='FastCocoMetric'), r'must be numbers'),
        (dict(iou_thrs=[0.5], classwise=True, type='FastCocoMetric'), None),
        (dict(iou_thrs=[0, 0.5], type='VOCMetric'), None),
    ],
)
def test_what_are_no_thresholds(options, words):
    with DefaultScope.overwrite_default_scope('mmdet'):
        if words is None:
            assert check_evaluator('val_evaluator', dict(type='CocoMetric') | options) == []
            return
        with pytest.raises(InputError, match=rf'^val_evaluator.*{words}'):
            check_evaluator('val_evaluator', dict(type='CocoMetric') | options)
