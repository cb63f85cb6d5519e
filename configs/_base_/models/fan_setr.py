# FAN-ViT with SETR's progressive upsampling decoder (SETR-PUP). The FAN paper names SETR for FAN-ViT
# (appendix A.2) but no config was released: the decoder uses mmseg's SETR-PUP options for Cityscapes,
# the output indices are those of the official segmentation version of FAN-ViT small.
norm_cfg = dict(type='SyncBN', requires_grad=True)
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size=(1024, 1024),
    pad_val=0,
    seg_pad_val=255,
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='FANViT',
        arch='small',
        out_indices=(4, 7, 11, 12),  # 12 of 12 blocks: after class attention
        norm_cfg=norm_cfg,
        # ImageNet weights: NVIDIA's released file; None: random weights. The official recipes start
        # from the plain weights, not from their moving average.
        init_cfg=dict(type='Pretrained', checkpoint=None, weights='model'),
    ),
    decode_head=dict(
        type='SETRUPHead',
        in_channels=384,  # stride 16, like all four maps
        in_index=3,
        channels=256,
        num_classes=19,
        num_convs=4,
        up_scale=2,
        kernel_size=3,
        dropout_ratio=0,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=[
        dict(
            type='SETRUPHead',
            in_channels=384,
            in_index=index,
            channels=256,
            num_classes=19,
            num_convs=2,
            up_scale=4,
            kernel_size=3,
            dropout_ratio=0,
            norm_cfg=norm_cfg,
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
        )
        for index in range(3)
    ],
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)),
)
