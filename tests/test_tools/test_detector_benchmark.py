import subprocess

import pytest
import warm_python

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext', reason='detectors need compiled mmcv ops')


def benchmark(repo_root, *arguments):
    script = repo_root / 'benchmarks' / 'detector.py'
    command = [warm_python.python(), str(script), '--device', 'cpu', '--rounds', '1', *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_four_rows_of_a_training_step(repo_root):
    config = repo_root / 'configs/fan_hybrid_toy_mask_rcnn_coco.py'
    done = benchmark(repo_root, str(config), '--size', '128x192', '--batch', '2')
    assert done.returncode == 0, done.stderr
    assert 'batch 2, 128 x 192' in done.stdout
    lines = [line.split('│')[1:-1] for line in done.stdout.splitlines() if '│' in line]
    rows = [[cell.strip() for cell in line] for line in lines]
    assert [row[:2] for row in rows] == [['no', 'no'], ['no', 'yes'], ['yes', 'no'], ['yes', 'yes']]
    assert all(float(seconds) > 0 and float(memory) > 0 for *_, seconds, memory in rows)


def test_other_configs_are_one_line(repo_root):
    done = benchmark(repo_root, str(repo_root / 'configs/fan_hybrid_t_cityscapes.py'))
    assert done.returncode == 2
    assert done.stderr.startswith('error: ') and 'is no detection config' in done.stderr
