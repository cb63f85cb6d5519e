"""Configs of the architecture's ablations (FAN paper Tables 6 and 7, Figure 7)."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from small_models import shallow

pytest.importorskip('mmpretrain')
from mmpretrain.utils import register_all_modules

from fan_mm.analysis.complexity_table import HEADS
from fan_mm.engine.config_checks import check_model

CONFIGS = Path(__file__).parents[1] / 'configs'
NAMES = [f'fan_vit_s_heads{heads}_imagenet' for heads in HEADS] + ['fan_convnext_t_imagenet']


def load(name):
    register_all_modules(init_default_scope=False)
    return Config.fromfile(CONFIGS / f'{name}.py')


@pytest.mark.parametrize('name', NAMES)
def test_the_model_learns_from_a_step(name):
    cfg = load(name)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        check_model(cfg.model)
        cfg.model.backbone = shallow(cfg.model.backbone)
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
    logits = model(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 1000)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_only_the_heads_differ():
    base = load('fan_vit_s_imagenet')
    for heads in HEADS:
        cfg = load(f'fan_vit_s_heads{heads}_imagenet')
        assert cfg.model.backbone.pop('arch') == dict(embed_dims=384, depth=12, num_heads=heads)
        expected = dict(base.model.backbone)
        expected.pop('arch')
        assert cfg.model.backbone == expected
        for part in ('optim_wrapper', 'param_scheduler', 'train_dataloader', 'auto_scale_lr'):
            assert cfg[part] == base[part]


def test_the_recipe_of_convnext_is_the_paper_s():
    cfg = load('fan_convnext_t_imagenet')
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 2e-3, 0.05)
    assert cfg.auto_scale_lr.base_batch_size == 2048
    assert cfg.train_dataloader.batch_size * 16 == 2048
    (schedule,) = cfg.param_scheduler
    assert (schedule.epochs, schedule.warmup_epochs) == (300, 5)
    assert PARAM_SCHEDULERS.get(schedule.type)
