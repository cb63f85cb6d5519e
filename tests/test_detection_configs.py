"""Every detection config is parsed, its model built and trained for a step; the recipe is the published one."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from small_models import shallow
from torch import nn

from fan_mm.engine import FeatureAmpOptimWrapper
from fan_mm.engine.config_checks import check_model
from fan_mm.errors import InputError
from fan_mm.evaluation.published import table_rows
from fan_mm.models import SimpleFeaturePyramid

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext', reason='detectors need compiled mmcv ops')

CONFIGS = Path(__file__).parents[1] / 'configs'
FILES = sorted(CONFIGS.glob('*_coco.py'))
RECIPES = [path for path in FILES if 'toy' not in path.stem]
SIZE = (64, 96)


def names(paths):
    return [path.stem for path in paths]


def small_budgets(node):
    """Fewer proposals and regions, and narrow hidden layers of box heads: tests are on a CPU."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ('nms_pre', 'max_per_img'):
                node[key] = min(value, 20)
            elif key == 'num' and node.get('type') == 'RandomSampler':
                node[key] = 8
            elif key == 'fc_out_channels':
                node[key] = 64
            else:
                small_budgets(value)
    elif isinstance(node, list):
        for value in node:
            small_budgets(value)


def detector(path, **backbone):
    """A config's model for a CPU, initialised."""
    cfg = Config.fromfile(path)
    cfg.model.backbone.update(backbone)
    cfg.model.backbone = shallow(cfg.model.backbone)
    small_budgets(cfg.model)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
        model.init_weights()
    return model


def batch(classes=8, size=SIZE, count=2, masks=True):
    """Random images with two things each."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    generator = torch.Generator().manual_seed(0)
    samples = []
    for number in range(count):
        boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [30.0, 10.0, 90.0, 60.0]])
        instances = InstanceData(
            bboxes=HorizontalBoxes(boxes), labels=torch.tensor([number % classes, classes - 1])
        )
        if masks:
            bitmaps = np.zeros((2, *size), np.uint8)
            for bitmap, (x0, y0, x1, y1) in zip(bitmaps, boxes.int().tolist(), strict=True):
                bitmap[y0:y1, x0:x1] = 1
            instances.masks = BitmapMasks(bitmaps, *size)
        meta = dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0))
        sample = DetDataSample(gt_instances=instances, metainfo=dict(meta, img_id=number))
        sample.ignored_instances = InstanceData(bboxes=HorizontalBoxes(torch.zeros(0, 4)))
        samples.append(sample)
    images = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)
    return dict(inputs=list(images), data_samples=samples)


def loss_of(model, data):
    """The sum of a training step's losses."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        data = model.data_preprocessor(data, training=True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
    return loss


def test_there_is_a_config_for_every_model():
    expected = {f'fan_hybrid_{size}_cascade_mask_rcnn_coco' for size in 'tsbl'}
    expected |= {f'fan_hybrid_{size}_mask_rcnn_coco' for size in 'tsbl'}
    expected |= {f'fan_hybrid_{size}_22k_cascade_mask_rcnn_coco' for size in 'bl'}
    expected |= {f'fan_swin_{size}_mask_rcnn_coco' for size in 'ts'}
    expected |= {f'fan_vit_{size}_faster_rcnn_coco' for size in 'tsb'}
    assert expected == set(names(RECIPES))


