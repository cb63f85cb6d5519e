# The ImageNet schedule of FAN (spec section 9): 300 epochs of cosine and 10 of cooldown.
# Learning rate of epoch e (0 to 309), warm-up of w epochs:
#     e < w:    1e-6 + e * (lr - 1e-6) / w
#     e < 300:  1e-6 + (lr - 1e-6) * (1 + cos(pi * e / 300)) / 2
#     else:     1e-6
# Every config specifies the batch size per GPU and the numbers of GPUs and nodes for its learning rate; with
# other numbers, training logs a message, and `tools/train.py --auto-scale-lr` scales the learning rate.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    # no weight decay for vectors, biases and the class token; temperatures have weight decay
    paramwise_cfg=dict(
        flat_decay_mult=0.0, bias_decay_mult=0.0, custom_keys=dict(cls_token=dict(decay_mult=0.0))
    ),
)
param_scheduler = [
    dict(
        type='WarmupCosineCooldownLR', epochs=300, warmup_epochs=5, warmup_start=1e-6, eta_min=1e-6
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=4096)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=310, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=3,
        save_best='accuracy/top1',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False),
)
custom_hooks = [
    # EMA of weights and buffers with decay 0.99992, validated and saved as the model's weights
    dict(type='EMAHook', momentum=8e-5, update_buffers=True, priority='ABOVE_NORMAL'),
    dict(type='BroadcastBuffersHook'),  # batch norms are not synchronised
    dict(type='EpochSeedHook'),
]
randomness = dict(seed=42, diff_rank_seed=True)
