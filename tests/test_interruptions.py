"""The campaign of `benchmarks/interruptions.py`, for as many minutes as FAN_MM_MINUTES says (5)."""

import os
import subprocess
import sys

import pytest


@pytest.mark.campaign
def test_nothing_is_lost_doubled_or_changed(repo_root):
    pytest.importorskip('mmseg')
    done = subprocess.run(
        [
            sys.executable,
            repo_root / 'benchmarks' / 'interruptions.py',
            '--minutes',
            os.environ.get('FAN_MM_MINUTES', '5'),
        ],
        env=dict(os.environ, PYTHONPATH=f'{repo_root}:{repo_root / "tests"}', OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
