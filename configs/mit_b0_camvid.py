# SegFormer-B0 as mmseg has it, on CamVid with the schedule of fan_hybrid_{t,s}_camvid.py: docs/camvid.md.
_base_ = [
    './_base_/models/segformer_camvid.py',
    './_base_/datasets/camvid_360x480.py',
    './_base_/schedules/adamw_camvid.py',
    './_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        type='MixVisionTransformer',
        embed_dims=32,
        num_layers=[2, 2, 2, 2],
        num_heads=[1, 2, 5, 8],
        sr_ratios=[8, 4, 2, 1],
        drop_path_rate=0.1,
    ),
    decode_head=dict(in_channels=[32, 64, 160, 256]),
)
