# FAN-L-Hybrid: a backbone trained on ImageNet-22k, fine-tuned on ImageNet-1k as FAN-B-Hybrid.
# As published (FAN paper): ImageNet top-1 86.5, ImageNet-C 73.6 (Table 8), mCE 35.8 (Table 11).
#   bash tools/dist_train.sh configs/fan_hybrid_l_in22k_imagenet.py 8 \
#       --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = './fan_hybrid_b_in22k_imagenet.py'
model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='fan_hybrid_large_in22k.pth.tar'),
    ),
    head=dict(in_channels=480, init_cfg=dict(std=2e-5)),
)
