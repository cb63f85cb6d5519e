# SegFormer-B1 as mmseg has it, on CamVid with the schedule of fan_hybrid_{t,s}_camvid.py: docs/camvid.md.
_base_ = './mit_b0_camvid.py'
model = dict(backbone=dict(embed_dims=64), decode_head=dict(in_channels=[64, 128, 320, 512]))
