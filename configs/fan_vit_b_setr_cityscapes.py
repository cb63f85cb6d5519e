# FAN-B-ViT, SETR-PUP decoder. No result of it is published.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_vit_base.pth.tar
_base_ = './fan_vit_s_setr_cityscapes.py'
width = 448
model = dict(
    backbone=dict(arch='base', out_indices=(7, 11, 17, 18)),
    decode_head=dict(in_channels=width),
    auxiliary_head=[dict(head, in_channels=width) for head in _base_.model.auxiliary_head],
)
