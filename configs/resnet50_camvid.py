# ResNet-50 below the same decoder and schedule as fan_hybrid_{t,s}_camvid.py: docs/camvid.md.
_base_ = [
    './_base_/models/segformer_camvid.py',
    './_base_/datasets/camvid_360x480.py',
    './_base_/schedules/adamw_camvid.py',
    './_base_/default_runtime.py',
]
model = dict(
    backbone=dict(type='ResNetV1c', depth=50, norm_cfg=dict(type='BN', requires_grad=True)),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
)
