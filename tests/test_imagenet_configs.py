"""The ImageNet configs: recipe read from what is really built, official logits, one step of each."""

import math
import re
from pathlib import Path

import numpy as np
import official
import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, PARAM_SCHEDULERS, DefaultScope
from small_models import shallow

pytest.importorskip('mmpretrain')
import mmpretrain.engine  # noqa: F401
from mmpretrain.structures import DataSample

from fan_mm.engine.config_checks import check_model
from fan_mm.models.checkpoints import to_official
from fan_mm.models.conversion import convert
from fan_mm.models.mixing import MixupCutmix
from fan_mm.models.shapes_alone import shapes_alone

CONFIGS = Path(__file__).parents[1] / 'configs'
FILES = sorted(CONFIGS.glob('*_imagenet*.py'))
PLAIN = [
    p for p in FILES if re.fullmatch(r'(tap_)?fan_(vit|hybrid|swin)_(t|s|b|l|xl)_imagenet', p.stem)
]
PLAIN += [CONFIGS / f'fan_vit_s_{kind}_imagenet.py' for kind in ('se', 'csa')]
STL = [p for p in FILES if '_stl_' in p.stem and 'toy' not in p.stem]
TUNED = [p for p in FILES if re.search(r'_384|_in22k', p.stem)]

# Spec section 9: batch per GPU, learning rate, warm-up, drop path, erasing probability.
RECIPE = {
    'fan_vit_t': (128, 2e-3, 5, 0.0, 0.25),
    'fan_vit_s': (32, 2e-3, 5, 0.2, 0.25),
    'fan_vit_s_se': (64, 2e-3, 10, 0.3, 0.25),
    'fan_vit_s_csa': (32, 2e-3, 5, 0.2, 0.25),
    'fan_vit_b': (64, 2e-3, 5, 0.35, 0.3),
    'fan_vit_l': (32, 1e-3, 5, 0.3, 0.3),
    'fan_hybrid_t': (32, 1e-3, 5, 0.1, 0.3),
    'fan_hybrid_s': (64, 4e-3, 5, 0.25, 0.3),
    'fan_hybrid_b': (64, 4e-3, 10, 0.35, 0.3),
    'fan_hybrid_l': (64, 4e-3, 10, 0.45, 0.3),
    'fan_hybrid_xl': (16, 1e-3, 20, 0.45, 0.3),
    'fan_swin_t': (32, 5e-4, 5, 0.3, 0.25),
    'fan_swin_s': (32, 5e-4, 5, 0.3, 0.25),
    'fan_swin_b': (16, 2e-3, 10, 0.2, 0.25),
    'fan_swin_l': (16, 1e-3, 5, 0.2, 0.25),
}
# Spec section 13.0, both stages: batch per GPU, nodes, learning rate, warm-up, drop path.
STL_RECIPE = {
    't': (128, 1, 2e-3, 5, 0.05),
    's': (128, 1, 2e-3, 5, 0.25),
    'b': (64, 4, 4e-3, 10, 0.35),
    'l': (64, 4, 4e-3, 10, 0.45),
}


def ids(paths):
    return [path.stem for path in paths]


def load(path):
    cfg = Config.fromfile(path)
    cfg.model.data_preprocessor = cfg.data_preprocessor  # as the Runner does
    return cfg


def build(node, registry=MODELS):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return registry.build(node)


def test_there_is_a_config_for_every_row():
    plain = {path.stem.removesuffix('_imagenet') for path in PLAIN}
    assert plain == set(RECIPE) | {f'tap_fan_hybrid_{size}' for size in 'tsbl'}
    expected = {f'fan_hybrid_{s}_stl_{k}_imagenet' for s in 'tsbl' for k in ('teacher', 'student')}
    assert set(ids(STL)) == expected
    assert set(ids(TUNED)) == {
        f'fan_hybrid_{s}_{k}' for s in 'bl' for k in ('imagenet_384', 'in22k_imagenet')
    }


