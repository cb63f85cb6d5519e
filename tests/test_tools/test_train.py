"""The command lines tools/train.py, test.py and their launchers, as a user runs them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import warm_python

pytest.importorskip('mmseg')
ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'


def command(tool, *args, python=sys.executable):
    if tool.endswith('.sh'):
        return ['bash', str(TOOLS / tool), *map(str, args)]
    return [python, str(TOOLS / tool), *map(str, args)]


def environment(**variables):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    common = dict(PYTHONPATH=path, PORT=str(port), MASTER_PORT=str(port))
    common |= dict(PYTHON=warm_python.python(), PYTHON_EXEC=warm_python.python())
    return dict(os.environ, **common, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', **variables)


def run(tool, *args, status=0, **variables):
    done = subprocess.run(
        command(tool, *args, python=warm_python.python()),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def scalars(work_dir):
    """Iteration -> (learning rate, loss) from all runs in a work dir; a later run wins."""
    found = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if 'loss' in row:
                found[row['iter']] = row['lr'], row['loss']
    return found


METRICS = ('aAcc', 'mIoU', 'mAcc')


def metrics(work_dir):
    """The metrics that a test run wrote."""
    (path,) = Path(work_dir).glob('*/*.json')
    row = json.loads(path.read_text())
    return {key: row[key] for key in METRICS}


def validation(work_dir):
    """The metrics of the validation in a training run."""
    (path,) = Path(work_dir).glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    (row,) = [row for row in rows if 'mIoU' in row]
    return {key: row[key] for key in METRICS}


@pytest.fixture
def ema_config(tiny_config):
    tiny_config.write_text(
        tiny_config.read_text() + "custom_hooks = [dict(type='EMAHook', momentum=0.1)]\n"
    )
    return tiny_config


@pytest.mark.slow
def test_killed_training_resumes_where_it_was(ema_config, tmp_path):
    """Same iterations, learning rates, losses, weights, EMA and optimizer as if undisturbed."""
    undisturbed, killed = tmp_path / 'undisturbed', tmp_path / 'killed'
    run('train.py', ema_config, '--work-dir', undisturbed)

    process = subprocess.Popen(
        command('train.py', ema_config, '--work-dir', killed),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (killed / 'iter_6.pth').exists():
        assert process.poll() is None, 'training ended before it could be killed'
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / 'iter_12.pth').exists()
    # wherever the kill hit, let the noted file be one that was being written again (the best model
    # makes mmengine do that)
    last = max(killed.glob('iter_*.pth'), key=lambda path: int(path.stem[5:]))
    os.truncate(last, last.stat().st_size // 2)
    (killed / 'last_checkpoint').write_text(str(last))

    done = run('train.py', ema_config, '--work-dir', killed, '--resume')
    assert f'not resumed: {last}' in done.stdout
    assert 'resuming from' in done.stdout
    expected, resumed = scalars(undisturbed), scalars(killed)
    assert list(expected) == list(range(1, 13))
    assert resumed == expected
    ours, theirs = (
        torch.load(folder / 'iter_12.pth', weights_only=False) for folder in (killed, undisturbed)
    )
    assert ours['meta']['iter'] == 12
    assert ours['meta']['seed'] == theirs['meta']['seed']
    for part in ('state_dict', 'ema_state_dict'):
        for key, value in theirs[part].items():
            assert torch.equal(ours[part][key], value), (part, key)
    for index, state in theirs['optimizer']['state'].items():
        for key, value in state.items():
            assert torch.equal(ours['optimizer']['state'][index][key], value), (index, key)
    assert ours['param_schedulers'] == theirs['param_schedulers']


FAKE_SRUN = """#!/usr/bin/env bash
# srun on this machine: as many processes as --ntasks says, with slurm's variables
while [ "${1#-}" != "$1" ]; do
    case "$1" in
        -p) shift ;;
        --ntasks=*) ntasks="${1#*=}" ;;
    esac
    shift
done
export SLURM_NTASKS=$ntasks SLURM_NODELIST=here SLURM_JOB_ID=1237654
for ((i = 0; i < ntasks; i++)); do
    SLURM_PROCID=$i SLURM_LOCALID=$i "$@" &
