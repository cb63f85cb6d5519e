# FAN-T-Hybrid with token-aware average pooling (TAP), trained with attention diversification (ADL).
# No results are published for this size, nor weights: the recipe is FAN's with what is new in
# tap_fan_hybrid_b_imagenet.py.
_base_ = './fan_hybrid_t_imagenet.py'
model = dict(backbone=dict(token_pooling=4))
default_hooks = dict(
    attention_diversity=dict(type='AttentionDiversityHook', weight=1.0, threshold=2)
)
