# FAN-Hybrid with SegFormer's all-MLP decoder (FAN paper, section 3.4 and appendix A.2).
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
        type='FANHybrid',
        arch='small',
        out_indices=(0, 1, 2, 3),
        norm_cfg=norm_cfg,
        # ImageNet weights: NVIDIA's released file; None: random weights. The official recipes start
        # from the plain weights, not from their moving average.
        init_cfg=dict(type='Pretrained', checkpoint=None, weights='model'),
    ),
    decode_head=dict(
        type='SegformerHead',
        in_channels=[128, 256, 384, 384],  # strides 4, 8, 16, 16
        in_index=[0, 1, 2, 3],
        channels=768,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        # no ReLU after the projections, as in FAN's own models; mmseg's batch norm is kept
        act_cfg=None,
        align_corners=False,
        init_cfg=None,  # PyTorch's default for the last convolution, as in FAN's own models
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)),
)
