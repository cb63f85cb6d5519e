"""The audit says nothing of real sweeps: fitted models, rendered pictures, true corruptions, three tasks."""

import numpy as np
import pytest

from fan_mm.evaluation.audit import CHECKS

SOME = dict(severities=[1, 3, 5])
ENDS = dict(severities=[1, 5])
SWEEPS = [
    ('streets', 'small', dict(calibration=True)),
    ('streets', 'small', dict(benchmark='fan-official', channel_order='bgr-as-rgb')),
    ('streets', 'large', dict(benchmark='all', audit_colours=5, **ENDS)),
    ('streets', 'resized', dict(benchmark='semsegbench')),
    ('upright', '5', dict(benchmark='cityscapes-c', batch_size=4)),
    ('upright', '15', dict(benchmark='all', calibration=True, **ENDS)),
    ('upright', '30', dict(benchmark='cityscapes-c', severities=[3], audit_colours=3)),
    ('upright', '30', dict(benchmark='imagenet-c', fp16=True, **ENDS)),
    ('things', 'small', dict(benchmark='coco-c', **SOME)),
    ('things', 'small', dict(benchmark='all', severities=[5], batch_size=3)),
    ('things', 'large', dict(benchmark='coco-c', severities=[3, 4], workers=1)),
    ('things', 'large', dict(benchmark='imagenet-c', severities=[3], audit_colours=14)),
    ('things', 'large', dict(benchmark='all', severities=[1])),
    ('things', 'small', dict(benchmark='coco-c', max_samples=6, **ENDS)),
    ('single', 'small', dict(benchmark='imagenet-c', calibration=True)),
    ('single', 'small', dict(benchmark='all', batch_size=8, **ENDS)),
    ('single', 'large', dict(benchmark='imagenet-c', audit_colours=50, **SOME)),
    ('single', 'large', dict(benchmark='all', severities=[5])),
    ('single', 'folder', dict(severities=[1, 4], calibration=True, batch_size=5)),
    ('single', 'folder', dict(benchmark='cityscapes-c', **ENDS)),
]


@pytest.mark.campaign
@pytest.mark.parametrize('number', range(len(SWEEPS)))
def test_real_sweeps_have_no_findings(number, request, tmp_path):
    task, name, options = SWEEPS[number]
    task = request.getfixturevalue(task)
    sweep = task.sweep(name, task.model(number), seed=number, work_dir=tmp_path, **options)
    results = sweep.run()
    cells = [cell for cell in results['cells'] if cell['status'] == 'done']
    assert len(cells) == len(results['cells']) == len(sweep.cells)
    headline = results['metric']['name']
    scores = [cell['metrics'][headline] for cell in cells]
    assert scores[0] < 99 and np.mean(scores[1:]) < scores[0], 'corruptions must cost something'
    assert results['audit'] == {'checks': [check.__name__ for check in CHECKS], 'findings': []}
