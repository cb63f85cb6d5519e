# COCO's 2x schedule of FAN-ViT (FAN paper, appendix A.2): 24 epochs, learning rate divided by 10 after
# 16 and 22; otherwise as for the other detectors.
_base_ = './adamw_coco_3x.py'
max_epochs = 24
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=501, by_epoch=False),
    dict(
        type='MultiStepLR', milestones=[16, 22], gamma=0.1, begin=0, end=max_epochs, by_epoch=True
    ),
]
train_cfg = dict(max_epochs=max_epochs)
