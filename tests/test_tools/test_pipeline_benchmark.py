"""benchmarks/pipeline.py measures loader and step of the plain and of the paired pipeline."""

import subprocess

import pytest
import warm_python

pytest.importorskip('mmpretrain')


@pytest.mark.slow
def test_both_pipelines_are_measured(repo_root):
    names = ['fan_hybrid_toy_imagenet', 'fan_hybrid_toy_stl_student_imagenet']
    command = [warm_python.python(), 'benchmarks/pipeline.py', *(f'configs/{n}.py' for n in names)]
    command += [
        '--images',
        '20',
        '--batch-size',
        '4',
        '--workers',
        '1',
        '--steps',
        '2',
        '--seconds',
        '0.5',
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repo_root)
    assert done.returncode == 0, done.stderr
    for name in names:
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(f'{name} '))
        loader, step, ratio = map(float, line.split()[1:])
        assert loader > 0 and step > 0
        assert ratio == pytest.approx(loader / step, abs=0.06, rel=0.1)
