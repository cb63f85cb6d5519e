# FAN-T-ViT, SETR-PUP decoder. No result of it is published.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_vit_tiny.pth.tar
_base_ = './fan_vit_s_setr_cityscapes.py'
width = 192
model = dict(
    backbone=dict(arch='tiny'),
    decode_head=dict(in_channels=width),
    auxiliary_head=[dict(head, in_channels=width) for head in _base_.model.auxiliary_head],
)
