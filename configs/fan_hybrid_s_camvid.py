# FAN-S-Hybrid, SegFormer decoder, CamVid: docs/camvid.md. No result of it is published.
_base_ = [
    './_base_/models/segformer_camvid.py',
    './_base_/datasets/camvid_360x480.py',
    './_base_/schedules/adamw_camvid.py',
    './_base_/default_runtime.py',
]
model = dict(
    backbone=dict(type='FANHybrid', arch='small', out_indices=(0, 1, 2, 3)),
    decode_head=dict(in_channels=[128, 256, 384, 384]),
)
