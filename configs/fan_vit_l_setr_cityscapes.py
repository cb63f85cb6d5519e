# FAN-L-ViT, SETR-PUP decoder. No result of it is published.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_vit_large.pth.tar
_base_ = './fan_vit_s_setr_cityscapes.py'
width = 480
model = dict(
    backbone=dict(arch='large', out_indices=(9, 15, 23, 24)),
    decode_head=dict(in_channels=width),
    auxiliary_head=[dict(head, in_channels=width) for head in _base_.model.auxiliary_head],
)
