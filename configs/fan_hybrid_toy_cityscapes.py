# A small FAN-Hybrid on the embedded street scenes: what `tools/quickstart.sh` trains.
#   python tools/make_toy_dataset.py cityscapes data/toy_cityscapes --size 128x256 --train 1500 --val 32
_base_ = [
    './_base_/models/fan_segformer.py',
    './_base_/datasets/cityscapes_1024x1024.py',
    './_base_/schedules/adamw_160k.py',
    './_base_/default_runtime.py',
]
size = (128, 256)
data_root = 'data/toy_cityscapes/'
max_iters, batch = 3200, 4
norm_cfg = dict(type='BN', requires_grad=True)
# frequency ** -0.5, mean 1 over pixels: without it the small classes are learned late
class_weight = [
    0.49, 1.84, 0.66, 2.97, 2.00, 1.84, 4.34, 2.50, 1.05, 3.31, 0.81, 2.77, 1.85, 0.98, 1.42,
    1.48, 1.94, 2.88, 3.11,
]  # fmt: skip

model = dict(
    data_preprocessor=dict(size=size),
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
    decode_head=dict(
        in_channels=[48, 96, 128, 128],
        channels=96,
        norm_cfg=norm_cfg,
        # the mean over pixels as a sum: mmseg 1.2.2 takes no mean of weighted classes where labels
        # have ignored pixels
        loss_decode=dict(
            class_weight=class_weight, reduction='sum', loss_weight=1 / (batch * size[0] * size[1])
        ),
    ),
    test_cfg=dict(mode='whole', crop_size=None, stride=None),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=16,
        contrast_range=(0.8, 1.2),
        saturation_range=(0.8, 1.2),
        hue_delta=6,
    ),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=batch,
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
    optimizer=dict(lr=2e-3, weight_decay=0.02),
    paramwise_cfg=dict(_delete_=True, custom_keys=dict(norm=dict(decay_mult=0.0))),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=100, end=max_iters, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=batch)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=250, max_keep_ckpts=2),
)
randomness = dict(seed=0)
from_scratch = True  # the weights are random on purpose: no warning
