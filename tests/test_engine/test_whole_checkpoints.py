import json
import os

import pytest
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.runner.checkpoint import save_checkpoint

from fan_mm.engine.whole_checkpoints import WholeFileBackend, use_whole_files
from fan_mm.jobs.training import train


@pytest.fixture(autouse=True)
def backend():
    use_whole_files()


def test_a_checkpoint_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'iter_1.pth'
    save_checkpoint({'state_dict': {}}, str(path))
    before = path.read_bytes()

    def full(self, data):
        with open(self, 'wb') as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr('pathlib.Path.write_bytes', full)
        with pytest.raises(OSError) as error:
            save_checkpoint({'state_dict': {'a': 1}}, str(path))
    assert error.value.filename == str(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ['iter_1.pth']


def test_the_one_before_goes_when_the_next_is_there(tmp_path):
    old, new, note = tmp_path / 'old.pth', tmp_path / 'new.pth', tmp_path / 'note.txt'
    for path in (old, note):
        path.touch()
    WholeFileBackend().remove(str(old))
    WholeFileBackend().remove(note)
    assert old.exists() and not note.exists()
    WholeFileBackend().put_text('x', note)
    assert old.exists()
    WholeFileBackend().put(b'x', new)
    assert not old.exists() and new.exists()
    WholeFileBackend().remove(new)
    WholeFileBackend().put(b'y', new)
    assert new.read_bytes() == b'y'


def test_a_training_keeps_as_many_as_it_was_told(tiny_config, tmp_path):
    pytest.importorskip('mmseg')
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.train_cfg.update(max_iters=2, val_interval=1)
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=1, save_best='mIoU')
    train(cfg)
    names = sorted(path.name for path in (tmp_path / 'work').glob('*.pth'))
    assert [name for name in names if name.startswith('iter')] == ['iter_2.pth']
    assert sum(name.startswith('best') for name in names) == 1


def test_of_several_that_dump_at_once_one_is_whole(tmp_path):
    """As mmengine's LoggerHook does it in every process of a test."""
    use_whole_files()
    path = str(tmp_path / 'metrics.json')
    first = open(path, 'w')  # noqa: SIM115  another process has begun to write
    dump({'mIoU': 12.345678}, path)
    first.write('{"mIoU": 1}')
    first.close()
    assert json.loads((tmp_path / 'metrics.json').read_text()) == {'mIoU': 12.345678}
