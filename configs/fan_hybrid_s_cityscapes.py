# FAN-S-Hybrid, SegFormer decoder.
# As published (FAN paper): Cityscapes val mIoU 81.5, Cityscapes-C 66.4 (Tables 9, 13).
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_small.pth.tar
_base_ = [
    './_base_/models/fan_segformer.py',
    './_base_/datasets/cityscapes_1024x1024.py',
    './_base_/schedules/adamw_160k.py',
    './_base_/fixed_size_runtime.py',
]
