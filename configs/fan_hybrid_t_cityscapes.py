# FAN-T-Hybrid, SegFormer decoder.
# As published (FAN paper): Cityscapes val mIoU 81.2, Cityscapes-C 57.1 (Table 9) or 57.9 (Table 13).
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_tiny.pth.tar
_base_ = './fan_hybrid_s_cityscapes.py'
model = dict(backbone=dict(arch='tiny'), decode_head=dict(in_channels=[128, 256, 192, 192]))
