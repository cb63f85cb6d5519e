"""Tests that would notice: of a sample of changes to a module nearly all fail a test (-m mutation)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.mutation
@pytest.mark.parametrize(
    'path',
    [
        'fan_mm/analysis',
        'fan_mm/corruptions',
        'fan_mm/datasets/camvid.py',
        'fan_mm/datasets/segmentation.py',
        'fan_mm/datasets/shifts',
        'fan_mm/deploy',
        'fan_mm/engine/checks',
        'fan_mm/engine/first_batch',
        'fan_mm/evaluation',
        'fan_mm/fileio.py',
        'fan_mm/jobs/imagenet_sets.py',
        'fan_mm/jobs/input_size.py',
        'fan_mm/jobs/model_classes.py',
        'fan_mm/jobs/ood_rows.py',
        'fan_mm/jobs/robustness.py',
        'fan_mm/jobs/run_time.py',
        'fan_mm/jobs/set_calibration.py',
        'fan_mm/jobs/shifts/parts.py',
        'fan_mm/jobs/testing.py',
        'fan_mm/jobs/training.py',
        'fan_mm/models/checkpoints',
        'fan_mm/models/conversion.py',
        'fan_mm/models/kernels',
        'fan_mm/models/layers',
        'fan_mm/models/mixing.py',
        'fan_mm/models/weight_tree.py',
        'fan_mm/options.py',
        'fan_mm/picture_files.py',
        'fan_mm/report',
    ],
)
def test_mutants_are_killed(path):
    pytest.importorskip('cosmic_ray')
    options = os.environ.get('FAN_MM_MUTANTS', '').split()
    subprocess.run([sys.executable, ROOT / 'tests' / 'mutation', path, *options], check=True)
