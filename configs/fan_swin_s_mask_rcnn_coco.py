# FAN-S-Swin, Mask R-CNN. No result of it is published.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_swin_small.pth.tar
_base_ = './fan_swin_t_mask_rcnn_coco.py'
model = dict(backbone=dict(arch='small'))