@pytest.mark.parametrize('path', FILES, ids=names(FILES))
def test_model_builds_predicts_and_takes_a_step(path):
    """Every parameter gets a gradient, so DDP needs no find_unused_parameters."""
    cfg = Config.fromfile(path)
    assert not cfg.get('find_unused_parameters', False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        check_model(cfg.model)
    # a checkpoint that the 22k variants name is not at hand
    model = detector(path, init_cfg=None).train()
    masks = hasattr(model.roi_head, 'mask_head')
    loss = loss_of(model, batch(8 if 'toy' in path.stem else 80, masks=masks))
    loss.backward()
    assert torch.isfinite(loss)
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    model.eval()
    with torch.no_grad(), DefaultScope.overwrite_default_scope('mmdet'):
        data = model.data_preprocessor(batch(masks=masks))
        outputs = model(**data, mode='predict')
    for output in outputs:
        assert output.pred_instances.bboxes.shape[1] == 4
        assert ('masks' in output.pred_instances) == masks


@pytest.mark.parametrize('path', RECIPES, ids=names(RECIPES))
def test_recipe_is_the_published_one(path):
    """Spec sections 8 and 11; the paper's appendix A.2 for FAN-ViT."""
    cfg = Config.fromfile(path)
    vit, swin = '_vit_' in path.stem, '_swin_' in path.stem
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    optimizer = dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
    assert cfg.optim_wrapper.optimizer == optimizer
    assert cfg.optim_wrapper.get('clip_grad') is None
    undecayed = {'norm', 'absolute_pos_embed', 'relative_position_bias_table'}
    assert set(cfg.optim_wrapper.paramwise_cfg.custom_keys) == undecayed
    assert cfg.train_cfg.max_epochs == cfg.max_epochs == (24 if vit else 36)
    warmup, steps = cfg.param_scheduler
    # mmengine counts the last step inside: full rate at iteration 500
    assert (warmup.end, warmup.start_factor, warmup.by_epoch) == (501, 1e-3, False)
    assert steps.milestones == ([16, 22] if vit else [27, 33])
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=32)
    assert cfg.train_dataloader.batch_size == 1
    backbone = cfg.model.backbone
    assert backbone.drop_path_rate == (0.2 if swin else 0.3)
    assert backbone.with_cp and backbone.norm_cfg.type == 'SyncBN'
    width = dict(tiny=192, small=384, base=448, large=480)[backbone.arch]
    if vit:
        assert cfg.model.neck.in_channels == width
        assert cfg.test_pipeline[1].scale == (896, 896)
        scales = cfg.train_pipeline[3].scales
        assert (scales[0], scales[-1]) == ((640, 640), (896, 896))
        return
    assert cfg.model.neck.in_channels == ([96, 192, 384, 768] if swin else [128, 256, width, 768])
    assert cfg.test_pipeline[1].scale == (1333, 800)
    whole, cropped = cfg.train_pipeline[3].transforms
    assert whole[0].scales == [(side, 1333) for side in range(480, 801, 32)] == cropped[2].scales
    assert cropped[0].scales == [(side, 1333) for side in (400, 500, 600)]
    assert cropped[1].crop_size == (384, 600)
    if 'cascade' in path.stem:
        heads = cfg.model.roi_head.bbox_head
        assert [head.loss_bbox for head in heads] == [dict(type='GIoULoss', loss_weight=10.0)] * 3
        assert [head.reg_decoded_bbox for head in heads] == [True] * 3
        assert [stage.assigner.pos_iou_thr for stage in cfg.model.train_cfg.rcnn] == [0.5, 0.6, 0.7]


def test_22k_variants_are_two_line_diffs():
    for size in 'bl':
        path = CONFIGS / f'fan_hybrid_{size}_22k_cascade_mask_rcnn_coco.py'
        code = [line for line in path.read_text().splitlines() if line[:1] not in ('#', '')]
        assert len(code) == 2 and 'in22k' in code[1]


@pytest.mark.parametrize(
    'stem, model',
    [
        ('fan_hybrid_t_mask_rcnn_coco', 'FAN-T-Hybrid (Mask R-CNN)'),
        ('fan_hybrid_s_mask_rcnn_coco', 'FAN-S-Hybrid (Mask R-CNN)'),
        ('fan_hybrid_t_cascade_mask_rcnn_coco', 'FAN-T-Hybrid (Cascade R-CNN)'),
        ('fan_hybrid_s_cascade_mask_rcnn_coco', 'FAN-S-Hybrid (Cascade R-CNN)'),
        ('fan_hybrid_l_cascade_mask_rcnn_coco', 'FAN-L-Hybrid (Cascade R-CNN)'),
        ('fan_hybrid_l_22k_cascade_mask_rcnn_coco', 'FAN-L-Hybrid-IN22K (Cascade R-CNN)'),
    ],
)
def test_published_numbers_are_the_papers(stem, model):
    text = (CONFIGS / f'{stem}.py').read_text().partition('As published')[2].partition('\n')[0]
    row = next(row for row in table_rows(10) if row['model'] == model)
    numbers = [float(number) for number in re.findall(r'\d+\.\d+', text)]
    assert numbers == [row['clean'], row['corrupted']]


def test_detector_from_mmdet_with_only_its_backbone_replaced():
    """mmdet's own Mask R-CNN, as its package ships it, on a FANHybrid."""
    import mmdet

    own = Path(mmdet.__file__).parent / '.mim/configs/mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
    cfg = Config.fromfile(own)
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=dict(
                    _delete_=True,
                    type='FANHybrid',
                    arch='tiny',
                    out_indices=(0, 1, 2, 3),
                    last_stage_channels=768,
                ),
                neck=dict(in_channels=[128, 256, 192, 768]),
            )
        )
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        check_model(cfg.model)
        small_budgets(cfg.model)
        model = MODELS.build(cfg.model)
        model.init_weights()
    loss = loss_of(model.train(), batch(80))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_checkpointing_and_bfloat16_in_a_detector():
    """Activations recomputed: the same gradients; bfloat16: nearly the same loss."""
    path = CONFIGS / 'fan_hybrid_t_mask_rcnn_coco.py'
    outcome = {}
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = detector(path, with_cp=with_cp, drop_path_rate=0.0).train()
        torch.manual_seed(1)  # the samplers'
        loss = loss_of(model, batch(80))
        loss.backward()
        outcome[with_cp] = loss.item(), model.backbone.blocks[0].token_mixing.q.weight.grad
    assert outcome[True][0] == pytest.approx(outcome[False][0], rel=1e-5)
    torch.testing.assert_close(outcome[True][1], outcome[False][1], rtol=1e-3, atol=1e-6)
    torch.manual_seed(1)
    model.zero_grad()
    wrapper = FeatureAmpOptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    with wrapper.optim_context(model):
        assert [x.dtype for x in model.extract_feat(torch.rand(1, 3, *SIZE))] == [torch.float32] * 5
        torch.manual_seed(1)
        loss = loss_of(model, batch(80))
    assert not torch.is_autocast_enabled('cpu')
    wrapper.update_params(loss)
    assert loss.item() != outcome[True][0]
    assert loss.item() == pytest.approx(outcome[True][0], rel=0.05)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert not model.backbone._forward_hooks and not model.neck._forward_pre_hooks


