# FAN-Swin-S on ImageNet-1k, schedule and batch as FAN-Swin-T.
# The paper prints no result of this model.
_base_ = './fan_swin_t_imagenet.py'
model = dict(backbone=dict(arch='small'))