@pytest.mark.parametrize('path', PLAIN, ids=ids(PLAIN))
def test_recipe_is_the_released_scripts(path):
    cfg = load(path)
    row = path.stem.removeprefix('tap_').removesuffix('_imagenet')  # TAPADL's is FAN's
    batch, lr, warmup, drop_path, erase = RECIPE[row]
    assert cfg.train_dataloader.batch_size == cfg.batch_per_gpu == batch
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.train_cfg.max_epochs == 310
    assert cfg.auto_scale_lr.base_batch_size == batch * cfg.gpus_per_node * cfg.nodes
    assert not cfg.auto_scale_lr.enable
    assert cfg.gpus_per_node == 8
    check_common(cfg, lr, warmup, 300, erase)
    if cfg.nodes != 4 or 'hybrid_t' not in path.stem:
        ratio = lr / cfg.auto_scale_lr.base_batch_size
        assert ratio == pytest.approx(2e-3 / 2048, rel=0.03)  # the paper's


@pytest.mark.parametrize('size', 'tsbl')
def test_tapadl_is_fan_with_pooling_and_one_more_loss(size):
    cfg, plain = (
        Config.fromfile(CONFIGS / f'{name}fan_hybrid_{size}_imagenet.py') for name in ('tap_', '')
    )
    plain.model.backbone.token_pooling = 4
    hook = dict(type='AttentionDiversityHook', weight=1.0, threshold=2)
    plain.default_hooks.attention_diversity = hook
    assert cfg.to_dict() == plain.to_dict()
    assert build(hook, HOOKS).weight == 1


@pytest.mark.parametrize('path', STL, ids=ids(STL))
def test_stl_recipe_is_the_released_scripts(path):
    cfg = load(path)
    batch, nodes, lr, warmup, drop_path = STL_RECIPE[path.stem.split('_')[2]]
    assert (cfg.train_dataloader.batch_size, cfg.nodes) == (batch, nodes)
    assert cfg.auto_scale_lr.base_batch_size == batch * 8 * nodes
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.train_cfg.max_epochs == 360
    head = cfg.model.head
    assert (head.cls_weight, head.dense_weight, head.label_smoothing) == (1, 1, 0.1)
    assert not head.get('init_cfg')
    student = 'student' in path.stem
    assert head.tokens == ('each' if student else 'mean')
    check_common(cfg, lr, warmup, 350, 0.3, pair=student)
    if student:
        assert 'stl_teacher' in Config.fromfile(path).model.teacher
        assert cfg.model.token_labels == 'gumbel'


def check_common(cfg, lr, warmup, epochs, erase, pair=False):
    optimizer = dict(type='AdamW', lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)
    assert cfg.optim_wrapper.optimizer == optimizer
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and 'clip_grad' not in cfg.optim_wrapper
    assert cfg.randomness == dict(seed=42, diff_rank_seed=True)
    check_schedule(cfg, lr, warmup, epochs)
    steps = {step['type']: step for step in cfg.train_dataloader.dataset.pipeline}
    assert list(steps) == [
        'LoadImageFromFile',
        'RandomChoice',
        'RandomFlip',
        'JointRandAugment',
        'RandomErasing',
        'PackPairedInputs' if pair else 'PackInputs',
    ]
    crops = [alternative[0] for alternative in steps['RandomChoice']['transforms']]
    assert [crop['interpolation'] for crop in crops] == ['bilinear', 'bicubic']
    assert all(crop['type'] == 'RandomResizedCrop' and crop['scale'] == 224 for crop in crops)
    assert steps['RandomFlip']['prob'] == 0.5
    augment = steps['JointRandAugment']
    assert (augment['num_policies'], augment['magnitude_level'], augment['magnitude_std']) == (
        2,
        9,
        0.5,
    )
    assert augment.get('teacher', False) == pair
    built = build(cfg.train_dataloader.dataset.pipeline[1], registry('TRANSFORMS'))
    for alternative in built.transforms:
        crop = alternative.transforms[0]
        assert tuple(crop.crop_ratio_range) == (0.08, 1.0)
        assert crop.aspect_ratio_range == (3 / 4, 4 / 3)
    erasing = steps['RandomErasing']
    assert (erasing['erase_prob'], erasing['mode']) == (erase, 'rand')
    assert erasing['fill_color'] == cfg.data_preprocessor.mean[::-1]
    assert erasing['fill_std'] == cfg.data_preprocessor.std[::-1]
    mixes = dict(type='ClsDataPreprocessor', batch_augments=cfg.model.train_cfg)
    (mixing,) = build(cfg.data_preprocessor | mixes).batch_augments.augments
    assert isinstance(mixing, MixupCutmix)
    assert (mixing.mixup_alpha, mixing.cutmix_alpha, mixing.switch_prob) == (0.8, 1.0, 0.5)
    if cfg.model.head.type == 'LinearClsHead':
        assert cfg.model.head.loss == dict(
            type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'
        )
    swin = cfg.model.backbone.type == 'FANSwin'
    resize, crop = cfg.test_dataloader.dataset.pipeline[1:3]
    assert (resize['scale'], resize['interpolation']) == (248 if swin else 224, 'bicubic')
    assert crop['crop_size'] == 224
    assert cfg.val_dataloader.dataset.pipeline == cfg.test_dataloader.dataset.pipeline
    assert {hook['type'] for hook in cfg.custom_hooks} == {
        'EMAHook',
        'BroadcastBuffersHook',
        'EpochSeedHook',
    }
    assert not cfg.train_dataloader.persistent_workers


