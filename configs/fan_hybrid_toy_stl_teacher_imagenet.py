# Stage 1 of STL on the embedded pictures: the toy model learns to label its tokens.
_base_ = './fan_hybrid_toy_imagenet.py'
custom_imports = dict(
    imports=['fan_mm', 'fan_mm.models.heads', 'fan_mm.models.classifiers'],
    allow_failed_imports=False,
)
model = dict(
    backbone=dict(out_type='raw'),
    head=dict(_delete_=True, type='TokenLabelHead', num_classes=10, in_channels=128, tokens='mean'),
)
