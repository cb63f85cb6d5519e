# A small FAN-Hybrid on the embedded street scenes: what `tools/quickstart.sh` trains.
#   python tools/make_toy_dataset.py cityscapes data/toy_cityscapes --size 192x384 --train 320 --val 32
_base_ = [
    './_base_/models/fan_segformer.py',
    './_base_/datasets/cityscapes_1024x1024.py',
    './_base_/schedules/adamw_160k.py',
    './_base_/default_runtime.py',
]
size = (192, 384)
crop_size = (128, 256)
data_root = 'data/toy_cityscapes/'
max_iters = 1500
norm_cfg = dict(type='BN', requires_grad=True)

model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=128,
            depth=4,
            num_heads=4,
            stem_depths=(1, 1),
            stem_channels=(48, 96),
        ),
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(in_channels=[48, 96, 128, 128], channels=128, norm_cfg=norm_cfg),
    test_cfg=dict(mode='whole', crop_size=None, stride=None),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=size[::-1], ratio_range=(0.6, 1.6), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

optim_wrapper = dict(
    optimizer=dict(lr=1.5e-3, weight_decay=0.02),
    paramwise_cfg=dict(_delete_=True, custom_keys=dict(norm=dict(decay_mult=0.0))),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=100, end=max_iters, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=250, max_keep_ckpts=2),
)
randomness = dict(seed=0)
