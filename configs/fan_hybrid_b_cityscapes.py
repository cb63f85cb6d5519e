# FAN-B-Hybrid, SegFormer decoder.
# As published (FAN paper): Cityscapes val mIoU 82.2, Cityscapes-C 66.9 (Table 9) or 67.3 (Table 13).
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_base.pth.tar
_base_ = './fan_hybrid_s_cityscapes.py'
model = dict(backbone=dict(arch='base'), decode_head=dict(in_channels=[128, 256, 448, 448]))
