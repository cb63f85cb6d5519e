"""Every config is parsed, its model built and trained for a step; the recipe is the published one."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from small_models import shallow

from fan_mm.engine.config_checks import check_model
from fan_mm.evaluation.published import table_rows
from fan_mm.models.checkpoints import to_official

CONFIGS = Path(__file__).parents[1] / 'configs'
FILES = sorted(CONFIGS.glob('*_cityscapes.py'))  # other tasks: test_imagenet_configs.py and others
CITYSCAPES = [path for path in FILES if '_cityscapes' in path.stem and 'toy' not in path.stem]
SMALL = CONFIGS / 'fan_hybrid_s_cityscapes.py'


def names(paths):
    return [path.stem for path in paths]


def build(cfg, size=(64, 64)):
    """The config's model for tiny inputs, on a CPU, with few blocks."""
    pytest.importorskip(cfg.default_scope)
    cfg.model.data_preprocessor.size = size
    cfg.model.backbone = shallow(cfg.model.backbone)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    return model


def segmentation_batch(size=(64, 64), count=2):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(count):
        label = torch.randint(0, 19, (1, *size), generator=generator)
        label[..., :2] = 255
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=label)))
    images = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)
    return dict(inputs=list(images), data_samples=samples)


def test_there_is_a_config_for_every_model():
    expected = {f'fan_hybrid_{size}_cityscapes' for size in 'tsbl'}
    expected |= {f'fan_vit_{size}_setr_cityscapes' for size in 'tsbl'}
    expected |= {f'tap_fan_hybrid_{size}_cityscapes' for size in 'tsbl'}
    assert expected | {'fan_vit_s_setr_mla_cityscapes'} <= set(names(FILES))


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('_base_/**/*.py')), ids=lambda p: p.stem)
def test_base_files_are_valid_alone(path):
    assert Config.fromfile(path)


@pytest.mark.parametrize('path', FILES, ids=names(FILES))
def test_model_builds_and_takes_a_step(path):
    """Every parameter gets a gradient, so DDP needs no find_unused_parameters."""
    cfg = Config.fromfile(path)
    assert not cfg.get('find_unused_parameters', False)
    with DefaultScope.overwrite_default_scope('mmseg'):
        check_model(cfg.model)
    model = build(cfg).train()
    with DefaultScope.overwrite_default_scope('mmseg'):
        batch = model.data_preprocessor(segmentation_batch(), training=True)
        loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss)
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize('path', CITYSCAPES, ids=names(CITYSCAPES))
def test_recipe_is_the_published_one(path):
    """Spec section 10 and 7.6."""
    cfg = Config.fromfile(path)
    optimizer = dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01)
    assert cfg.optim_wrapper.optimizer == optimizer
    assert cfg.optim_wrapper.get('clip_grad') is None
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=4000)
    assert cfg.train_dataloader.batch_size == 1
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=8)
    assert cfg.model.test_cfg == dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768))
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert cfg.model.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert cfg.model.data_preprocessor.bgr_to_rgb
    assert cfg.model.data_preprocessor.size == (1024, 1024)
    pipeline = {step['type']: step for step in cfg.train_dataloader.dataset.pipeline}
    assert list(pipeline) == [
        'LoadImageFromFile',
        'LoadAnnotations',
        'RandomResize',
        'RandomCrop',
        'RandomFlip',
        'PhotoMetricDistortion',
        'PackSegInputs',
    ]
    assert pipeline['RandomResize']['scale'] == (2048, 1024)
    assert pipeline['RandomResize']['ratio_range'] == (0.5, 2.0)
    assert pipeline['RandomCrop']['crop_size'] == (1024, 1024)
    assert pipeline['RandomCrop']['cat_max_ratio'] == 0.75
    assert cfg.default_hooks.checkpoint.max_keep_ckpts >= 2
    assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval


@pytest.mark.parametrize('size', 'tsbl')
def test_tapadl_is_fan_with_pooling_and_one_more_loss(size):
    cfg, plain = (
        Config.fromfile(CONFIGS / f'{name}fan_hybrid_{size}_cityscapes.py') for name in ('tap_', '')
    )
    plain.model.backbone.token_pooling = 4
    hook = dict(type='AttentionDiversityHook', weight=1.0, threshold=2)
    plain.default_hooks.attention_diversity = hook
    plain.custom_hooks = [dict(type='BroadcastBuffersHook')]
    assert cfg.to_dict() == plain.to_dict()
    assert cfg.model.backbone.init_cfg.weights == 'model'


@pytest.mark.parametrize('step', [0, 1, 2, 749, 1499, 1500, 1501, 80000, 159999])
def test_learning_rate_follows_mmcv_formula(step):
    """lr(t) = 6e-5 (1 - t/160000) min(1, 1e-6 + (1 - 1e-6) t/1500)."""
    cfg = Config.fromfile(SMALL)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=6e-5)
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer)) for s in cfg.param_scheduler]
    optimizer.step()
    for _ in range(step):
        for scheduler in schedulers:
            scheduler.step()
    expected = 6e-5 * (1 - step / 160000) * min(1, 1e-6 + (1 - 1e-6) * step / 1500)
    assert optimizer.param_groups[0]['lr'] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    'stem',
    ['fan_hybrid_t_cityscapes', 'tap_fan_hybrid_t_cityscapes', 'fan_vit_t_setr_cityscapes'],
)
def test_optimizer_groups_follow_official_names(stem):
    """Substring rules on the official full names (spec 10): our names must give the same groups."""
    cfg = Config.fromfile(CONFIGS / f'{stem}.py')
    model = build(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    groups = {id(p): group for group in wrapper.optimizer.param_groups for p in group['params']}
    seen = set()
    for name, parameter in model.named_parameters():
        official = name
        if name.startswith('backbone.'):
            official = 'backbone.' + to_official(name.removeprefix('backbone.'))
        head, norm = 'head' in official, 'norm' in official
        group = groups[id(parameter)]
        assert group['lr'] == pytest.approx(6e-4 if head else 6e-5), name
        assert group['weight_decay'] == (0 if norm and not head else 0.01), name
        seen.add((head, norm))
    assert seen >= {(False, False), (False, True), (True, False)}


@pytest.mark.parametrize('size', 'TSBL')
def test_published_numbers_are_the_papers(size):
    text = (CONFIGS / f'fan_hybrid_{size.lower()}_cityscapes.py').read_text()
    rows = {table: _row(table, f'FAN-{size}-Hybrid') for table in (9, 13)}
    comment = text.partition('As published (FAN paper):')[2].partition('\n')[0]
    numbers = [float(number) for number in re.findall(r'\d+\.\d+', comment)]
    corrupted = [rows[9]['corrupted'], rows[13]['corrupted']]
    assert numbers == [rows[9]['clean'], *dict.fromkeys(corrupted)]


def _row(table, model):
    return next(row for row in table_rows(table) if row['model'] == model)