def registry(name):
    import mmengine.registry

    return getattr(mmengine.registry, name)


def check_schedule(cfg, lr, warmup, epochs):
    """The learning rate of every epoch, as the schedulers of the config set it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer)) for s in cfg.param_scheduler]
    for epoch in range(cfg.train_cfg.max_epochs):
        if epoch < warmup:
            expected = 1e-6 + epoch * (lr - 1e-6) / warmup
        elif epoch < epochs:
            expected = 1e-6 + (lr - 1e-6) * (1 + math.cos(math.pi * epoch / epochs)) / 2
        else:
            expected = 1e-6
        assert optimizer.param_groups[0]['lr'] == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize('stem', ['fan_vit_t', 'fan_hybrid_t', 'fan_swin_t', 'fan_vit_s_se'])
def test_decay_of_every_parameter(stem):
    """None for vectors, biases and the class token; temperatures and tables are decayed."""
    cfg = load(CONFIGS / f'{stem}_imagenet.py')
    with shapes_alone():
        model = build(cfg.model)
    cfg.optim_wrapper.type = 'OptimWrapper'
    del cfg.optim_wrapper['loss_scale']
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    groups = {id(p): group for group in wrapper.optimizer.param_groups for p in group['params']}
    decayed = set()
    for name, parameter in model.named_parameters():
        spared = parameter.ndim == 1 or name.endswith(('.bias', 'cls_token'))
        group = groups[id(parameter)]
        assert group['weight_decay'] == (0 if spared else 0.05), name
        assert group['lr'] == cfg.optim_wrapper.optimizer.lr
        if not spared:
            decayed.add(to_official(name.removeprefix('backbone.')))
    assert 'head.fc.weight' in decayed
    if stem != 'fan_vit_s_se':
        assert any(name.endswith('temperature') for name in decayed)
    if 'swin' in stem:
        assert any(name.endswith('relative_position_bias_table') for name in decayed)
    else:
        assert 'pos_embed.token_projection.weight' in decayed


def test_average_covers_weights_and_buffers():
    cfg = load(CONFIGS / 'fan_hybrid_s_imagenet.py')
    options = next(dict(hook) for hook in cfg.custom_hooks if hook['type'] == 'EMAHook')
    hook = build(dict(options), HOOKS)
    assert hook.evaluate_on_ema
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    averaged = ExponentialMovingAverage(
        model, momentum=options['momentum'], update_buffers=options['update_buffers']
    )
    averaged.update_parameters(model)  # the first takes the model's values over
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for value in model.state_dict().values():
        value += 1
    averaged.update_parameters(model)
    for key, value in averaged.module.state_dict().items():
        if value.is_floating_point():
            expected = 0.99992 * before[key] + (1 - 0.99992) * model.state_dict()[key]
            assert torch.allclose(value, expected, rtol=0, atol=1e-7), key


def class_batch(classes, pair, size=64):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=generator)
    samples = [DataSample().set_gt_label(label) for label in (1, classes - 1)]
    batch = dict(inputs=images, data_samples=samples)
    return batch | dict(teacher_inputs=images) if pair else batch


class OneLabel:
    """Stands for a teacher: tests of the configs have none to load."""

    num_classes = 1000

    def label(self, images, kind, mean):
        return torch.zeros(len(images), 16, dtype=torch.long)


@pytest.mark.slow
@pytest.mark.parametrize('path', FILES, ids=ids(FILES))
def test_model_builds_and_takes_a_step(path):
    """Every parameter gets a gradient, so DDP needs no find_unused_parameters."""
    cfg = load(path)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        check_model(cfg.model)
    cfg.model.backbone = shallow(cfg.model.backbone)
    model = build(cfg.model).train()
    student = cfg.model.type == 'STLStudent'
    if student:
        model.teacher = OneLabel()
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        batch = class_batch(cfg.model.head.num_classes, student)
        batch = model.data_preprocessor(batch, training=True)
        loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss)
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_head_of_large_starts_small():
    """head_init_scale 0.001 (spec 1.1 and 5)."""
    std = {}
    for size in 'sl':
        head = load(CONFIGS / f'fan_hybrid_{size}_imagenet.py').model.head
        head = build(head)
        head.init_weights()
        std[size] = head.fc.weight.std().item()
        assert not head.fc.bias.any()
    assert std['s'] == pytest.approx(0.02, rel=0.02)
    assert std['l'] == pytest.approx(2e-5, rel=0.02)


@pytest.mark.parametrize(
    'name, stem',
    [
        ('fan_tiny_12_p16_224', 'fan_vit_t'),
        ('fan_small_12_p16_224_se_attn__call_fixed', 'fan_vit_s_se'),
        ('fan_tiny_8_p4_hybrid', 'fan_hybrid_t'),
        ('fan_small_12_p4_hybrid', 'fan_hybrid_s'),
        ('fan_swin_tiny_patch4_window7_224', 'fan_swin_t'),
    ],
)
def test_official_checkpoint_gives_official_logits(name, stem):
    """Through ImageClassifier, from a released file as `tools/convert_checkpoint.py` reads it."""
    model = build(load(CONFIGS / f'{stem}_imagenet.py').model).eval()
    state = official.state_dict(name.removesuffix('__call_fixed'))
    converted = convert(dict(state_dict_ema=state)).state_dict
    missing, unexpected = model.load_state_dict(converted, strict=False)
    assert not unexpected and not missing
    with torch.inference_mode():
        logits = model(official.images(2, 3, 224, 224), mode='tensor').numpy()
    assert np.abs(logits - official.golden(name)['logits']).max() < 2e-5


@pytest.mark.parametrize('path', TUNED, ids=ids(TUNED))
def test_fine_tuning(path):
    """Layer-wise rates, no mixing, the size everywhere, and a batch that is the config's own."""
    cfg = load(path)
    size = 384 if '384' in path.stem else 224
    pipeline = cfg.train_dataloader.dataset.pipeline
    assert [a[0]['scale'] for a in pipeline[1]['transforms']] == [size, size]
    test = cfg.test_dataloader.dataset.pipeline
    assert (test[1]['scale'], test[2]['crop_size']) == (size, size)
    assert cfg.model.train_cfg is None
    assert (
        cfg.auto_scale_lr.base_batch_size == 512 == cfg.train_dataloader.batch_size * 8 * cfg.nodes
    )
    warmup = cfg.param_scheduler[0]['warmup_epochs']
    check_schedule(cfg, 5e-5, warmup, cfg.train_cfg.max_epochs)
    with shapes_alone():
        model = build(cfg.model)
    cfg.optim_wrapper.type = 'OptimWrapper'
    del cfg.optim_wrapper['loss_scale']
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    groups = {id(p): group for group in wrapper.optimizer.param_groups for p in group['params']}
    for name, parameter in model.named_parameters():
        depth, depths = model.backbone.get_layer_depth(name, 'backbone.')
        group = groups[id(parameter)]
        assert group['lr'] == pytest.approx(5e-5 * 0.8 ** (depths - 1 - depth)), name
        spared = parameter.ndim == 1 or name.endswith('cls_token')
        assert group['weight_decay'] == (0 if spared else 1e-8), name
