# FAN-B-Hybrid with token-aware average pooling (TAP), trained with attention diversification (ADL).
# As published (TAPADL, ICCV 2023): ImageNet top-1 84.3, ImageNet-C mCE 43.7,
# ImageNet-A 42.3, ImageNet-P mFR 29.2.
_base_ = './fan_hybrid_b_imagenet.py'
model = dict(backbone=dict(token_pooling=4))
default_hooks = dict(
    attention_diversity=dict(type='AttentionDiversityHook', weight=1.0, threshold=2)
)
