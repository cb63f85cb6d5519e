# A small FAN-Hybrid on ten classes of rendered things: `tools/quickstart.sh --task classification`.
#   python tools/make_toy_dataset.py imagenet data/toy_imagenet --size 80x80 --train 3000 --val 400
_base_ = [
    './_base_/models/fan_classifier.py',
    './_base_/datasets/imagenet_224.py',
    './_base_/schedules/adamw_310e.py',
    './_base_/fixed_size_runtime.py',
]
data_root = 'data/toy_imagenet/'
size = 64
max_epochs = 20
metainfo = dict(
    classes=[
        'bicycle', 'bus', 'car', 'motorcycle', 'person', 'traffic_light', 'traffic_sign', 'tram',
        'tree', 'truck',
    ]
)  # fmt: skip

data_preprocessor = dict(num_classes=10)
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=128,
            depth=3,
            num_heads=4,
            stem_depths=(1, 1),
            stem_channels=(48, 96),
        ),
        drop_path_rate=0.0,
    ),
    head=dict(num_classes=10, in_channels=128),
    train_cfg=None,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.6, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=size, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=size),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

optim_wrapper = dict(
    _delete_=True,  # no mixed precision
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(
        type='WarmupCosineCooldownLR',
        epochs=max_epochs,
        warmup_epochs=1,
        warmup_start=5e-4,
        eta_min=1e-5,
    )
]
auto_scale_lr = dict(base_batch_size=32)
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
default_hooks = dict(
    logger=dict(interval=10), checkpoint=dict(interval=1, max_keep_ckpts=2, save_best=None)
)
custom_hooks = [
    dict(type='EMAHook', momentum=0.01, update_buffers=True, priority='ABOVE_NORMAL'),
    dict(type='BroadcastBuffersHook'),
    dict(type='EpochSeedHook'),
]
randomness = dict(seed=0)
