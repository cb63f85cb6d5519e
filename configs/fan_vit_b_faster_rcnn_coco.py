# FAN-B-ViT, Faster R-CNN on a simple feature pyramid. No result of it is published.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_vit_base.pth.tar
_base_ = './fan_vit_s_faster_rcnn_coco.py'
model = dict(backbone=dict(arch='base'), neck=dict(in_channels=448))
