# STL, stage 1: FAN-L-Hybrid; schedule and batch as FAN-B-Hybrid.
_base_ = './fan_hybrid_b_stl_teacher_imagenet.py'
model = dict(
    backbone=dict(arch='large', drop_path_rate=0.45),
    head=dict(in_channels=480),
)
