import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import nn

from fan_mm.engine import use_safe_loading
from fan_mm.errors import InputError
from fan_mm.jobs.training import train


@pytest.fixture(autouse=True)
def safe(process_put_back):
    use_safe_loading()


def test_weights_load_as_ever(tmp_path):
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save(dict(state_dict=source.state_dict(), meta={}), tmp_path / 'w.pth')
    load_checkpoint(target, str(tmp_path / 'w.pth'), map_location='cpu', strict=True)
    assert target.weight.equal(source.weight)
    with pytest.raises(InputError, match='no such checkpoint'):
        load_checkpoint(target, str(tmp_path / 'nothing.pth'))


def test_nothing_is_executed(tmp_path, malicious):
    """Neither by mmengine, nor by code that asks torch for the unsafe mode."""
    path = str(tmp_path / 'planted.pth')
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict(), meta=malicious), path)
    with pytest.raises(InputError, match='refused'):
        load_checkpoint(nn.Linear(2, 2), path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=False)


def test_message_hub_names_its_statistics_and_nothing_else(tmp_path, tiny_config):
    pytest.importorskip('mmseg')
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    train(cfg)
    state = CheckpointLoader.load_checkpoint(f'{cfg.work_dir}/iter_1.pth', 'cpu')
    assert state['message_hub']['log_scalars']['train/loss'].mean() > 0


class Getattr:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_getattr_is_refused(tmp_path):
    torch.save(dict(planted=Getattr()), tmp_path / 'planted.pth')
    with pytest.raises(InputError, match='refused'):
        load_checkpoint(nn.Linear(2, 2), str(tmp_path / 'planted.pth'))
