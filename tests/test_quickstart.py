"""`tools/quickstart.sh` from end to end on a few tiny pictures; the toy model learns."""

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import warm_python
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from fan_mm.datasets.scenes import render_scene

pytest.importorskip('mmseg')
ROOT = Path(__file__).parents[1]
CONFIG = ROOT / 'configs/fan_hybrid_toy_cityscapes.py'


def quickstart(*arguments):
    """Run the script, but for the imports with this very Python, from a folder that is not the checkout."""
    return subprocess.run(
        ['bash', str(ROOT / 'tools/quickstart.sh'), *arguments],
        capture_output=True,
        text=True,
        cwd='/',
        env={**os.environ, 'FAN_MM_PYTHON': warm_python.python(), 'PYTHONPATH': str(ROOT)},
    )


@pytest.fixture(scope='module')
def short_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('quickstart')
    work = folder / 'work'
    arguments = ['--short', '--work-dir', str(work), '--data', str(folder / 'data')]
    return work, arguments, quickstart(*arguments)


@pytest.mark.slow
def test_trains_evaluates_paints_and_sweeps(short_run):
    work, _, done = short_run
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == str(work)
    table = (work / 'scores.txt').read_text()
    assert 'traffic light' in table and 'mIoU: ' in table.splitlines()[-1]
    assert table in done.stdout

    pictures = sorted((work / 'predictions').glob('*.png'))
    assert len(pictures) == 4
    picture = cv2.imread(str(pictures[0]))[..., ::-1]
    assert picture.shape[1] == 3 * 128 + 2 * 6  # image, ground truth, prediction
    image = render_scene(64, 128, 0, 1_000_000).image
    assert any(np.array_equal(picture[y : y + 64, :128], image) for y in range(40))

    results = json.loads((work / 'robustness/results.json').read_text())
    cells = {(c['corruption'], c['severity']): c for c in results['cells']}
    assert set(cells) == {('clean', 0), ('fog', 3)}
    assert all(cell['status'] == 'done' and cell['samples'] == 4 for cell in cells.values())
    assert f'mIoU: {cells["clean", 0]["metrics"]["mIoU"]:.2f}' in table
    assert (work / 'robustness/report.html').stat().st_size > 10_000


@pytest.mark.slow
def test_run_again_it_reuses_what_is_there(short_run):
    work, arguments, _ = short_run
    watched = [*work.glob('*.pth'), *(work / 'robustness').rglob('*.jpg')]
    before = {path: path.stat().st_mtime_ns for path in watched}
    assert len(before) > 2
    done = quickstart(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'training: already finished' in done.stdout
    assert '0 of them new' in done.stdout
    assert done.stdout.splitlines()[-1] == str(work)
    assert {path: path.stat().st_mtime_ns for path in watched} == before


@pytest.mark.slow
def test_classification(tmp_path):
    pytest.importorskip('mmpretrain')
    work = tmp_path / 'work'
    task = ['--task', 'classification', '--short']
    done = quickstart(*task, '--work-dir', str(work), '--data', str(tmp_path / 'data'))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == str(work)
    assert 'epoch 2, iteration 2/2, loss ' in done.stdout
    assert len(list((work / 'predictions').glob('*.png'))) == 8
    results = json.loads((work / 'robustness/results.json').read_text())
    cells = {(c['corruption'], c['severity']): c for c in results['cells']}
    assert set(cells) == {('clean', 0), ('fog', 3)}
    clean = cells['clean', 0]
    assert clean['samples'] == 10
    assert f'accuracy/top1: {clean["metrics"]["top1"]:.4f}' in (work / 'scores.txt').read_text()


@pytest.mark.slow
def test_detection(tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext', reason='detectors need compiled mmcv ops')
    work = tmp_path / 'work'
    task = ['--task', 'detection', '--short']
    done = quickstart(*task, '--work-dir', str(work), '--data', str(tmp_path / 'data'))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == str(work)
    assert 'iteration 4/4, loss ' in done.stdout
    assert len(list((work / 'predictions').glob('*.png'))) == 4
    results = json.loads((work / 'robustness/results.json').read_text())
    assert results['task'] == 'detection' and results['metric']['name'] == 'bbox_mAP'
    assert {'segm_mAP', 'bbox_mAP_s', 'segm_mAP_l'} <= set(results['other_summaries'])
    cells = {(c['corruption'], c['severity']): c for c in results['cells']}
    assert set(cells) == {('clean', 0), ('fog', 3)}
    assert all(cell['status'] == 'done' and cell['samples'] == 4 for cell in cells.values())
    assert 'coco/segm_mAP' in (work / 'scores.txt').read_text()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ['--task', 'tracking'],
            "unknown task 'tracking': choose segmentation, detection or classification",
        ),
        (['--shrt'], '--shrt: unknown, or an option of a setup, which FAN_MM_PYTHON replaces'),
    ],
)
def test_wrong_options_are_refused(tmp_path, arguments, message):
    done = quickstart(*arguments, '--work-dir', str(tmp_path / 'work'))
    assert (done.returncode, done.stderr) == (2, f'error: {message}\n')
    assert not (tmp_path / 'work').exists()


def test_a_failing_step_shows_its_log_and_stops(tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/mine.txt').write_text('not a toy dataset')
    done = quickstart(
        '--short', '--work-dir', str(tmp_path / 'work'), '--data', str(tmp_path / 'data')
    )
    assert done.returncode == 2
    assert 'is not empty and contains no toy data' in done.stderr
    assert 'training' not in done.stdout


@pytest.mark.slow
def test_the_toy_model_learns():
    """Forty steps on two scenes: it fits what it sees, small classes too."""
    cfg = Config.fromfile(CONFIG)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    model.init_weights()
    scenes = [render_scene(64, 128, 0, index) for index in range(2)]
    images = torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2) / 64.0 - 2
    labels = torch.from_numpy(np.stack([s.labels for s in scenes]).astype(np.int64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(40):
        logits = model.decode_head(model.backbone(images))
        logits = torch.nn.functional.interpolate(logits, labels.shape[1:], mode='bilinear')
        loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    valid = labels != 255
    assert (logits.argmax(1) == labels)[valid].float().mean() > 0.8
