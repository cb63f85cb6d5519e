"""Fixtures for the sweep: a dataset of stripes, a model that needs no training, configs."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

STRIPE_CONFIG = """
default_scope = 'mmseg'
custom_imports = dict(imports=['fan_mm', 'stripe_model'], allow_failed_imports=False)
model = dict(type='StripeModel')
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CityscapesDataset',
        data_root='{root}',
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    ),
)
test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_cfg = dict(type='TestLoop')
"""


@pytest.fixture
def stripe_config(tmp_path, tiny_cityscapes):
    """Path of a config that evaluates StripeModel on the three val images of `tiny_cityscapes`."""
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
            command = [sys.executable, ROOT / 'tools' / 'test_corruption.py', config, checkpoint]
        else:
            script = ROOT / 'tools' / 'dist_test_corruption.sh'
            command = ['bash', script, config, checkpoint, processes]
        path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
        done = subprocess.run(
            [str(word) for word in (*command, *arguments)],
            env={
                **os.environ,
                'PYTHON': sys.executable,
                'PYTHONPATH': path,
                'OMP_NUM_THREADS': '1',
                'PORT': str(port),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    return start
