import subprocess

import pytest
import warm_python


def benchmark(repo_root, *arguments):
    script = repo_root / 'benchmarks' / 'backbone.py'
    command = [warm_python.python(), str(script), '--device', 'cpu', '--rounds', '1', *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize('train', [False, True])
def test_every_kind_of_backbone_is_compared_with_the_reference(repo_root, train):
    archs = ['fan_vit:tiny', 'fan_hybrid:tiny', 'fan_swin:tiny']
    options = ['--size', '32x48', '--batch', '2', *['--train'] * train]
    done = benchmark(repo_root, '--arch', *archs, *options)
    assert done.returncode == 0, done.stderr
    assert 'batch 2, 32 x 48' in done.stdout
    for arch in archs:
        (line,) = (line for line in done.stdout.splitlines() if f'{arch}, ours ' in line)
        _, milliseconds, faster, _, _, difference = (cell.strip() for cell in line.split('│')[1:-1])
        assert float(milliseconds) > 0
        assert float(faster) > 0
        if not train:
            assert float(difference) < 1e-4


def test_an_unknown_backbone_is_one_line(repo_root):
    done = benchmark(repo_root, '--arch', 'resnet:50')
    assert done.returncode == 2
    assert done.stderr == (
        'error: --arch is BACKBONE:SIZE with a BACKBONE of fan_vit, fan_hybrid, fan_swin\n'
    )
