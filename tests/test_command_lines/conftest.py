"""Fixtures of several files."""

import runpy
import sys

import pytest
import torch
from command_cases import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import fan_mm.cli


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Runs a tool in this process -> its status and what it wrote to stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'something').touch()
    monkeypatch.setattr('logging.raiseExceptions', True)
    monkeypatch.setattr('sys.path', list(sys.path))
    monkeypatch.setenv(fan_mm.cli.TRACEBACK, '')  # and put back what --traceback sets

    def start(tool, *arguments):
        monkeypatch.setattr('sys.argv', [tool, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')
        return stop.value.code or 0, capfd.readouterr().err

    return start


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    """Random weights of the tiny config."""
    cfg = Config.fromfile(tiny_config)
    with DefaultScope.overwrite_default_scope('mmseg'):
        import mmseg.models  # noqa: F401

        model = MODELS.build(dict(cfg.model, data_preprocessor=None))
    path = tmp_path / 'tiny.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return path
