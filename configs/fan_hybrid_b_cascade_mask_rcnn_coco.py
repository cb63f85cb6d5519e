# FAN-B-Hybrid, Cascade Mask R-CNN.
# As published: COCO-C box mAP 39.0 (FAN paper, Table 14), not said with which head. FAN's README gives
# 54.2 and COCO-C 40.6 to it, which Table 14 prints for FAN-L-Hybrid.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_base.pth.tar
_base_ = './fan_hybrid_s_cascade_mask_rcnn_coco.py'
model = dict(backbone=dict(arch='base'), neck=dict(in_channels=[128, 256, 448, 768]))
