import subprocess

import pytest
import warm_python


def benchmark(repo_root, *arguments):
    script = repo_root / 'benchmarks' / 'token_pooling.py'
    command = [warm_python.python(), str(script), '--device', 'cpu', '--rounds', '1', *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_both_are_compared_with_a_fan_without(repo_root):
    done = benchmark(repo_root, '--arch', 'fan_vit:tiny', '--size', '48x64', '--amp')
    assert done.returncode == 0, done.stderr
    assert 'batch 1, 48 x 64, 12 tokens' in done.stdout
    for name in ('with token pooling', 'with attention diversification'):
        (line,) = (line for line in done.stdout.splitlines() if name in line)
        _, milliseconds, slower, _, larger = (cell.strip() for cell in line.split('│')[1:-1])
        assert float(milliseconds) > 0
        assert float(slower) > 0
        assert float(larger) >= 0


def test_a_backbone_without_tokens_is_one_line(repo_root):
    done = benchmark(repo_root, '--arch', 'fan_swin:tiny')
    assert done.returncode == 2
    assert done.stderr == 'error: --arch is BACKBONE:SIZE with a BACKBONE of fan_vit, fan_hybrid\n'
