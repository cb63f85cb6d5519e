# FAN-T-Hybrid, Mask R-CNN.
# As published (FAN paper, Table 10, Mask R-CNN): COCO val box mAP 45.8, COCO-C 29.7.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_tiny.pth.tar
_base_ = './fan_hybrid_s_mask_rcnn_coco.py'
model = dict(backbone=dict(arch='tiny'), neck=dict(in_channels=[128, 256, 192, 768]))
