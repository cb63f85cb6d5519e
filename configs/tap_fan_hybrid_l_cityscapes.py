# FAN-L-Hybrid with token-aware average pooling (TAP), trained with attention diversification (ADL).
# No results are published for this size, nor weights. A file of FAN does to start from (its
# pooling layers begin anew): --cfg-options model.backbone.init_cfg.checkpoint=fan_hybrid_large.pth.tar
_base_ = './fan_hybrid_l_cityscapes.py'
model = dict(backbone=dict(token_pooling=4))
default_hooks = dict(
    attention_diversity=dict(type='AttentionDiversityHook', weight=1.0, threshold=2)
)
# the pooling's batch norms are plain, so their statistics are each process's own
custom_hooks = [dict(type='BroadcastBuffersHook')]
