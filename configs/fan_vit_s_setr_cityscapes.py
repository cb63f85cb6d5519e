# FAN-S-ViT, SETR-PUP decoder. No result of it is published; the paper's SETR row is DeiT-S: Cityscapes
# val mIoU 76.0, Cityscapes-C 55.3 (Table 9) or 55.5 (Table 13).
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_vit_small.pth.tar
_base_ = [
    './_base_/models/fan_setr.py',
    './_base_/datasets/cityscapes_1024x1024.py',
    './_base_/schedules/adamw_160k.py',
    './_base_/fixed_size_runtime.py',
]
