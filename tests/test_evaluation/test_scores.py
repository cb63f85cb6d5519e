"""Reading mmseg's, mmpretrain's and mmdet's metrics, on data worked out by hand."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator

from fan_mm.engine.evaluators import left_as_it_was, writing_aside
from fan_mm.engine.first_batch.trial import _say_missed
from fan_mm.errors import InputError
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.collected import by_class
from fan_mm.evaluation.scores import (
    KNOWN_METRICS,
    compute_scores,
    for_sweep,
    headline_metric,
    lower_is_better,
    to_per_cent,
)


def iou_metric(**options):
    evaluation = pytest.importorskip('mmseg.evaluation')
    metric = evaluation.IoUMetric(**options)
    metric.dataset_meta = {'classes': ('road', 'car', 'sky')}
    return metric


def segmented(metric, *pairs):
    for predicted, truth in pairs:
        sample = {
            'pred_sem_seg': {'data': torch.tensor([predicted])},
            'gt_sem_seg': {'data': torch.tensor([truth])},
        }
        metric.process({}, [sample])
    return metric.results


def test_segmentation():
    metric = iou_metric()
    results = segmented(
        metric, ([[0, 0], [1, 1]], [[0, 0], [0, 1]]), ([[0, 1], [1, 1]], [[255, 1], [1, 0]])
    )
    scores = compute_scores([metric], [results])
    # road: 2 of 4; car: 1 + 2 of 2 + 3; sky: nowhere
    assert scores.task == 'segmentation'
    assert scores.headline == 'mIoU'
    assert scores.metrics['mIoU'] == 55.0
    assert scores.metrics['aAcc'] == pytest.approx(71.43)
    assert scores.per_class['IoU'] == {'road': 50.0, 'car': 60.0, 'sky': None}
    assert scores.per_class['Acc'] == {'road': 50.0, 'car': 100.0, 'sky': None}
    expected = [[[2, 1, 0], [3, 2, 0]], [[0, 2, 0], [1, 3, 0]]]
    assert scores.statistics.tolist() == expected
    per_image = PerImage(scores.kind, np.array(['a', 'b']), {('clean', 0): scores.statistics})
    assert per_image.score(('clean', 0)) == pytest.approx(55.0)


def test_statistics_that_give_another_score_are_not_kept():
    metric = iou_metric(nan_to_num=0)
    results = segmented(metric, ([[0, 0]], [[0, 1]]))
    scores = compute_scores([metric], [results])
    assert scores.metrics['mIoU'] == pytest.approx(16.67)  # sky counts as 0
    assert scores.statistics is None


def test_classification():
    evaluation = pytest.importorskip('mmpretrain.evaluation')
    metric = evaluation.Accuracy(topk=(1, 2))
    metric.dataset_meta = {'classes': ('cat', 'dog', 'emu')}
    of_cats = ([0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.3, 0.6])
    for label, scores in (*((0, scores) for scores in of_cats), (1, [0.5, 0.1, 0.4])):
        sample = {'pred_score': torch.tensor(scores), 'gt_label': torch.tensor([label])}
        metric.process({}, [sample])
    scores = compute_scores([metric], [metric.results])
    assert scores.headline == 'top1'
    assert scores.metrics == {'top1': 25.0, 'top2': 50.0}
    assert scores.per_class == {'Acc': {'cat': 33.3333, 'dog': 0.0, 'emu': None}}
    assert scores.statistics[:, 0, 0].tolist() == [True, False, False, False]


def test_labels_of_classes_without_a_name():
    metric = pytest.importorskip('mmpretrain.evaluation').Accuracy()
    metric.dataset_meta = {'classes': ('cat',)}
    results = [
        {'pred_score': torch.tensor([0.1, 0.2, 0.7]), 'gt_label': torch.tensor([label])}
        for label in (0, 2)
    ]
    scores = compute_scores([metric], [results])
    assert scores.metrics == {'top1': 50.0}
    assert scores.per_class == {'Acc': {'cat': 0.0, '1': None, '2': 100.0}}


def test_classification_by_labels_alone():
    metric = pytest.importorskip('mmpretrain.evaluation').Accuracy()
    results = [
        {'pred_label': torch.tensor([found]), 'gt_label': torch.tensor([label])}
        for found, label in ((2, 0), (1, 1), (2, 2), (0, 2))
    ]
    scores = compute_scores([metric], [results])
    assert scores.metrics == {'top1': 50.0}
    assert scores.per_class == {'Acc': {'0': 0.0, '1': 100.0, '2': 50.0}}
    assert scores.statistics[:, 0, 0].tolist() == [False, True, True, False]


def coco_metric(tmp_path, images=2, ids=(1, 2), kind='CocoMetric', **options):
    import json

    detection = pytest.importorskip('mmdet.evaluation')
    annotations = {
        'images': [{'id': 7 + i, 'width': 100, 'height': 100} for i in range(images)],
        'categories': [{'id': ids[0], 'name': 'car'}, {'id': ids[1], 'name': 'dog'}],
        'annotations': [
            {
                'id': i + 1,
                'image_id': 7 + i,
                'bbox': [10, 10, 40, 40],
                'area': 1600,
                'category_id': ids[0],
                'iscrowd': 0,
            }
            for i in range(images)
        ],
    }
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(annotations))
    metric = getattr(detection, kind)(ann_file=str(path), **options)
    metric.dataset_meta = {'classes': ('car', 'dog')}
    return metric


def detected(metric, boxes, ids=(7, 8)):
    for image, found in zip(ids, boxes, strict=True):
        sample = {
            'img_id': image,
            'ori_shape': (100, 100),
            'pred_instances': {
                'bboxes': torch.tensor(found, dtype=torch.float32).reshape(-1, 4),
                'scores': torch.full((len(found),), 0.9),
                'labels': torch.zeros(len(found), dtype=torch.long),
            },
        }
        metric.process({}, [sample])
    return metric.results


BOX = [10, 10, 50, 50]


@pytest.mark.parametrize('ids', [(1, 2), (2, 1)], ids=['ascending', 'falling'])
def test_detection(ids, tmp_path, capsys):
    metric = coco_metric(tmp_path, ids=ids)
    results = detected(metric, [[BOX], []])
    capsys.readouterr()
    scores = compute_scores([metric], [results])
    assert capsys.readouterr().out == ''  # pycocotools prints tables
    assert scores.task == 'detection'
    assert scores.headline == 'bbox_mAP'
    # One of two found: precision 1 up to recall 0.5, that is 51 of COCO's 101 points.
    assert scores.metrics['bbox_mAP'] == pytest.approx(50.5)
    assert scores.metrics['bbox_mAP_l'] is None  # there are no large objects
    assert scores.per_class == {'bbox_mAP': {'car': pytest.approx(50.5), 'dog': None}}
    assert not metric.classwise  # as it was
    assert scores.kind == 'resampled' and set(scores.statistics.round(1)) == {0, 50.5, 100}
    known = {'bbox_mAP_50', 'bbox_mAP_75', 'bbox_mAP_m'}  # and no others: they are not defined
    assert set(scores.draws) == known and set(scores.matches) == {'bbox'}
    assert all(np.array_equal(draws, scores.statistics) for draws in scores.draws.values())
    whole, less = scores.arrays(matches=True), scores.arrays(matches=False)
    assert set(less) == {'statistics', *(f'draws/{name}' for name in known)}
    assert {'matches/bbox/hit', *less} < set(whole)


@pytest.mark.parametrize('ids', [(1, 2), (2, 1)], ids=['ascending', 'falling'])
def test_classes_by_the_faster_evaluation(ids, tmp_path):
    pytest.importorskip('faster_coco_eval')
    if not hasattr(pytest.importorskip('mmdet.evaluation'), 'FasterCocoMetric'):
        pytest.skip('not in the original mmdet')
    metric = coco_metric(tmp_path, ids=ids, kind='FasterCocoMetric')
    scores = compute_scores([metric], [detected(metric, [[BOX], []])])
    assert scores.per_class == {'bbox_mAP': {'car': pytest.approx(50.5, abs=0.06), 'dog': None}}


@pytest.mark.parametrize('compute', [True, False])
def test_classes_of_an_evaluation_that_sorts_them(compute):
    """lvis-api is not installed here; a metric with a computation of its own is left as it is."""
    methods = {'process': None, 'compute_metrics': lambda self, results: {}}
    library = type('LVISMetric', (BaseMetric,), {'__module__': 'mmdet.evaluation', **methods})
    own = {} if compute else {'compute_metrics': lambda self, results: {}}
    metric = type('Own', (library,), own)()
    metric.cat_ids = [7, 9, 4]
    values = {'seven': 4.0, 'nine': 7.0, 'four': 9.0}  # in the order of ids
    expected = {'seven': 7.0, 'nine': 9.0, 'four': 4.0} if compute else values
    assert by_class(metric, values) == expected


@pytest.mark.parametrize('ids', [(1, 2), (2, 1)], ids=['ascending', 'falling'])
def test_classes_of_each_of_two_detection_metrics(ids, tmp_path):
    metrics = []
    for prefix, own in (('a', ids), ('b', ids[::-1])):
        (tmp_path / prefix).mkdir()
        metrics.append(coco_metric(tmp_path / prefix, ids=own, prefix=prefix))
    scores = compute_scores(metrics, [detected(metric, [[BOX], []]) for metric in metrics])
    expected = {'car': pytest.approx(50.5), 'dog': None}
    assert scores.per_class == {'bbox_mAP': expected, 'b/bbox_mAP': expected}


@pytest.mark.parametrize(
    'options',
    [{'metric': 'proposal'}, {'proposal_nums': (1, 10, 100)}, {'iou_thrs': np.array([0.5, 0.85])}],
    ids=str,
)
def test_boxes_by_other_rules(options, tmp_path):
    """Intervals are of the score that is given, or there are none."""
    metric = coco_metric(tmp_path, **options)
    scores = compute_scores([metric], [detected(metric, [[BOX], [[10, 12, 50, 60]]])])
    if 'metric' in options:
        assert scores.headline == 'AR@100' and scores.statistics is None
    else:
        low = 50 if 'iou_thrs' in options else 60  # found at one overlap of two, at six of ten
        assert set(scores.statistics.round(1)) == {low, scores.metrics['bbox_mAP'], 100}


@pytest.mark.parametrize('kinds', ['segm', ['bbox', 'segm'], ['bbox', 'proposal']], ids=str)
def test_boxes_and_masks_have_their_own_draws(kinds, tmp_path):
    """The box is found, its mask half; mask alone, its mAP is the headline; recall has no draws."""
    metric = coco_metric(tmp_path, metric=kinds)
    for annotation in metric._coco_api.dataset['annotations']:
        annotation['segmentation'] = [[10, 10, 50, 10, 50, 50, 10, 50]]
    mask = torch.zeros(1, 100, 100, dtype=torch.bool)
    mask[:, 10:50, 10:40] = True  # three quarters: right at overlaps to 0.75
    for image in (7, 8):
        found = {
            'bboxes': torch.tensor([BOX], dtype=torch.float32)[image - 7 :],
            'scores': torch.full((8 - image,), 0.9),
            'labels': torch.zeros(8 - image, dtype=torch.long),
            'masks': mask[image - 7 :],
        }
        metric.process({}, [{'img_id': image, 'ori_shape': (100, 100), 'pred_instances': found}])
    scores = compute_scores([metric], [metric.results])
    assert scores.headline == ('segm_mAP' if kinds == 'segm' else 'bbox_mAP')
    # per class the boxes', where there are boxes
    own = 'segm_mAP' if kinds == 'segm' else 'bbox_mAP'
    assert scores.per_class == {own: {'car': scores.metrics[own], 'dog': None}}
    draws = {scores.headline: scores.statistics, **scores.draws}
    for kind, best in (('bbox', 100.0), ('segm', 60.0)):
        if kind in kinds:
            assert set(draws[f'{kind}_mAP'].round(1)) == {0, round(0.505 * best, 1), best}
            assert set(draws[f'{kind}_mAP_50'].round(1)) == {0, 50.5, 100}
        assert (kind in scores.matches) == (kind in kinds)
    assert not any('AR' in name for name in draws)


def test_an_image_that_was_evaluated_twice_has_no_intervals(tmp_path):
    metric = coco_metric(tmp_path)
    scores = compute_scores([metric], [detected(metric, [[BOX], [], [BOX]], ids=(7, 8, 7))])
    assert scores.statistics is None and scores.metrics['bbox_mAP'] == pytest.approx(50.5)


def test_images_that_were_not_evaluated_are_not_missed(tmp_path):
    metric = coco_metric(tmp_path)
    results = detected(metric, [[BOX]], ids=(7,))
    assert compute_scores([metric], [results], [7]).metrics['bbox_mAP'] == 100
    assert metric.img_ids is None or len(metric.img_ids) == 2


def test_no_detections_at_all_are_a_score_of_0(tmp_path):
    metric = coco_metric(tmp_path)
    results = detected(metric, [[], []])
    scores = compute_scores([metric], [results])
    # All boxes are of 40 x 40 pixels: there are no small and no large ones.
    names = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
    values = (0.0, 0.0, 0.0, None, 0.0, None)
    assert scores.metrics == {f'bbox_{n}': v for n, v in zip(names, values, strict=True)}
    assert scores.per_class == {'bbox_mAP': {'car': 0.0, 'dog': None}}
    assert scores.kind == 'resampled' and not scores.statistics.any()


def test_no_masks_at_all_are_a_score_of_0(tmp_path):
    metric = coco_metric(tmp_path, metric=['bbox', 'segm'], metric_items=['mAP', 'mAP_50'])
    for annotation in metric._coco_api.dataset['annotations']:
        annotation['segmentation'] = [[10, 10, 50, 10, 50, 50, 10, 50]]
    for image in (7, 8):
        found = {
            'bboxes': torch.zeros(0, 4),
            'scores': torch.zeros(0),
            'labels': torch.zeros(0, dtype=torch.long),
            'masks': torch.zeros(0, 100, 100, dtype=torch.bool),
            'mask_scores': torch.zeros(0),
        }
        metric.process({}, [{'img_id': image, 'ori_shape': (100, 100), 'pred_instances': found}])
    scores = compute_scores([metric], [metric.results])
    names = ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50')
    assert scores.metrics == dict.fromkeys(names, 0.0)


def test_no_metric_at_all_is_refused():
    with pytest.raises(InputError, match='no metric'):
        headline_metric([])


def test_depth():
    evaluation = pytest.importorskip('mmseg.evaluation')
    assert_depth(evaluation.DepthMetric())
    only = evaluation.DepthMetric()
    only.metrics = ['rmse', 'abs_rel']
    with pytest.raises(InputError, match='returned rmse, abs_rel: configure it to compute d1'):
        compute_scores([only], [DEPTHS])  # lower is better: no retention is made of them


DEPTHS = [(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))]


def assert_depth(metric):
    scores = compute_scores([metric], [DEPTHS])
    assert scores.task == 'depth estimation'
    assert scores.headline == 'd1'
    assert scores.metrics['d1'] == 50.0
    errors = {n: v for n, v in scores.metrics.items() if n not in ('d1', 'd2', 'd3')}
    log = math.log(2)
    assert errors == pytest.approx(  # metres and logarithms, not per cent
        {
            **{'abs_rel': 0.5, 'sq_rel': 1.0, 'rmse': 2**0.5, 'rmse_log': log / 2**0.5},
            **{'log10': math.log10(2) / 2, 'silog': log * (3 / 8) ** 0.5},
        },
        abs=1e-4,
    )
    assert lower_is_better('rmse')


@pytest.mark.parametrize(
    ('options', 'headline'),
    [
        (dict(topk=(1, 2)), 'top1'),
        (dict(topk=(5,)), 'top5'),
        (dict(topk=(3,)), 'top3'),
        (dict(topk=(3, 4, 1)), 'top1'),
        (dict(topk=(1,), thrs=(0.0, 0.5)), 'top1_thr-0.00'),
    ],
)
def test_names_of_accuracy(options, headline):
    metric = pytest.importorskip('mmpretrain.evaluation').Accuracy(**options)
    results = [{'pred_score': torch.eye(6)[i], 'gt_label': torch.tensor([i])} for i in range(6)]
    scores = compute_scores([metric], [results])
    assert scores.headline == headline
    assert scores.metrics[headline] == 100.0


@pytest.mark.parametrize(
    ('name', 'options', 'headline'),
    [
        ('SingleLabelMetric', {}, 'f1-score'),
        ('SingleLabelMetric', dict(items=('precision', 'support')), 'precision'),
        ('SingleLabelMetric', dict(average='micro'), 'f1-score_micro'),
        ('MultiLabelMetric', dict(topk=1), 'f1-score_top1'),
        ('AveragePrecision', {}, 'mAP'),
        ('VOCAveragePrecision', {}, 'mAP'),
        ('SingleLabelMetric', dict(average=None), None),
        ('AveragePrecision', dict(average=None), None),
        ('ConfusionMatrix', {}, None),
    ],
)
def test_other_metrics_of_mmpretrain(name, options, headline):
    metric = getattr(pytest.importorskip('mmpretrain.evaluation'), name)(**options)
    metric.dataset_meta = {'classes': ('cat', 'dog', 'emu')}
    for label in range(3):
        sample = {
            'pred_score': torch.eye(3)[label],
            'gt_label': torch.tensor([label]),
            'gt_score': torch.eye(3)[label],
            'gt_label_difficult': [],
        }
        metric.process({}, [sample])
    if headline is None:
        with pytest.raises(InputError, match=f'{name} returned'):
            compute_scores([metric], [metric.results])
        return
    scores = compute_scores([metric], [metric.results])
    assert scores.headline == headline
    assert scores.metrics[headline] == 100.0


def test_two_metrics_of_different_units(tmp_path):
    """Each has the scale of its own library; IoUMetric, which has no prefix, too."""
    coco, iou = coco_metric(tmp_path), iou_metric()
    results = [detected(coco, [[BOX], []]), segmented(iou, ([[0, 0]], [[0, 1]]))]
    scores = compute_scores([coco, iou], results)
    assert scores.headline == 'bbox_mAP'
    assert scores.metrics['bbox_mAP'] == scores.metrics['bbox_mAP_50'] == pytest.approx(50.5)
    assert scores.metrics['mIoU'] == 25.0
    assert scores.metrics['aAcc'] == scores.metrics['mAcc'] == 50.0
    other = compute_scores([iou, coco], results[::-1])
    assert other.headline == 'mIoU' and other.metrics == scores.metrics


def test_a_precision_that_is_no_class_stays_a_score(tmp_path):
    """That of a metric of somebody's own, beside mmdet's, which names its classes so."""
    coco, own = coco_metric(tmp_path), coco_metric(tmp_path)
    computed = {'compute_metrics': lambda self, results: {'best_precision': 0.25}}
    own.__class__ = type('OwnMetric', (type(coco),), computed)
    own.prefix = 'own'
    scores = compute_scores([coco, own], [detected(m, [[BOX], []]) for m in (coco, own)])
    assert scores.metrics['best_precision'] == 25.0
    assert list(scores.per_class) == ['bbox_mAP'] and len(scores.per_class['bbox_mAP']) == 2


def test_proposals(tmp_path):
    made = coco_metric(tmp_path, metric='proposal')
    results = detected(made, [[BOX], []])
    scores = compute_scores([made], [results], [7, 8])
    assert scores.headline.startswith('AR@')
    assert scores.metrics[scores.headline] == pytest.approx(50.0)


def test_metrics_that_measure_nothing_are_refused(tmp_path):
    metric = iou_metric(format_only=True, output_dir=str(tmp_path))
    with pytest.raises(InputError, match='format_only'):
        headline_metric([metric])


def test_a_panoptic_metric_that_keeps_its_predictions_scores_a_part_of_its_file(
    tmp_path, monkeypatch
):
    """mmdet's fails with an outfile_prefix where an image of the file is not evaluated."""
    name = 'mmdet.evaluation.metrics.coco_panoptic_metric'
    monkeypatch.setattr(pytest.importorskip(name), 'panopticapi', object())
    module = sys.modules[name]
    given = module.CocoPanopticMetric(outfile_prefix=str(tmp_path / 'results'))
    held = dict(vars(given))
    (metric,) = for_sweep([given]).metrics
    assert type(metric) is type(given) and vars(given) == held
    assert not metric.seg_out_dir.startswith(str(tmp_path))
    plain = module.CocoPanopticMetric()
    assert for_sweep([plain]).metrics == [plain]
    with left_as_it_was(Evaluator([given])), writing_aside(Evaluator([given])):
        assert given.tmp_dir is not None
    assert vars(given) == held
    _say_missed(Evaluator([given]), 2, 'test')
    given._coco_api = SimpleNamespace(get_img_ids=lambda: [1, 2, 3])
    _say_missed(Evaluator([given]), 3, 'test')
    with pytest.raises(
        InputError, match=r'Metric with .* all 3 images .* dataset has 2: leave outfile_prefix out'
    ):
        _say_missed(Evaluator([given]), 2, 'test')


def test_metrics_without_their_headline_are_refused():
    metric = iou_metric(iou_metrics=['mFscore', 'mDice'])
    results = segmented(metric, ([[0]], [[0]]))
    assert compute_scores([metric], [results]).headline == 'mDice'
    assert compute_scores([metric], [results]).statistics is None


@pytest.mark.parametrize('name', KNOWN_METRICS)
def test_metrics_that_give_shares_and_those_that_give_per_cent(name):
    per_cent = ('IoUMetric', 'SemSegMetric', 'CocoPanopticMetric', 'Accuracy', 'AveragePrecision')
    per_cent += ('SingleLabelMetric', 'MultiLabelMetric')
    assert KNOWN_METRICS[name].scale == (1 if name in per_cent else 100)


@pytest.mark.parametrize(
    ('value', 'scale', 'expected'),
    [
        (0.384, 100, 38.4),
        (np.float32(71.23), 1, 71.23),
        (-1.0, 100, None),
        (np.nan, 1, None),
        (np.inf, 1, None),
        (-0.25, None, -0.25),
    ],
)
def test_per_cent(value, scale, expected):
    assert to_per_cent(value, scale) == expected
