# STL, stage 1: FAN-T-Hybrid; schedule and batch as FAN-S-Hybrid.
_base_ = './fan_hybrid_s_stl_teacher_imagenet.py'
model = dict(
    backbone=dict(arch='tiny', drop_path_rate=0.05),
    head=dict(in_channels=192),
)