def test_bfloat16_leaves_autocast_when_the_model_fails():
    """A hook that stayed behind would autocast everything that follows."""
    model = detector(CONFIGS / 'fan_hybrid_t_mask_rcnn_coco.py')
    wrapper = FeatureAmpOptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(InputError, match='a token is'), wrapper.optim_context(model):
        model.extract_feat(torch.rand(1, 3, 8, 8))
    assert not torch.is_autocast_enabled('cpu')
    assert not model.backbone._forward_hooks


def test_bfloat16_with_a_neck_without_weights():
    class Halves(torch.nn.Module):
        def forward(self, x):
            return (x[..., ::2],)

    model = torch.nn.ModuleDict(dict(backbone=torch.nn.Conv2d(3, 1, 1), neck=Halves()))
    wrapper = FeatureAmpOptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    with wrapper.optim_context(model):
        assert model.neck(torch.ones(1, 2, dtype=torch.bfloat16))[0].dtype == torch.float32


@pytest.mark.parametrize(
    'backbone, neck',
    [
        (dict(type='FANHybrid', arch='tiny', out_indices=(0, 1, 2, 3), last_stage_channels=64), 64),
        (dict(type='FANHybrid', arch='tiny', out_indices=(0, 1, 2, 3), out_norm=True), 192),
        (dict(type='FANSwin', arch='tiny', out_indices=(0, 1, 2, 3)), 768),
        (dict(type='FANViT', arch='tiny'), 192),
    ],
    ids=str,
)
def test_maps_are_laid_out_as_mmcv_operators_read_them(backbone, neck):
    """mmcv's RoIAlign takes the memory for (B, C, H, W) whatever the strides say."""
    from mmcv.ops import RoIAlign
    from torchvision.ops import roi_align

    maps = MODELS.build(backbone)(torch.rand(2, 3, *SIZE))
    pyramid = SimpleFeaturePyramid(neck, 8)(maps)
    boxes = torch.tensor([[0.0, 2, 2, 40, 40], [1, 10, 10, 60, 50]])
    for x in (*maps, *pyramid):
        ours = RoIAlign(3, 1 / 16, 2)(x, boxes)
        torch.testing.assert_close(ours, roi_align(x, boxes, 3, 1 / 16, 2, aligned=True))


def test_simple_feature_pyramid():
    pyramid = SimpleFeaturePyramid(in_channels=[8, 16], out_channels=12, num_outs=6)
    maps = [torch.rand(2, 8, 6, 10), torch.rand(2, 16, 6, 10, requires_grad=True)]
    levels = pyramid(maps)
    sizes = [(24, 40), (12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]
    assert [tuple(x.shape) for x in levels] == [(2, 12, *size) for size in sizes]
    torch.testing.assert_close(levels[4], levels[3][:, :, ::2, ::2])
    mean = levels[2].mean(1)  # LayerNorm over channels, before its weights have learned anything
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    sum(x.square().sum() for x in levels).backward()
    assert all(p.grad is not None for p in pyramid.parameters())
    with pytest.raises(InputError, match='at least 4'):
        SimpleFeaturePyramid(8, 8, num_outs=3)
    assert isinstance(
        SimpleFeaturePyramid(8, 8, norm_cfg=dict(type='BN')).levels[2][1], nn.BatchNorm2d
    )


def test_simple_feature_pyramid_serves_uper_head_of_mmseg():
    pytest.importorskip('mmseg.models')
    head = dict(
        type='UPerHead',
        in_channels=[16] * 4,
        in_index=[0, 1, 2, 3],
        channels=8,
        num_classes=3,
        align_corners=False,
        norm_cfg=dict(type='BN'),
    )
    neck = dict(type='SimpleFeaturePyramid', in_channels=192, out_channels=16, num_outs=4)
    model = dict(type='EncoderDecoder', decode_head=head, neck=neck, test_cfg=dict(mode='whole'))
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(dict(model, backbone=dict(type='FANViT', arch='tiny'))).eval()
        with torch.no_grad():
            assert model(torch.rand(1, 3, *SIZE)).shape == (1, 3, SIZE[0] // 4, SIZE[1] // 4)
