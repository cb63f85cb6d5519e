# FAN-S-Hybrid, Cascade Mask R-CNN.
# As published (FAN paper, Table 10, Cascade R-CNN): COCO val box mAP 53.3, COCO-C 38.7.
# Total batch 32 (32 GPUs x 1 image): on other numbers of GPUs `tools/train.py --auto-scale-lr`.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_small.pth.tar
_base_ = [
    './_base_/models/fan_cascade_mask_rcnn.py',
    './_base_/datasets/coco_instance.py',
    './_base_/schedules/adamw_coco_3x.py',
    './_base_/default_runtime.py',
]
