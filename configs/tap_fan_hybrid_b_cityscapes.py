# FAN-B-Hybrid with token-aware average pooling (TAP), trained with attention diversification (ADL).
# As published (TAPADL, ICCV 2023): Cityscapes val mIoU 82.9, Cityscapes-C 69.7, ACDC test 63.6.
# The authors' ImageNet weights (MIT licence), as they were released:
# --cfg-options model.backbone.init_cfg.checkpoint=tapadl_fan_base.pth.tar
_base_ = './fan_hybrid_b_cityscapes.py'
model = dict(backbone=dict(token_pooling=4))
default_hooks = dict(
    attention_diversity=dict(type='AttentionDiversityHook', weight=1.0, threshold=2)
)
# the pooling's batch norms are plain, so their statistics are each process's own
custom_hooks = [dict(type='BroadcastBuffersHook')]
