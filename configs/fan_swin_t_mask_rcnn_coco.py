# FAN-T-Swin, Mask R-CNN. No result of it is published. Drop path as Swin's own detectors.
# Total batch 32 (32 GPUs x 1 image): on other numbers of GPUs `tools/train.py --auto-scale-lr`.
# ImageNet weights: --cfg-options model.backbone.init_cfg.checkpoint=fan_swin_tiny.pth.tar
_base_ = [
    './_base_/models/fan_mask_rcnn.py',
    './_base_/datasets/coco_instance.py',
    './_base_/schedules/adamw_coco_3x.py',
    './_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='FANSwin',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        drop_path_rate=0.2,
        with_cp=True,
        init_cfg=dict(type='Pretrained', checkpoint=None, weights='model'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
