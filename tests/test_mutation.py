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
        'fan_mm/corruptions',
        'fan_mm/datasets/shifts',
        'fan_mm/deploy',
        'fan_mm/evaluation',
        'fan_mm/jobs/imagenet_sets.py',
        'fan_mm/models/conversion.py',
        'fan_mm/models/kernels',
        'fan_mm/models/layers',
        'fan_mm/models/mixing.py',
        'fan_mm/models/weight_tree.py',
        'fan_mm/report',
    ],
)
def test_mutants_are_killed(path):
    pytest.importorskip('cosmic_ray')
    options = os.environ.get('FAN_MM_MUTANTS', '').split()
    subprocess.run([sys.executable, ROOT / 'tests' / 'mutation', path, *options], check=True)
