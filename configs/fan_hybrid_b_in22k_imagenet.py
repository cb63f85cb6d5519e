# FAN-B-Hybrid: a backbone trained on ImageNet-22k, fine-tuned on ImageNet-1k with a new classifier.
# As published (FAN paper): ImageNet top-1 85.6, ImageNet-C 70.5 (Table 8).
# No recipe for this was released; this one is ours, after ConvNeXt's fine-tuning (A ConvNet for the
# 2020s): 30 epochs, layer-wise learning rates, no mixing.
#   bash tools/dist_train.sh configs/fan_hybrid_b_in22k_imagenet.py 8 \
#       --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = './fan_hybrid_b_imagenet.py'
size = 224
epochs = 30
model = dict(
    backbone=dict(
        drop_path_rate=0.2,
        # NVIDIA's file as it was released; its head is left out
        init_cfg=dict(type='Pretrained', checkpoint='fan_hybrid_base_in22k.pth.tar'),
    ),
    train_cfg=None,  # no mixing
)
train_pipeline = _base_.train_pipeline
train_pipeline[1]['transforms'][0][0]['scale'] = size
train_pipeline[1]['transforms'][1][0]['scale'] = size
train_pipeline[4]['erase_prob'] = 0.25
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = size
test_pipeline[2]['crop_size'] = size

# learning rate 5e-5 is for 64 images x 8 GPUs x 1 node = batch 512
batch_per_gpu, gpus_per_node, nodes = 64, 8, 1
optim_wrapper = dict(
    optimizer=dict(lr=5e-5, weight_decay=1e-8),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.8),
)
param_scheduler = [
    dict(type='WarmupCosineCooldownLR', epochs=epochs, warmup_epochs=5, eta_min=1e-6)
]
auto_scale_lr = dict(base_batch_size=batch_per_gpu * gpus_per_node * nodes)
train_cfg = dict(max_epochs=epochs)
train_dataloader = dict(batch_size=batch_per_gpu, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
