# FAN-S-ViT with the full channel self-attention of Eq. 6: a row of Table 6. Neither model nor recipe
# was released; this is the recipe of FAN-S-ViT.
# As published (FAN paper, Table 6, its row SA): ImageNet top-1 81.3, ImageNet-C 61.7.
_base_ = './fan_vit_s_imagenet.py'
model = dict(backbone=dict(channel_attention='csa'))
