# FAN-T-Hybrid, Cascade Mask R-CNN.
# As published (FAN paper, Table 10, Cascade R-CNN): COCO val box mAP 50.2, COCO-C 33.1.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_tiny.pth.tar
_base_ = './fan_hybrid_s_cascade_mask_rcnn_coco.py'
model = dict(backbone=dict(arch='tiny'), neck=dict(in_channels=[128, 256, 192, 768]))
