# Mask R-CNN on a FAN-Hybrid (FAN paper, Table 10; the config was not released: heads, samplers and
# thresholds are mmdet's and Swin's, the backbone is that of the official cascade detectors).
_base_ = './fan_faster_rcnn.py'
model = dict(
    type='MaskRCNN',
    data_preprocessor=dict(pad_mask=True),
    backbone=dict(
        type='FANHybrid',
        out_indices=(0, 1, 2, 3),
        last_stage_channels=768,  # a strided convolution makes the fourth map stride 32
    ),
    neck=dict(
        _delete_=True,
        type='FPN',
        in_channels=[128, 256, 384, 768],  # strides 4, 8, 16, 32
        out_channels=256,
        num_outs=5,
    ),
    roi_head=dict(
        mask_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        mask_head=dict(
            type='FCNMaskHead',
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            num_classes=80,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(rcnn=dict(assigner=dict(match_low_quality=True), mask_size=28)),
    test_cfg=dict(rcnn=dict(mask_thr_binary=0.5)),
)
