# FAN-T-Hybrid, SegFormer decoder, CamVid: docs/camvid.md. No result of it is published.
_base_ = './fan_hybrid_s_camvid.py'
model = dict(backbone=dict(arch='tiny'), decode_head=dict(in_channels=[128, 256, 192, 192]))
