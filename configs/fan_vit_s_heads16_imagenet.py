# FAN-S-ViT with 16 heads of 24 channels, in place of 8 of 48: a point of Figure 7 (heads against clean and
# robust accuracy at a fixed width). The paper prints no numbers, only the curve, and says of it that more
# heads are more robust, fewer channels per head less accurate, and 32 channels per head the best compromise.
# As published with 8 heads: ImageNet top-1 82.9 (Table 8) or 82.5 (Table 11), ImageNet-C 64.5 (Table 8).
_base_ = './fan_vit_s_imagenet.py'
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dims=384, depth=12, num_heads=16)))
