import os

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
