"""The benchmark of Table 6 runs and names what it should."""

import os
import subprocess
from pathlib import Path

import warm_python

ROOT = Path(__file__).parents[2]


def test_every_attention_has_its_row():
    done = subprocess.run(
        [
            warm_python.python(), 'benchmarks/channel_attention.py',
            '--arch', 'tiny', '--size', '32', '--rounds', '1',
        ],
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {
        line.split('│')[1].strip(): [cell.strip() for cell in line.split('│')[2:-1]]
        for line in done.stdout.splitlines()
        if line.startswith('│')
    }
    assert list(rows) == ['csa', 'se', 'eca']
    csa, se, eca = (float(row[0]) for row in rows.values())
    assert csa > eca > se
    assert all(float(row[3]) > 0 and float(row[5]) > 0 for row in rows.values())
    assert [row[6] for row in rows.values()] == ['235', '126', '127']
