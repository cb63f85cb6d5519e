# FAN-T-ViT, Faster R-CNN on a simple feature pyramid. No result of it is published.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_vit_tiny.pth.tar
_base_ = './fan_vit_s_faster_rcnn_coco.py'
model = dict(backbone=dict(arch='tiny'), neck=dict(in_channels=192))
