"""Attention diversification in the training of a classifier, a segmentor and a detector."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import warm_python
from mmengine.dataset import default_collate
from mmengine.hooks import Hook
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

import fan_mm  # noqa: F401  (registers)
from fan_mm.engine import AttentionDiversityHook
from fan_mm.errors import InputError

NAME = 'loss_attention_diversity'
BACKBONE = dict(
    type='FANHybrid',
    arch=dict(embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), stem_channels=(8, 12)),
    token_pooling=3,
    norm_eval=True,
)


class Regressor(BaseModel):
    """A model of no library: the mean of the maps shall be the mean of the image."""

    def __init__(self, seed=0, **options):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = MODELS.build(dict(copy.deepcopy(BACKBONE), **options))
        for name, tensor in self.backbone.state_dict().items():
            if '.token_mixing.q' in name or '.token_mixing.kv' in name:
                nn.init.normal_(tensor, std=0.7)  # some attention exceeds 2 / N
        self.calls = 1

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for _ in range(self.calls):
            (maps,) = self.backbone(inputs)
        if mode != 'loss':
            return maps
        return dict(loss_mean=(maps.mean((1, 2, 3)) - inputs.mean((1, 2, 3))).square())


class Images(torch.utils.data.Dataset):
    def __init__(self, count=4):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(count, 3, 64, 96, generator=generator).cumsum(3) / 8

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return dict(inputs=self.images[index])


BATCH = default_collate([Images()[i] for i in range(4)])


def attach(model, **options):
    hook = AttentionDiversityHook(**options)
    hook.before_train(SimpleNamespace(model=model))
    return hook


def train(model, batches, lr, kind='SGD', **wrapper):
    """Train as mmengine's loops do; returns the log variables of every step."""
    hook = attach(model.train())
    config = dict(optimizer=dict(type=kind, lr=lr), **wrapper)
    optim_wrapper = build_optim_wrapper(model, config)
    optim_wrapper.initialize_count_status(model, 0, len(batches))
    log = [model.train_step(batch, optim_wrapper) for batch in batches]
    hook.after_train(None)
    return [{name: value.item() for name, value in values.items()} for values in log]


def step(model, batch=BATCH, **options):
    """A training step without the optimizer's."""
    hook = attach(model.train(), **options)
    loss, log = getattr(model, 'module', model).parse_losses(model(**batch, mode='loss'))
    loss.backward()
    hook.after_train(None)
    return {name: value.item() for name, value in log.items()}


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@HOOKS.register_module()
class KeepLog(Hook):
    """Keeps the log variables of every step."""

    log: list[dict] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.log.append({name: value.item() for name, value in outputs.items()})


def test_a_toy_training_in_which_the_loss_falls():
    log = train(Regressor(), 20 * [BATCH], lr=0.01, kind='AdamW')
    assert log[0][NAME] > 0.2
    assert log[-1][NAME] < 0.8 * log[0][NAME]


def test_the_runner_needs_one_option_of_a_config(tmp_path):
    KeepLog.log.clear()
    model = Regressor()
    Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(
            dataset=Images(),
            batch_size=4,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        default_hooks=dict(
            attention_diversity=dict(type='AttentionDiversityHook', weight=0.5),
            checkpoint=None,
            logger=None,
        ),
        custom_hooks=[dict(type='KeepLog')],
        experiment_name='toy',
    ).train()
    assert len(KeepLog.log) == 2
    for values in KeepLog.log:
        assert set(values) == {'loss', 'loss_mean', NAME}
        assert values['loss'] == pytest.approx(values['loss_mean'] + values[NAME], rel=1e-5)
    first = KeepLog.log[0][NAME]
    assert 0.1 < first < 0.5
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert step(Regressor())[NAME] == pytest.approx(2 * first, rel=1e-4)


def test_weight_0_switches_it_off():
    assert set(Regressor()(**BATCH, mode='loss')) == {'loss_mean'}
    assert set(step(Regressor(), weight=0)) == {'loss', 'loss_mean'}


def test_evaluation_and_predictions_in_between_are_left_alone():
    model = Regressor()
    attach(model)
    assert set(model.eval()(**BATCH, mode='loss')) == {'loss_mean'}
    assert isinstance(model.train()(**BATCH), torch.Tensor)
    assert NAME in model(BATCH['inputs'], None, 'loss')


def test_checkpointing_and_accumulation_change_nothing():
    halves = [dict(inputs=part) for part in BATCH['inputs'].split(2)]
    runs = {
        'plain': (Regressor(), [BATCH, BATCH], {}),
        'checkpointed': (Regressor(with_cp=True), [BATCH, BATCH], {}),
        'accumulated': (Regressor(), halves + halves, dict(accumulative_counts=2)),
    }
    logs = {name: train(*run[:2], lr=0.05, **run[2]) for name, run in runs.items()}
    expected = runs['plain'][0].state_dict()
    assert logs['plain'][0][NAME] > 0.1
    assert logs['checkpointed'][1][NAME] == pytest.approx(logs['plain'][1][NAME], rel=1e-4)
    for name, (model, *_) in runs.items():
        torch.testing.assert_close(
            model.state_dict(), expected, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f'{n}: {m}'
        )
    query = 'backbone.blocks.0.token_mixing.q.weight'
    assert (Regressor().state_dict()[query] - expected[query]).abs().max() > 1e-3


