import shutil

import numpy as np
import pytest
import torch
from shift_runs import COUNT, NOISES
from stripe_model import STRIPE_CONFIG, stripe_colours
from striped_sets import stripes, write, write_acdc, write_dark_zurich, write_foggy

from fan_mm.jobs import testing


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('sets')
    write_acdc(root / 'acdc', NOISES, count=COUNT)
    write_acdc(root / 'acdc', NOISES, split='test', count=2, seed=1)
    shutil.rmtree(root / 'acdc/gt/fog/test'), shutil.rmtree(root / 'acdc/gt/snow/test')
    shutil.rmtree(root / 'acdc/gt/night/test'), shutil.rmtree(root / 'acdc/gt/rain/test')
    write_dark_zurich(root / 'dark')
    rng = np.random.default_rng(5)
    for index in range(3):
        image, label = stripes(rng, 10)
        stem = f'val/town/town_{index:06d}_000019'
        write(root / f'cityscapes/leftImg8bit/{stem}_leftImg8bit.png', image)
        write(root / f'cityscapes/gtFine/{stem}_gtFine_labelTrainIds.png', label)
    write_foggy(root / 'foggy', root / 'cityscapes')
    (root / 'stripes.py').write_text(STRIPE_CONFIG.format(root=root / 'cityscapes'))
    state = {'colours': stripe_colours(), 'weight': torch.zeros(1)}
    torch.save({'state_dict': state, 'meta': {}}, root / 'weights.pth')
    return root


@pytest.fixture
def no_report(monkeypatch):
    monkeypatch.setattr(testing, 'write_report', lambda *_: None)
