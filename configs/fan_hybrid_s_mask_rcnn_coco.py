# FAN-S-Hybrid, Mask R-CNN.
# As published (FAN paper, Table 10, Mask R-CNN): COCO val box mAP 49.1, COCO-C 35.5.
# Total batch 32 (32 GPUs x 1 image): on other numbers of GPUs `tools/train.py --auto-scale-lr`.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_small.pth.tar
_base_ = [
    './_base_/models/fan_mask_rcnn.py',
    './_base_/datasets/coco_instance.py',
    './_base_/schedules/adamw_coco_3x.py',
    './_base_/default_runtime.py',
]
