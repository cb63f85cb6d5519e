"""Slurm and mpirun, by the variables and the program in which they tell a process its place."""

import runpy
import socket

import pytest
import torch.distributed as dist

from fan_mm.evaluation import read_results

pytest.importorskip('mmseg')
VARIABLES = {
    'slurm': dict(SLURM_PROCID=0, SLURM_NTASKS=1, SLURM_LOCALID=0, SLURM_NODELIST='node[1-2]'),
    'mpi': {f'OMPI_COMM_WORLD_{name}': n for n, name in ((0, 'RANK'), (1, 'SIZE'))}
    | {f'OMPI_COMM_WORLD_LOCAL_{name}': n for n, name in ((0, 'RANK'), (1, 'SIZE'))},
}
NODES = """#!/bin/sh
[ "$*" = 'show hostnames node[1-2]' ] && printf '127.0.0.1\\nnode2\\n'
"""


@pytest.fixture
def started_by(tmp_path, monkeypatch):
    """Puts this process into the place that a launcher gives its only one."""
    scontrol = tmp_path / 'bin' / 'scontrol'
    scontrol.parent.mkdir()
    scontrol.write_text(NODES)
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', str(scontrol.parent), prepend=':')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        monkeypatch.setenv('MASTER_PORT', str(free.getsockname()[1]))
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR'):
        monkeypatch.setenv(name, '')  # what the tool sets is taken back
        monkeypatch.delenv(name)

    def start(launcher):
        for name, value in VARIABLES[launcher].items():
            monkeypatch.setenv(name, str(value))

    yield start
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.parametrize('launcher', VARIABLES)
def test_a_sweep_meets_in_a_group_and_ends(
    launcher, started_by, stripe_config, stripe_checkpoint, tmp_path, repo_root, monkeypatch
):
    started_by(launcher)
    out = tmp_path / 'out'
    words = [stripe_config, stripe_checkpoint, '--work-dir', out, '--launcher', launcher]
    words += ['--corruptions', 'fog', '--severities', 3]
    monkeypatch.setattr('sys.argv', ['test_corruption', *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(repo_root / 'tools' / 'test_corruption.py'), run_name='__main__')
    assert not ended.value.code
    assert dist.get_backend() == 'gloo' and dist.get_world_size() == 1
    assert [cell['status'] for cell in read_results(out)['cells']] == ['done', 'done']
