"""A config that evaluates `stripe_model` on pictures of stripes, in the Cityscapes layout."""

STRIPE_CONFIG = """
default_scope = 'mmseg'
custom_imports = dict(imports=['fan_mm', 'stripe_model'], allow_failed_imports=False)
model = dict(type='StripeModel')
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CityscapesDataset',
        data_root='{root}',
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    ),
)
test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_cfg = dict(type='TestLoop')
"""
