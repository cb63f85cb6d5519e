"""A detector through tools/train.py, test.py and their launchers, and through a sweep."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from test_train import ROOT, run

from fan_mm.datasets.scenes import write_coco

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext', reason='detectors need compiled mmcv ops')
CONFIG = ROOT / 'configs/fan_hybrid_toy_mask_rcnn_coco.py'


@pytest.fixture(scope='module')
def options(tmp_path_factory):
    """Options for a few tiny pictures; 3 for validation do not divide among two processes."""
    data = tmp_path_factory.mktemp('detection') / 'toy'
    write_coco(data, (64, 96), 8, 3, jobs=1)
    loaders = [f'{split}_dataloader.dataset.data_root={data}' for split in ('train', 'val', 'test')]
    file = data / 'annotations/instances_val2017.json'
    return [
        '--cfg-options',
        *loaders,
        f'val_evaluator.ann_file={file}',
        f'test_evaluator.ann_file={file}',
        'train_dataloader.batch_size=2',
        'model.test_cfg.rcnn.score_thr=0.0',
        'model.test_cfg.rcnn.max_per_img=10',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.logger.interval=1',
    ]


def losses(work):
    """Iteration -> loss, of all runs in a work dir."""
    found = {}
    for path in sorted(Path(work).glob('*/vis_data/scalars.json')):
        rows = map(json.loads, path.read_text().splitlines())
        found |= {row['iter']: row['loss'] for row in rows if 'loss' in row}
    return found


@pytest.mark.slow
def test_two_processes_train_one_resumes_and_both_evaluate_alike(options, tmp_path):
    work = tmp_path / 'work'
    steps = ['train_cfg.max_iters=4', 'train_cfg.val_interval=4']
    done = run('dist_train.sh', CONFIG, 2, '--work-dir', work, *options, *steps)
    assert 'no GPU, running on the CPU, BN instead of SyncBN' not in done.stdout  # has BN
    assert 'gloo between processes' in done.stdout
    assert 'coco/segm_mAP' in done.stdout
    steps = ['train_cfg.max_iters=6', 'train_cfg.val_interval=6']
    done = run('train.py', CONFIG, '--work-dir', work, '--resume', '--amp', *options, *steps)
    assert 'bfloat16 for --amp' in done.stdout
    found = losses(work)
    assert list(found) == [1, 2, 3, 4, 5, 6] and all(0 < loss < 20 for loss in found.values())

    checkpoint = work / 'iter_6.pth'
    predictions = []
    for launch in (['test.py', CONFIG, checkpoint], ['dist_test.sh', CONFIG, checkpoint, 2]):
        out = tmp_path / f'{launch[0]}.pkl'
        run(*launch, '--work-dir', tmp_path / launch[0], '--out', out, *options)
        predictions.append(pickle.loads(out.read_bytes()))
    alone, together = predictions
    assert len(alone) == len(together) == 3
    for one, two in zip(alone, together, strict=True):
        assert one['img_id'] == two['img_id']
        one, two = one['pred_instances'], two['pred_instances']
        assert len(one['scores']) > 3
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(one[key], two[key])
        assert one['masks'] == two['masks']

    table = tmp_path / 'robustness'
    sweep = ['--work-dir', table, '--corruptions', 'fog', '--severities', '3', '--save-images', '2']
    run('dist_test_corruption.sh', CONFIG, checkpoint, 2, *sweep, *options)
    results = json.loads((table / 'results.json').read_text())
    assert results['benchmark']['name'] == 'coco-c-subset'
    assert [cell['samples'] for cell in results['cells']] == [3, 3]
    assert {'bbox_mAP_s', 'segm_mAP', 'segm_mAP_l'} <= set(results['other_summaries'])
    pictures = results['gallery'][0]['images']
    assert {'clean', 'corrupted', 'prediction_corrupted', 'ground_truth'} <= set(pictures)
    assert 'Boxes and masks, by object size' in (table / 'report.html').read_text()