def test_mixed_precision():
    plain, mixed = (
        train(Regressor(), [BATCH], lr=0.0, type=kind)[0][NAME]
        for kind in ('OptimWrapper', 'CpuAmpOptimWrapper')
    )
    assert mixed == pytest.approx(plain, rel=0.05)
    assert plain > 0.1


def test_several_passes_of_a_step_give_the_mean():
    once, twice = Regressor(), Regressor()
    twice.calls = 2
    assert step(twice)[NAME] == pytest.approx(step(once)[NAME], rel=1e-5)


def _rank(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
    )
    batch = default_collate([Images()[i] for i in (2 * rank, 2 * rank + 1)])
    model = MMDistributedDataParallel(Regressor().train(), broadcast_buffers=False)
    log = step(model, batch)
    torch.save((log, gradients(model.module)), f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    """The wrapper asks for no unused parameters, and gradients are those of the whole batch."""
    # not forked from this process: after a backward pass for a GPU, even a pretended one, none is possible in a fork
    code = 'import sys, test_attention_diversity as t; t._rank(int(sys.argv[1]), sys.argv[2])'
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    ranks = [
        subprocess.Popen(
            [warm_python.python(), '-c', code, str(rank), str(tmp_path)],
            env=dict(os.environ, PYTHONPATH=path),
        )
        for rank in (0, 1)
    ]
    assert [rank.wait() for rank in ranks] == [0, 0]
    results = [torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in (0, 1)]
    model = Regressor().train()
    log = step(model)
    assert sum(r[0][NAME] for r in results) / 2 == pytest.approx(log[NAME], rel=1e-5)
    assert log[NAME] > 0.1
    for _, found in results:
        torch.testing.assert_close(found, gradients(model), atol=1e-6, rtol=1e-4)


def library_model(scope):
    """A classifier, a segmentor or a detector, and a batch for it."""
    utils = pytest.importorskip(f'{scope}.utils')
    if scope == 'mmdet':
        pytest.importorskip('mmcv._ext')
    utils.register_all_modules(init_default_scope=False)
    backbone, images = copy.deepcopy(BACKBONE), torch.randn(2, 3, 64, 96).cumsum(3)
    if scope == 'mmpretrain':
        from mmpretrain.structures import DataSample

        backbone['out_type'] = 'cls_token'
        head = dict(type='LinearClsHead', num_classes=3, in_channels=16)
        config = dict(type='ImageClassifier', backbone=backbone, head=head)
        return config, images, [DataSample().set_gt_label(i) for i in (0, 2)]
    if scope == 'mmseg':
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        head = dict(type='FCNHead', in_channels=16, in_index=0, channels=8, num_classes=3)
        head |= dict(dropout_ratio=0)
        config = dict(type='EncoderDecoder', backbone=backbone, decode_head=head)
        label = PixelData(data=torch.randint(0, 3, (1, 64, 96)))
        return config, images, [SegDataSample(gt_sem_seg=label) for _ in range(2)]
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    backbone['out_indices'] = (0, 1, 2, 3)
    config = dict(
        type='RetinaNet',
        backbone=backbone,
        neck=dict(type='FPN', in_channels=[8, 12, 16, 16], out_channels=8, num_outs=5),
        bbox_head=dict(
            type='RetinaHead',
            num_classes=3,
            in_channels=8,
            feat_channels=8,
            stacked_convs=1,
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=1,
                ratios=[1.0],
                strides=[4, 8, 16, 16, 32],
            ),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        ),
        train_cfg=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1,
            pos_weight=-1,
        ),
    )
    boxes = InstanceData(bboxes=torch.tensor([[8.0, 8, 40, 40]]), labels=torch.tensor([1]))
    shape = dict(img_shape=(64, 96), pad_shape=(64, 96), batch_input_shape=(64, 96))
    return config, images, [DetDataSample(gt_instances=boxes, metainfo=shape) for _ in range(2)]


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg', 'mmdet'])
def test_models_of_every_library(scope):
    config, images, samples = library_model(scope)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(config).train()
        batch = dict(inputs=images, data_samples=samples)
        plain, names = model.parse_losses(model(**batch, mode='loss'))
        log = step(model, batch, threshold=0.5)
    assert log[NAME] > 0.1
    assert log['loss'] == pytest.approx(plain.item() + log[NAME], rel=1e-3)
    added = {NAME, 'loss_task'} if scope == 'mmpretrain' else {NAME}
    assert set(log) == set(names) | added
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize('option', ['weight', 'threshold'])
@pytest.mark.parametrize('value', [-1, 'much', None, True, float('nan'), float('inf')])
def test_numbers_that_are_none_are_refused(option, value):
    message = re.escape(f'{option} must be a number of at least 0, not {value!r}')
    with pytest.raises(InputError, match=message):
        HOOKS.build(dict(type='AttentionDiversityHook', **{option: value}))


def test_models_where_it_would_do_nothing_are_refused():
    class Plain(BaseModel):
        def forward(self, inputs, mode='tensor'):
            return dict(loss=inputs.mean())

    with pytest.raises(
        InputError, match='needs a FANViT or FANHybrid, but there is none in the Pl'
    ):
        attach(Plain())

    model = Regressor().train()
    hook = attach(model)
    with pytest.raises(InputError, match="Regressor is not called with mode='loss'"):
        hook.after_train_iter(SimpleNamespace(model=model), 0)
    with torch.no_grad(), pytest.raises(InputError, match=r'no attention .* ran with'):
        model(**BATCH, mode='loss')
