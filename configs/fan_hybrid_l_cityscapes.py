# FAN-L-Hybrid, SegFormer decoder.
# As published (FAN paper): Cityscapes val mIoU 82.3, Cityscapes-C 68.7 (Table 9) or 68.5 (Table 13).
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_large.pth.tar
_base_ = './fan_hybrid_s_cityscapes.py'
model = dict(backbone=dict(arch='large'), decode_head=dict(in_channels=[128, 256, 480, 480]))
