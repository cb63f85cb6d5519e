# COCO's schedule of FAN's official detectors (spec section 11): 32 GPUs x 1 image = batch 32, 36 epochs,
# 117266 images with objects / 32 = 3665 iterations per epoch, 131940 in total. Learning rate 1e-4, divided
# by 10 after epochs 27 and 33, warm-up over 500 iterations (mmengine includes the last step in a schedule,
# hence `end`). Parameters whose name contains `norm`, and Swin's relative position bias tables, have no
# weight decay.
optim_wrapper = dict(
    type='AmpOptimWrapper',  # apex O1 in the official code; on a CPU bfloat16
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys=dict(
            norm=dict(decay_mult=0.0),
            absolute_pos_embed=dict(decay_mult=0.0),
            relative_position_bias_table=dict(decay_mult=0.0),
        )
    ),
)
max_epochs = 36
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=501, by_epoch=False),
    dict(
        type='MultiStepLR', milestones=[27, 33], gamma=0.1, begin=0, end=max_epochs, by_epoch=True
    ),
]
# `tools/train.py --auto-scale-lr` scales the learning rate to the actual batch size
auto_scale_lr = dict(enable=False, base_batch_size=32)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # keep at least two, so that a run killed during a save can resume from the other one
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=3,
        save_best='coco/bbox_mAP',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'),
)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
