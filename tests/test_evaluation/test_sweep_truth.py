"""The metric's annotation file and the dataset of a sweep need not have the same images.

The model answers with the truth, so every mAP must be 100.
"""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmcv.ops')

from mmengine.config import Config
from mmengine.registry import DATASETS, EVALUATOR, METRICS, DefaultScope
from mmengine.structures import InstanceData

import fan_mm
from fan_mm.datasets.scenes import write_coco
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep, read_per_image, read_results
from fan_mm.evaluation.cell_dataset import data_info
from fan_mm.evaluation.comparison import compare
from fan_mm.evaluation.sweeping.truth import differing_settings, settings_of
from fan_mm.report.comparison import build_comparison
from fan_mm.report.robustness_table import RobustnessTable

CONFIG = Path(fan_mm.__file__).parents[1] / 'configs/fan_hybrid_toy_mask_rcnn_coco.py'
ANN = 'annotations/instances_val2017.json'


class Part(torch.nn.Module):
    """Finds all objects of some pictures, none of the others, the fewer the paler they are."""

    def test_step(self, batch):
        for sample in Truth().test_step(batch):
            found = sample.pred_instances
            pale = batch['inputs'][0].float().std() < 50
            sample.pred_instances = found[len(found) // 2 :] if pale else found
        return batch['data_samples']


class Truth(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.asked = 0

    def test_step(self, batch):
        self.asked += len(batch['data_samples'])
        for sample in batch['data_samples']:
            gt = sample.gt_instances
            sample.pred_instances = InstanceData(
                bboxes=gt.bboxes.tensor,
                labels=gt.labels,
                scores=torch.ones(len(gt.labels)),
                masks=gt.masks.to_tensor(torch.bool, 'cpu'),
            )
        return batch['data_samples']


@pytest.fixture(scope='module')
def toys(tmp_path_factory):
    """Two datasets, of four and six pictures, whose ids are the same."""
    roots = [tmp_path_factory.mktemp('coco') / name for name in 'ab']
    for seed, (root, count) in enumerate(zip(roots, (4, 6), strict=True)):
        write_coco(root, (96, 128), 1, count, seed=seed, jobs=1)
        content = json.loads((root / ANN).read_text())
        content['images'] = content['images'][:3]
        ids = {image['id'] for image in content['images']}
        content['annotations'] = [a for a in content['annotations'] if a['image_id'] in ids]
        (root / 'annotations/first.json').write_text(json.dumps(content))
    return roots


@pytest.fixture
def cfg():
    cfg = Config.fromfile(CONFIG)
    register_task_library(cfg)
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield cfg


def loader_of(dataset):
    collate = dict(type='pseudo_collate')
    sampler = dict(type='DefaultSampler', shuffle=False)
    return dict(dataset=dataset, batch_size=2, num_workers=0, collate_fn=collate, sampler=sampler)


def dataset_of(cfg, root, **options):
    return DATASETS.build(dict(cfg.test_dataloader.dataset, data_root=str(root), **options))


def metric_of(truth, **options):
    options = {'type': 'CocoMetric', 'metric': 'bbox', 'ann_file': str(truth), **options}
    return METRICS.build(options)


def clean_cell(dataset, evaluator, model=None, **options):
    sweep = RobustnessSweep(
        model or Truth(),
        loader_of(dataset),
        evaluator,
        **{**dict(corruptions=['fog'], severities=[1]), **options},
    )
    return sweep.run()['cells'][0]


def subset(dataset):
    # not get_subset: its memo of copies outlives the call, and an object of a later test that comes to lie
    # where one of an earlier lay is taken for that
    dataset.get_subset_([2, 0])
    return dataset


PARTS = {
    'whole': lambda whole: whole,
    'subset': lambda whole: torch.utils.data.Subset(whole, [3, 1]),
    'subset of mmengine': subset,
}


@pytest.mark.parametrize('part', PARTS)
@pytest.mark.parametrize('samples', [None, 1])
def test_images_of_the_file_that_are_not_evaluated_are_not_missed(cfg, toys, part, samples):
    dataset = PARTS[part](dataset_of(cfg, toys[0]))
    cell = clean_cell(dataset, metric_of(toys[0] / ANN), max_samples=samples)
    assert cell['metrics']['bbox_mAP'] == 100.0
    assert cell['per_class']['bbox_mAP']


def with_categories(root, change):
    """An annotation file whose categories were changed, and the names of its classes."""
    content = json.loads((root / ANN).read_text())
    change(content)
    (root / 'annotations/changed.json').write_text(json.dumps(content))
    return [category['name'] for category in content['categories']]


def backwards(content):
    content['categories'].reverse()


@pytest.mark.parametrize('sort', [False, True])
@pytest.mark.parametrize('kind', ['CocoDataset', 'Objects365V1Dataset'])
def test_who_sorts_categories_by_their_ids(cfg, toys, kind, sort):
    """mmdet scores every label as another class where only one of dataset and metric does."""
    classes = with_categories(toys[0], backwards)
    file = 'annotations/changed.json'
    dataset = dataset_of(cfg, toys[0], type=kind, ann_file=file, metainfo=dict(classes=classes))
    metric = metric_of(toys[0] / file, sort_categories=sort)
    if sort == (kind == 'Objects365V1Dataset'):
        assert clean_cell(dataset, metric)['metrics']['bbox_mAP'] == 100.0
        return
    with pytest.raises(InputError, match=f'{kind} and CocoMetric .* sort_categories={not sort}$'):
        clean_cell(dataset, metric)


def test_ids_of_categories_that_are_no_whole_numbers(cfg, toys):
    """mmdet's table per class fails on them, its scores do not."""

    def change(content):
        for category in content['categories']:
            category['id'] = f'c{category["id"]:02}'
        for annotation in content['annotations']:
            annotation['category_id'] = f'c{annotation["category_id"]:02}'

    with_categories(toys[0], change)
    file = 'annotations/changed.json'
    cell = clean_cell(dataset_of(cfg, toys[0], ann_file=file), metric_of(toys[0] / file))
    assert cell['metrics']['bbox_mAP'] == 100.0
    assert not cell['per_class']


def refit(number, box=None, **keys):
    def change(content):
        entries = [a for a in content['annotations'] if not a['iscrowd']]
        entries[number].update(keys if box is None else {'bbox': box(entries[number]['bbox'])})

    return change


@pytest.mark.parametrize(
    ('change', 'options', 'other'),
    [
        (lambda content: content, {}, []),
        (refit(0, lambda box: [float(value) for value in box]), {}, []),
        (refit(0, lambda box: [box[0] + 1, *box[1:]]), {}, ['annotations']),
        (refit(0, iscrowd=1), {}, ['annotations']),
        (
            refit(-1, lambda box: [box[0] + 1, *box[1:]]),
            {},
            [],
        ),  # of an image that is not evaluated
        (backwards, {}, []),
        (lambda content: content, dict(iou_thrs=[0.5]), ['iou_thrs']),
        (lambda content: content, dict(proposal_nums=(1, 10, 100)), []),
    ],
)
def test_what_results_of_a_metric_must_have_in_common(cfg, toys, change, options, other):
    with_categories(toys[0], change)
    metrics = [metric_of(toys[0] / ANN), metric_of(toys[0] / 'annotations/changed.json', **options)]
    ids = metrics[0]._coco_api.get_img_ids()[:2]
    for metric in metrics:
        metric.dataset_meta = dict(classes=cfg.metainfo.classes)
    one, two = (settings_of(metric, ids) for metric in metrics)
    assert one.keys() == two.keys() == {'iou_thrs', 'annotations'}
    assert [name for name in one if one[name] != two[name]] == other


@pytest.mark.parametrize(
    ('library', 'kind', 'one', 'other', 'differing'),
    [
        ('mmpretrain', 'Accuracy', dict(topk=(1, 5)), dict(topk=1), []),
        ('mmpretrain', 'Accuracy', {}, dict(thrs=0.5), ['thrs']),
        ('mmpretrain', 'Accuracy', dict(thrs=None), dict(thrs=(None,)), []),
        ('mmpretrain', 'Accuracy', dict(thrs=None), dict(thrs=0.5), ['thrs']),
        (
            'mmpretrain',
            'SingleLabelMetric',
            dict(thrs=None),
            dict(thrs=0.0),
            [],
        ),  # of probabilities
        ('mmseg', 'IoUMetric', {}, dict(beta=2), ['beta']),
        ('mmseg', 'DepthMetric', {}, dict(max_depth_eval=10), ['max_depth_eval']),
        ('mmseg', 'DepthMetric', dict(min_depth_eval=1), dict(min_depth_eval=1.0), []),
        ('mmdet', 'OpenImagesMetric', {}, dict(use_group_of=False), ['use_group_of']),
    ],
)
def test_settings_that_the_name_of_a_score_does_not_tell(library, kind, one, other, differing):
    metrics = importlib.import_module(f'{library}.evaluation')
    made = [settings_of(getattr(metrics, kind)(**options), []) for options in (one, other)]
    assert differing_settings(*made) == differing
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_settings_of_a_metric_are_stored_and_evaluating_does_not_change_them(cfg, toys, tmp_path):
    metric = metric_of(toys[0] / ANN, metric=['bbox', 'segm'])
    clean_cell(dataset_of(cfg, toys[0]), metric, max_samples=3, work_dir=tmp_path, corruptions=[])
    stored = read_results(tmp_path)['metric']['settings']
    fresh = metric_of(toys[0] / ANN)
    for one in (metric, fresh):
        one.dataset_meta = dict(classes=cfg.metainfo.classes)
        assert stored == settings_of(one, one._coco_api.get_img_ids()[:3])
    assert settings_of(torch.nn.Identity(), [1]) == {}


def test_intervals_of_boxes_and_masks(cfg, toys, tmp_path):
    """In a sweep stored and gone on with, and paired with another model's."""
    folders = []

    def swept(model, folder):
        options = dict(corruptions=['contrast', 'fog'], severities=[1, 5], work_dir=folder)
        sweep = RobustnessSweep(
            model,
            loader_of(dataset_of(cfg, toys[1])),
            metric_of(toys[1] / ANN, metric=['bbox', 'segm']),
            model_info={'config_sha256': 'c', 'checkpoint_sha256': 'w'},
            **options,
        )
        return sweep.run()

    for model in (Part(), Truth()):
        folders.append(tmp_path / type(model).__name__)
        for _ in range(2):
            results = swept(model, folders[-1])
        assert results['bootstrap']['resamples'] == 1000
    part, truth = (read_results(folder)['summary'] for folder in folders)
    assert truth['mean']['interval'] == truth['retention']['interval'] == [100, 100]
    low, high = part['mean']['interval']
    assert low < part['mean']['value'] < high < 100
    stored = read_per_image(folders[0])
    assert stored.kind == 'resampled' and len(stored.cells) == 5
    assert {draws.shape for draws in stored.cells.values()} == {(1000,)}
    found = compare(*folders)
    assert found['mean']['significant']
    assert found['mean']['interval'] == pytest.approx([100 - high, 100 - low])
    # every other score that has a value, too
    others = read_results(folders[0])['other_summaries']
    known = {n for n, summary in others.items() if summary['mPC']['value'] is not None}
    assert known >= {'bbox_mAP_50', 'bbox_mAP_75', 'segm_mAP', 'segm_mAP_50', 'segm_mAP_75'}
    assert set(stored.others) == known
    for name in ('bbox_mAP_50', 'segm_mAP', 'segm_mAP_75'):
        (low, high), value = (others[name]['mPC'][key] for key in ('interval', 'value'))
        assert low < value < high
        assert others[name]['rPC']['interval'] and others[name]['worst']['interval']
        assert found[f'mean_{name}']['interval'] == pytest.approx([100 - high, 100 - low])
        assert found[f'clean_{name}']['significant']
    text = build_comparison(folders).differences
    assert any(d.score == 'segm_mAP' and d.measure == 'retention' and d.interval for d in text)
    # what was matched is kept of the clean cell alone, which may be pooled with others
    cells = {path.stem: np.load(path) for path in (folders[0] / 'cells').glob('*.npz')}
    with_matches = [n for n, arrays in cells.items() if any('matches' in a for a in arrays)]
    assert with_matches == ['clean_0']
    # cells of an earlier version have the draws of their metric alone
    for path in (folders[0] / 'cells').glob('*.npz'):
        np.savez(path, statistics=cells[path.stem]['statistics'])
        record = json.loads(path.with_suffix('.json').read_text())
        del record['arrays'], record['seal']
        path.with_suffix('.json').write_text(json.dumps(record))
    results = swept(Part(), folders[0])
    assert results['summary'] == part and not read_per_image(folders[0]).others
    assert results['other_summaries']['segm_mAP']['mPC']['interval'] is None
    assert 'mask mAP' in RobustnessTable(results).without_interval()


@pytest.mark.parametrize(
    'options',
    [
        dict(indices=3),
        dict(ann_file='annotations/first.json'),
        dict(test_mode=False, filter_cfg=dict(filter_empty_gt=True, min_size=40)),
    ],
)
def test_datasets_that_read_a_part_of_the_file(cfg, toys, options):
    dataset = dataset_of(cfg, toys[0], **options)
    cell = clean_cell(dataset, metric_of(toys[0] / ANN))
    assert cell['metrics']['bbox_mAP'] == 100.0
    assert len(dataset) <= 4


def test_truth_that_lacks_images_is_refused_before_the_first(cfg, toys):
    model = Truth()
    with pytest.raises(
        InputError, match='lacks 1 of 4 images of the dataset, for example'
    ) as error:
        clean_cell(dataset_of(cfg, toys[0]), metric_of(toys[0] / 'annotations/first.json'), model)
    missing = data_info(dataset_of(cfg, toys[0]), 3)
    assert missing['img_path'] in str(error.value)
    assert not model.asked


@pytest.mark.parametrize('samples', [None, 4])
def test_each_of_several_datasets_has_its_own_file(cfg, toys, samples):
    dataset = DATASETS.build(
        dict(type='ConcatDataset', datasets=[dataset_of(cfg, root) for root in toys])
    )
    metrics = [metric_of(root / ANN) for root in toys]
    evaluator = EVALUATOR.build(
        dict(type='MultiDatasetsEvaluator', metrics=metrics, dataset_prefixes=['a', 'b'])
    )
    cell = clean_cell(dataset, evaluator, max_samples=samples)
    found = {n: v for n, v in cell['metrics'].items() if n.endswith('bbox_mAP')}
    assert found == {'a/coco/bbox_mAP': 100.0, 'b/coco/bbox_mAP': 100.0}
    assert set(cell['per_class']) == set(found)
    # the other way round the ids are there, but the boxes are others': no 100
    swapped = EVALUATOR.build(
        dict(type='MultiDatasetsEvaluator', metrics=metrics[::-1], dataset_prefixes=['a', 'b'])
    )
    with pytest.raises(InputError, match='of 6 images of the dataset'):
        clean_cell(dataset, swapped)


@pytest.mark.parametrize('empty', ['a', 'b'])
def test_a_dataset_in_which_nothing_is_detected_has_0(cfg, toys, empty):
    class Blind(Truth):
        def test_step(self, batch):
            samples = super().test_step(batch)
            for sample in samples:
                if f'/{empty}/' in sample.img_path:
                    sample.pred_instances = sample.pred_instances[:0]
            return samples

    dataset = DATASETS.build(
        dict(type='ConcatDataset', datasets=[dataset_of(cfg, root) for root in toys])
    )
    evaluator = EVALUATOR.build(
        dict(
            type='MultiDatasetsEvaluator',
            metrics=[metric_of(root / ANN) for root in toys],
            dataset_prefixes=['a', 'b'],
        )
    )
    cell = clean_cell(dataset, evaluator, Blind())
    found = {n: cell['metrics'][f'{n}/coco/bbox_mAP'] for n in 'ab'}
    assert found == {'a': 100.0, 'b': 100.0, empty: 0.0}


def test_files_of_predictions_are_not_left(cfg, toys, tmp_path):
    metric = metric_of(toys[0] / ANN, outfile_prefix=str(tmp_path / 'kept'))
    assert clean_cell(dataset_of(cfg, toys[0]), metric)['status'] == 'done'
    assert not list(tmp_path.glob('kept*'))
    assert metric.outfile_prefix
