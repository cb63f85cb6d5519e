import pytest
import torch
from ood_sets import CONFIG, ROOT, A, R, model_of, pictures, wordnet


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """ImageNet, -A, -R and -V2 in miniature."""
    root = tmp_path_factory.mktemp('data')
    pictures(root / 'imagenet/val', wordnet(range(1000)))
    pictures(root / 'a', wordnet(A))
    pictures(root / 'r', wordnet(R))
    pictures(root / 'v2', map(str, range(1000)))
    return root


@pytest.fixture(scope='session')
def config(data, tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'small.py'
    base = ROOT / 'configs/fan_hybrid_toy_imagenet.py'
    path.write_text(CONFIG.format(base=base, data=data / 'imagenet'))
    return path


@pytest.fixture(scope='session')
def checkpoint(config, tmp_path_factory):
    """As a training with EMAHook leaves it: the average in state_dict."""
    path = tmp_path_factory.mktemp('weights') / 'epoch_1.pth'
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = model_of(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        states.append(model.state_dict())
    plain = {f'module.{key}': value for key, value in states[1].items()}
    plain['steps'] = torch.tensor(7)
    torch.save(dict(state_dict=states[0], ema_state_dict=plain, meta=dict(epoch=1)), path)
    return path
