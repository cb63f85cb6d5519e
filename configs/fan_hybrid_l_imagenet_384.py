# FAN-L-Hybrid: a classifier trained at 224, fine-tuned at 384 x 384 pixels as FAN-B-Hybrid.
# As published for a classifier from ImageNet-22k (FAN paper, Table 11): ImageNet top-1 87.1,
# ImageNet-A 74.5, ImageNet-R 71.1, mCE 36.0.
#   python tools/convert_checkpoint.py RELEASED.pth.tar classifier.pth    (if it is NVIDIA's file)
#   bash tools/dist_train.sh configs/fan_hybrid_l_imagenet_384.py 8 --auto-scale-lr \
#       --cfg-options load_from=classifier.pth
_base_ = './fan_hybrid_b_imagenet_384.py'
load_from = 'work_dirs/fan_hybrid_l_imagenet/epoch_310.pth'
model = dict(
    backbone=dict(arch='large', drop_path_rate=0.3),
    head=dict(in_channels=480, init_cfg=dict(std=2e-5)),
)
