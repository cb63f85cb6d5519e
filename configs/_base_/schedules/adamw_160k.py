# The Cityscapes schedule of FAN and SegFormer: 8 GPUs x 1 crop = batch 8,
# 160000 iterations x 8 crops / 2975 training pictures = 430 epochs.
# Learning rate at iteration t (mmcv's poly policy and its linear warm-up, multiplied):
#     6e-5 * (1 - t / 160000) * min(1, 1e-6 + (1 - 1e-6) * t / 1500)
# mmengine includes the last step in a schedule, hence `end` is one more than the length.
# Parameters whose name contains `norm` have no weight decay, and those of the heads a 10x higher learning
# rate; if both match, mmengine uses `head` (equal length, first in the alphabet), as mmcv did.
max_iters = 160000
warmup_iters = 1500

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(norm=dict(decay_mult=0.0), head=dict(lr_mult=10.0))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=warmup_iters + 1, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=0, end=max_iters + 1, by_epoch=False),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=4000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # keep at least two, so that a run killed during a save can resume from the other one
    checkpoint=dict(
        type='CheckpointHook', by_epoch=False, interval=4000, max_keep_ckpts=3, save_best='mIoU'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
log_processor = dict(by_epoch=False)
