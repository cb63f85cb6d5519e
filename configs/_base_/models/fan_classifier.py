# A FAN with its class token's linear classifier; mixup or cutmix for every batch.
data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='FANHybrid', arch='small', out_type='cls_token', drop_path_rate=0.25),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=384,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        # (1 - 0.1) y + 0.1 / 1000 of the mixed target y
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(
        augments=dict(
            type='fan_mm.models.mixing.MixupCutmix',
            mixup_alpha=0.8,
            cutmix_alpha=1.0,
            switch_prob=0.5,
        )
    ),
)
