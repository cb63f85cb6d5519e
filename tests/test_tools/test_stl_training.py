"""Both stages of STL on the toy ImageNet, stopped and resumed, with one process and with two."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
import torch
import warm_python

pytest.importorskip('mmpretrain')

from fan_mm.datasets.scenes import write_imagenet

ROOT = Path(__file__).parents[2]
EPOCHS = 3
TINY = """
_base_ = '{base}'
arch = dict(
    _delete_=True, embed_dims=24, depth=2, num_heads=2, stem_depths=(1, 1), stem_channels=(8, 16)
)
model = dict(backbone=dict(arch=arch, drop_path_rate=0.2), head=dict(in_channels=24))
data = dict(dataset=dict(data_root='{data}'))
train_dataloader = dict(batch_size={batch}, num_workers={workers}, **data)
val_dataloader = dict(batch_size=7, **data)
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=1))
train_cfg = dict(max_epochs={epochs}, val_interval=1)
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'toy'
    write_imagenet(root, (64, 64), 40, 20, jobs=1)
    return root


def config(folder, stage, data, processes, epochs, workers=0):
    """A tiny model's config; the pictures of a step are as many for two processes as for one."""
    path = folder / f'{stage}_{epochs}.py'
    base = ROOT / f'configs/fan_hybrid_toy_stl_{stage}_imagenet.py'
    path.write_text(
        TINY.format(base=base, data=data, batch=8 // processes, epochs=epochs, workers=workers)
    )
    return path


def train(processes, runs):
    """Do the runs (config, work dir, teacher, resume) one after the other."""
    script = ROOT / 'tests/test_tools/stl_runs.py'
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    command = [warm_python.python(), script, 'none']
    if processes > 1:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        launch = ['-m', 'torch.distributed.run', f'--nproc-per-node={processes}']
        command = [warm_python.python(), *launch, f'--master-port={port}', script, 'pytorch']
    command += [','.join(str(part or '') for part in run) for run in runs]
    done = subprocess.run(
        [str(part) for part in command],
        env=dict(
            os.environ,
            PYTHONPATH=path,
            PYTHON_EXEC=warm_python.python(),
            CUDA_VISIBLE_DEVICES='',
            OMP_NUM_THREADS='1',
        ),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'resuming from' in done.stdout


def disturbed_and_not(folder, stage, data, processes, teacher=None, workers=0):
    """Runs of a training that goes through, and of one that is stopped and resumed."""
    whole = config(folder, stage, data, processes, EPOCHS, workers)
    part = config(folder, stage, data, processes, 1, workers)
    undisturbed, stopped = folder / f'{stage}_undisturbed', folder / f'{stage}_stopped'
    runs = [(whole, undisturbed, teacher, '')]
    runs += [(part, stopped, teacher, ''), (whole, stopped, teacher, 'auto')]
    return undisturbed, stopped, runs


def rows(work_dir):
    """Step -> losses and rate, epoch -> accuracy; of the runs of a work dir the later wins."""
    steps, accuracies = {}, {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if 'loss' in row:
                steps[row['step']] = {k: row[k] for k in ('lr', 'loss', 'loss_cls', 'loss_token')}
            elif 'accuracy/top1' in row:
                accuracies[row['step']] = row['accuracy/top1']
    return steps, accuracies


def check_equal(work_dir, other):
    """Losses, rates, accuracy of the average, weights, average, optimizer and schedule are equal."""
    steps, accuracies = rows(work_dir)
    assert list(steps) == list(range(1, 5 * EPOCHS + 1))
    assert list(accuracies) == list(range(1, EPOCHS + 1))
    assert rows(other) == (steps, accuracies)
    ours, theirs = (
        torch.load(Path(folder, f'epoch_{EPOCHS}.pth'), weights_only=False)
        for folder in (work_dir, other)
    )
    for part in ('state_dict', 'ema_state_dict'):
        assert not [key for key in ours[part] if 'teacher' in key]
        for key, value in theirs[part].items():
            assert torch.equal(ours[part][key], value), (part, key)
    assert any(
        not torch.equal(ours['state_dict'][key], ours['ema_state_dict'][f'module.{key}'])
        for key in ours['state_dict']
    )
    for index, state in theirs['optimizer']['state'].items():
        for key, value in state.items():
            assert torch.equal(ours['optimizer']['state'][index][key], value), (index, key)
    assert ours['param_schedulers'] == theirs['param_schedulers']


@pytest.fixture(scope='module')
def two_processes(data, tmp_path_factory):
    """Stage to (undisturbed, stopped and resumed); the student's teacher is the labeler."""
    folder = tmp_path_factory.mktemp('two')
    *labelers, first = disturbed_and_not(folder, 'teacher', data, 2)
    teacher = labelers[0] / f'epoch_{EPOCHS}.pth'
    *students, second = disturbed_and_not(folder, 'student', data, 2, teacher)
    train(2, first + second)
    return dict(teacher=labelers, student=students)


@pytest.mark.slow
@pytest.mark.parametrize('stage', ['teacher', 'student'])
def test_two_processes_resume_exactly(two_processes, stage):
    check_equal(*two_processes[stage])


@pytest.mark.slow
def test_one_process_with_a_worker_resumes_exactly(data, two_processes, tmp_path):
    """Sampled labels, mixing, erasing, drop path and the worker's augmentation included."""
    teacher = two_processes['teacher'][0] / f'epoch_{EPOCHS}.pth'
    *students, runs = disturbed_and_not(tmp_path, 'student', data, 1, teacher, workers=1)
    train(1, runs)
    check_equal(*students)
    steps, _ = rows(students[0])
    assert all(s['loss'] == pytest.approx(s['loss_cls'] + s['loss_token']) for s in steps.values())
