# FAN-L-Hybrid, Cascade Mask R-CNN.
# As published (FAN paper, Table 10, Cascade R-CNN): COCO val box mAP 54.1, COCO-C 40.6.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_large.pth.tar
_base_ = './fan_hybrid_s_cascade_mask_rcnn_coco.py'
model = dict(backbone=dict(arch='large'), neck=dict(in_channels=[128, 256, 480, 768]))
