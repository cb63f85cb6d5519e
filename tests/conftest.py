"""Fixtures that several test folders use."""

import gc
import os
import signal
import socket
import subprocess
from pathlib import Path

# The suite is for the CPU: where there is one GPU, the second of two processes would be refused. This
# stands before torch, which looks for GPUs once.
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')
# One thread for each of several workers: PyTorch's threads wait at full speed for cores that the other
# workers have. This, too, stands before torch. And nothing of thousands of modules and tests is garbage
# (`warm_python.save_time` begins to collect it again).
if 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    gc.disable()

import cv2
import numpy as np
import pytest
import torch
import warm_python
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(trylast=True)  # of those that are left
def pytest_collection_modifyitems(items: list) -> None:
    """Each of several workers begins with files that have slow tests: at the end none is alone with one.

    A worker gets its part of the list in one piece, and one that has no more takes from the others' ends.
    """
    workers = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))
    if workers == 1:
        return
    slow = dict.fromkeys(item.path for item in items if item.get_closest_marker('slow'))
    quick = [item for item in items if item.path not in slow]
    left, found = len(items), []
    for number in range(workers):
        files = set(list(slow)[number::workers])
        part = [item for item in items if item.path in files]
        size = left // (workers - number)  # as xdist divides them
        left -= size
        more = max(0, size - len(part))
        found += part + quick[:more]
        del quick[:more]
    items[:] = found + quick


@pytest.fixture(scope='session')
def repo_root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope='session', autouse=True)
def ctrl_c_is_heard():
    """A shell lets what it starts in the background ignore SIGINT, and so would every tool under test."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session', autouse=True)
def nothing_beside_the_point():
    """Runs of seconds: three quarters of that are yapf, which lays out their config seven times."""
    warm_python.save_time()


@pytest.fixture(scope='module', autouse=True)
def scope_put_back():
    """The default scope that a module's own fixtures leave lasts no longer than its tests."""
    before = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture(autouse=True)
def process_put_back(monkeypatch):
    """What a run leaves in its process lasts no longer than the test: safe loading, the scope."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')


@pytest.fixture
def tiny_cityscapes(tmp_path):
    """A learnable dataset of 64x128 pictures in the Cityscapes layout: 4 for training, 3 for val.

    Upright stripes, each of one class (a trainId) with a colour of its own, and some ignored pixels.
    """
    root = tmp_path / 'cityscapes'
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (19, 3))
    for split, count in (('train', 4), ('val', 3)):
        for index in range(count):
            label = np.repeat(rng.integers(0, 19, 8), 16)[None].repeat(64, axis=0).astype(np.uint8)
            image = colours[label] + rng.normal(0, 10, (64, 128, 3))
            label[:4] = 255
            stem = f'town_{index:06d}_000019'
            for folder, suffix, array in (
                ('leftImg8bit', 'leftImg8bit', image.clip(0, 255).astype(np.uint8)),
                ('gtFine', 'gtFine_labelTrainIds', label),
            ):
                path = root / folder / split / 'town' / f'{stem}_{suffix}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), array)
    return root


@pytest.fixture
def tiny_camvid(tmp_path):
    """Four, two and three drawn pictures of 48x64 in the tree of CamVid, with void among the labels."""
    root = tmp_path / 'camvid'
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (12, 3))
    for split, count in (('train', 4), ('val', 2), ('test', 3)):
        (root / split).mkdir(parents=True)
        (root / f'{split}annot').mkdir()
        for index in range(count):
            label = np.repeat(rng.permutation(16) % 12, 4)[None].repeat(48, axis=0).astype(np.uint8)
            image = colours[label] + rng.normal(0, 10, (48, 64, 3))
            name = f'0001TP_{index:06d}.png'
            cv2.imwrite(str(root / split / name), image.clip(0, 255).astype(np.uint8))
            cv2.imwrite(str(root / f'{split}annot' / name), label)
    return root


class Malicious:
    """What a planted checkpoint holds: unpickling it runs code, here one that leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def malicious(tmp_path):
    """An object whose unpickling makes the folder `malicious.trace`, which must never exist."""
    planted = Malicious(tmp_path / 'executed')
    yield planted
    assert not planted.trace.exists(), 'a pickle was executed'


TINY_CONFIG = """
_base_ = '{base}'
size = (64, 64)
root = '{root}'
model = dict(
    data_preprocessor=dict(size=size),
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=24,
            depth=2,
            num_heads=2,
            stem_depths=(1, 1),
            stem_channels=(8, 16),
        ),
        init_cfg=None,
    ),
    decode_head=dict(in_channels=[8, 16, 24, 24], channels=16, dropout_ratio=0.0),
    test_cfg=dict(crop_size=size, stride=(48, 48)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=size),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(loader, batch_size=2, dataset=dict(data_root=root, pipeline=train_pipeline))
val_dataloader = dict(loader, dataset=dict(data_root=root, pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [dict(type='PolyLR', power=1.0, eta_min=0.0, begin=0, end=13, by_epoch=False)]
auto_scale_lr = dict(base_batch_size=2)
train_cfg = dict(max_iters=12, val_interval=3)
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=3, max_keep_ckpts=2),
)
randomness = dict(seed=0)
"""


@pytest.fixture
def tiny_config(tmp_path, tiny_cityscapes):
    """Path of a Cityscapes config with a very small FAN-Hybrid for `tiny_cityscapes`.

    Its training has no augmentation and no dropout, so that equal seeds mean equal losses.
    """
    base = Path(__file__).parents[1] / 'configs' / 'fan_hybrid_t_cityscapes.py'
    path = tmp_path / 'tiny.py'
    path.write_text(TINY_CONFIG.format(base=base, root=tiny_cityscapes))
    return path


@pytest.fixture
def stripe_config(tmp_path, tiny_cityscapes):
    """Path of a config that evaluates StripeModel on the three val images of `tiny_cityscapes`."""
    from stripe_model import STRIPE_CONFIG

    path = tmp_path / 'stripes.py'
    path.write_text(STRIPE_CONFIG.format(root=tiny_cityscapes))
    return path


@pytest.fixture
def stripe_checkpoint(tmp_path):
    from stripe_model import stripe_colours

    path = tmp_path / 'stripes.pth'
    state = {'colours': stripe_colours(), 'weight': torch.zeros(1)}
    torch.save({'state_dict': state, 'meta': {}}, path)
    return path


@pytest.fixture
def tool():
    """Runs tools/test_corruption.py as a user does, with dist_test_corruption.sh for several."""

    def start(config, checkpoint, *arguments, processes=1):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        if processes == 1:
            command = [
                warm_python.python(),
                ROOT / 'tools' / 'test_corruption.py',
                config,
                checkpoint,
            ]
        else:
            script = ROOT / 'tools' / 'dist_test_corruption.sh'
            command = ['bash', script, config, checkpoint, processes]
        path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
        done = subprocess.run(
            [str(word) for word in (*command, *arguments)],
            env={
                **os.environ,
                'PYTHON': warm_python.python(),
                'PYTHON_EXEC': warm_python.python(),
                'PYTHONPATH': path,
                'OMP_NUM_THREADS': '1',
                'CUDA_VISIBLE_DEVICES': '',  # slurm sets one
                'PORT': str(port),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    return start
