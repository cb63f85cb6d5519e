import os

import pytest

from fan_mm import cores
from fan_mm.cores import usable_cores


def test_granted_cores_count_not_the_machines(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {3, 5, 7}, raising=False)
    assert usable_cores() == 3


def test_a_system_that_grants_none(monkeypatch):
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 6)
    assert usable_cores() == 6
    monkeypatch.setattr(os, 'cpu_count', lambda: None)
    assert usable_cores() == 1


MEMINFO = 'MemTotal: 900 kB\nMemAvailable: 800 kB\n'
STAT = 'cache 5\ninactive_file 400\ntotal_inactive_file 1000\n'


@pytest.mark.parametrize(
    ('files', 'expected'),
    [
        ({'/proc/meminfo': MEMINFO}, 800 * 1024),
        ({}, None),
        (
            {  # version 2; the job's own group is unlimited, the one above is not
                '/proc/meminfo': MEMINFO,
                '/proc/self/cgroup': '0::/slurm/job\n',
                '/sys/fs/cgroup/slurm/job/memory.max': 'max\n',
                '/sys/fs/cgroup/slurm/job/memory.current': '7\n',
                '/sys/fs/cgroup/slurm/memory.max': '9000\n',
                '/sys/fs/cgroup/slurm/memory.current': '6000\n',
                '/sys/fs/cgroup/slurm/memory.stat': STAT,
            },
            4000,
        ),
        (
            {  # version 1, in a container that sees its own group as the root
                '/proc/meminfo': MEMINFO,
                '/proc/self/cgroup': '4:memory:/docker/1f\n3:cpuset:/\n',
                '/sys/fs/cgroup/memory/memory.limit_in_bytes': '5000\n',
                '/sys/fs/cgroup/memory/memory.usage_in_bytes': '6000\n',
            },
            0,
        ),
    ],
)
def test_memory_that_is_left(monkeypatch, files, expected):
    monkeypatch.setattr(cores, '_text', lambda path: files.get(str(path), ''))
    assert cores.available_memory() == expected


def test_folders_in_memory(monkeypatch):
    mounts = 'disk / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\ntmpfs /a\\040b tmpfs rw 0 0\n'
    monkeypatch.setattr(cores, '_text', lambda path: mounts)
    assert cores.lies_in_memory('/dev/shm')
    assert cores.lies_in_memory('/a b/c')
    assert not cores.lies_in_memory('/dev')
    assert not cores.lies_in_memory('/dev/shmoo')