done
for job in $(jobs -p); do wait "$job" || exit 1; done
"""


@pytest.fixture
def fake_slurm(tmp_path):
    """A PATH with srun and scontrol for this machine."""
    binaries = tmp_path / 'bin'
    binaries.mkdir()
    for name, text in (('srun', FAKE_SRUN), ('scontrol', '#!/bin/sh\necho 127.0.0.1\n')):
        (binaries / name).write_text(text)
        (binaries / name).chmod(0o755)
    return os.pathsep.join([str(binaries), os.environ['PATH']])


@pytest.mark.slow
def test_two_processes_on_a_cpu(tiny_config, tmp_path, fake_slurm):
    """They train together, and their evaluation is one process's to the last digit."""
    work_dir = tmp_path / 'work'
    options = ['--cfg-options', 'train_cfg.max_iters=3', 'train_dataloader.batch_size=1']
    done = run('dist_train.sh', tiny_config, 2, '--work-dir', work_dir, *options)
    assert done.stdout.count('fan_mm: no GPU, running on the CPU') == 1
    assert 'gloo between processes' in done.stdout
    assert list(scalars(work_dir)) == [1, 2, 3]

    checkpoint = work_dir / 'iter_3.pth'
    painted = tmp_path / 'painted'
    run('test.py', tiny_config, checkpoint, '--work-dir', tmp_path / 'one', '--show-dir', painted)
    assert len(list(painted.rglob('*.png'))) == 3
    expected = metrics(tmp_path / 'one')
    assert validation(work_dir) == expected

    # three pictures do not divide by two
    run('dist_test.sh', tiny_config, checkpoint, 2, '--work-dir', tmp_path / 'two')
    assert metrics(tmp_path / 'two') == expected

    slurm = ['slurm_test.sh', 'debug', 'job', tiny_config, checkpoint]
    run(*slurm, '--work-dir', tmp_path / 'slurm', PATH=fake_slurm, GPUS='2')
    assert metrics(tmp_path / 'slurm') == expected


def test_mistakes_are_one_line(tiny_config, tmp_path, malicious):
    planted = tmp_path / 'planted.pth'
    torch.save(dict(state_dict={}, meta=malicious), planted)
    done = run('test.py', tiny_config, planted, status=2)
    assert done.stderr.strip().splitlines()[-1].startswith(f'error: {planted} was refused')
    done = run('train.py', tmp_path / 'nothing.py', status=2)
    assert done.stderr.strip().splitlines() == [f'error: no such config: {tmp_path / "nothing.py"}']


SLURM = ['slurm_train.sh', 'slurm_test.sh', 'slurm_test_corruption.sh', 'slurm_test_ood.sh']


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', *SLURM])
def test_launchers_say_how_they_are_used(script):
    done = run(script, status=2)
    assert script in done.stderr
    assert script in run(script, '--help').stdout


@pytest.mark.parametrize('script', SLURM)
def test_without_slurm(script, tmp_path):
    for name in ('bash', 'dirname'):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = run(script, 'debug', 'job', 'config.py', 'f.pth', status=2, PATH=str(tmp_path))
    assert done.stderr == (
        'error: there is no srun here: start this on a node of a Slurm cluster, '
        f'or use {script.replace("slurm", "dist")}\n'
    )


@pytest.mark.parametrize(
    'script, arguments',
    [
        ('dist_train.sh', ['config.py']),
        ('dist_test.sh', ['config.py', 'f.pth']),
        ('dist_test_corruption.sh', ['config.py', 'f.pth']),
        ('dist_test_ood.sh', ['config.py', 'f.pth']),
    ],
)
@pytest.mark.parametrize('gpus', ['--resume', '0', '08', '2x', ''])
def test_launchers_want_a_number_of_processes(script, arguments, gpus):
    done = run(script, *arguments, gpus, status=2)
    assert done.stderr == f"error: GPUS must be a number of at least 1, not '{gpus}'\n"


@pytest.mark.parametrize('script', SLURM)
@pytest.mark.parametrize('gpus', ['abc', '0', '08', '-1'])
def test_slurm_wants_a_number_of_processes(script, gpus):
    done = run(script, 'debug', 'job', 'config.py', 'f.pth', status=2, GPUS=gpus)
    assert done.stderr == f"error: GPUS must be a number of at least 1, not '{gpus}'\n"


@pytest.mark.parametrize(
    'variables, port',
    [
        ({}, '27654'),
        ({'MASTER_PORT': '1234'}, '1234'),
        ({'MASTER_PORT': '1234', 'PORT': '567'}, '567'),
    ],
)
@pytest.mark.parametrize('script', SLURM)
def test_each_slurm_job_has_its_port(script, variables, port, fake_slurm, tmp_path):
    """Two jobs on one node do not meet."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho $SLURM_PROCID $MASTER_PORT ${2##*/} $# >>$0.ports\n')
    python.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k not in ('PORT', 'MASTER_PORT')}
    subprocess.run(
        command(script, 'debug', 'job', 'config.py', 'a b'),
        env=dict(kept, PATH=fake_slurm, GPUS='2', PYTHON=str(python), **variables),
        check=True,
    )
    lines = sorted((tmp_path / 'python.ports').read_text().splitlines())
    tool = script.removeprefix('slurm_').replace('.sh', '.py')
    assert lines == [f'0 {port} {tool} 6', f'1 {port} {tool} 6']


def test_run_tests_says_how_it_is_used():
    assert 'tools/run_tests.sh' in run('run_tests.sh', '--help').stdout
