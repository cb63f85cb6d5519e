"""What a run says on the console, and what in its log file alone."""

from pathlib import Path

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner, runner

from fan_mm.engine.short_console import ShortConsoleRunner


class Model(BaseModel):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise AssertionError


def test_descriptions_are_in_the_log_file_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, 'collect_env', lambda: {'sys.platform': 'linux'})
    shown, logged = [], []
    table = 'scores:\n' + '\n'.join(f'class {number}' for number in range(99))
    for kind in (Runner, ShortConsoleRunner):
        options = dict(model=Model(), work_dir=str(tmp_path), experiment_name=kind.__name__)
        run = kind(**options, cfg=Config(dict(epochs_of_mine=7)))
        run.logger.info(table)
        run.logger.warning('fan_mm: a warning')
        shown.append(capsys.readouterr().out)
        logged.append(Path(run.logger.log_file).read_text())
    for words in ('sys.platform: linux', 'epochs_of_mine', 'before_train:'):
        assert words in shown[0] and words in logged[0] and words in logged[1]
        assert words not in shown[1]
    for words in ('class 98', 'fan_mm: a warning', f'config and hooks: {run.logger.log_file}\n'):
        assert words in shown[1] and words in logged[1]
