# FAN-B-Hybrid, Mask R-CNN.
# No result of it with Mask R-CNN is published.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_base.pth.tar
_base_ = './fan_hybrid_s_mask_rcnn_coco.py'
model = dict(backbone=dict(arch='base'), neck=dict(in_channels=[128, 256, 448, 768]))
