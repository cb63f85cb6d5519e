# FAN-S-ViT, Faster R-CNN on a simple feature pyramid. No result of it is published.
# Total batch 32 (32 GPUs x 1 image): on other numbers of GPUs `tools/train.py --auto-scale-lr`.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_vit_small.pth.tar
_base_ = [
    './_base_/models/fan_faster_rcnn.py',
    './_base_/datasets/coco_detection_896.py',
    './_base_/schedules/adamw_coco_2x.py',
    './_base_/default_runtime.py',
]
