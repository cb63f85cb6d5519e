# FAN-S-ViT, SETR-MLA decoder (multi-level aggregation), decoder options as in mmseg's SETR-MLA for
# Cityscapes. No result of it is published.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_vit_small.pth.tar
_base_ = './fan_vit_s_setr_cityscapes.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    neck=dict(
        type='MLANeck',
        in_channels=[384, 384, 384, 384],
        out_channels=256,
        norm_cfg=norm_cfg,
        act_cfg=dict(type='ReLU'),
    ),
    decode_head=dict(
        _delete_=True,
        type='SETRMLAHead',
        in_channels=(256, 256, 256, 256),
        in_index=(0, 1, 2, 3),
        channels=512,
        mla_channels=128,
        num_classes=19,
        dropout_ratio=0,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=[
        dict(
            type='FCNHead',
            in_channels=256,
            in_index=index,
            channels=256,
            num_classes=19,
            num_convs=0,
            kernel_size=1,
            concat_input=False,
            dropout_ratio=0,
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
        )
        for index in range(4)
    ],
)
