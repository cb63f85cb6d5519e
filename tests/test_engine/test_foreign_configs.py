"""Configs of the installed task libraries, as they are, with a FAN in place of their backbone."""

import importlib
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from fan_mm.engine.config_checks import check_model

CHILD = """
_base_ = '{base}'
custom_imports = dict(imports=['fan_mm'], allow_failed_imports=False)
model = dict(
    backbone=dict(_delete_=True, type='FANHybrid', arch='tiny', {options}),
    {rest},
)
"""


def child_config(tmp_path, library, base, options, rest):
    """The config that a user would write."""
    pytest.importorskip(library)
    configs = Path(importlib.import_module(library).__file__).parent / '.mim' / 'configs'
    path = tmp_path / 'child.py'
    path.write_text(CHILD.format(base=configs / base, options=options, rest=rest))
    return Config.fromfile(path)


def train_a_step(cfg, batch):
    """Build model and optimizer as a Runner does, and see the backbone learn from one batch."""
    importlib.import_module(f'{cfg.default_scope}.utils').register_all_modules(False)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        check_model(cfg.model)
        if 'data_preprocessor' in cfg:
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        before = model.backbone.blocks[0].token_mixing.q.weight.clone()
        losses = model.train_step(batch, wrapper)
    assert torch.isfinite(losses['loss'])
    assert not torch.equal(before, model.backbone.blocks[0].token_mixing.q.weight)


def images(count, height, width):
    generator = torch.Generator().manual_seed(0)
    shape = (count, 3, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_mmseg(tmp_path):
    cfg = child_config(
        tmp_path,
        'mmseg',
        'segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py',
        'out_indices=(0, 1, 2, 3)',
        'decode_head=dict(in_channels=[128, 256, 192, 192])',
    )
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    cfg.model.data_preprocessor.size = (64, 64)
    label = PixelData(data=torch.randint(0, 19, (1, 64, 64)))
    samples = [SegDataSample(gt_sem_seg=label) for _ in range(2)]
    train_a_step(cfg, dict(inputs=list(images(2, 64, 64)), data_samples=samples))


def test_mmpretrain(tmp_path):
    cfg = child_config(
        tmp_path,
        'mmpretrain',
        'resnet/resnet50_8xb32_in1k.py',
        '',
        'head=dict(in_channels=192)',
    )
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(label) for label in (3, 999)]
    train_a_step(cfg, dict(inputs=images(2, 64, 64), data_samples=samples))


def test_mmdet(tmp_path):
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    cfg = child_config(
        tmp_path,
        'mmdet',
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'out_indices=(0, 1, 2, 3), last_stage_channels=768',
        'neck=dict(in_channels=[128, 256, 192, 768])',
    )
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    sample = DetDataSample(metainfo=dict(img_shape=(96, 128), ori_shape=(96, 128)))
    boxes = torch.tensor([[10.0, 10.0, 60.0, 70.0]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([7]))
    train_a_step(cfg, dict(inputs=list(images(1, 96, 128)), data_samples=[sample]))
