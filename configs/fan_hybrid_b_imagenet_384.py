# FAN-B-Hybrid: a classifier trained at 224, fine-tuned at 384 x 384 pixels.
# No recipe for this was released; this one is ours, after ConvNeXt's fine-tuning (A ConvNet for the
# 2020s): 30 epochs, layer-wise learning rates, no mixing.
#   python tools/convert_checkpoint.py RELEASED.pth.tar classifier.pth    (if it is NVIDIA's file)
#   bash tools/dist_train.sh configs/fan_hybrid_b_imagenet_384.py 8 --auto-scale-lr \
#       --cfg-options load_from=classifier.pth
_base_ = './fan_hybrid_b_imagenet.py'
load_from = 'work_dirs/fan_hybrid_b_imagenet/epoch_310.pth'
size = 384
epochs = 30
model = dict(backbone=dict(drop_path_rate=0.2), train_cfg=None)  # no mixing
train_pipeline = _base_.train_pipeline
train_pipeline[1]['transforms'][0][0]['scale'] = size
train_pipeline[1]['transforms'][1][0]['scale'] = size
train_pipeline[4]['erase_prob'] = 0.25
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = size
test_pipeline[2]['crop_size'] = size

# learning rate 5e-5 is for 16 images x 8 GPUs x 4 nodes = batch 512
batch_per_gpu, gpus_per_node, nodes = 16, 8, 4
optim_wrapper = dict(
    optimizer=dict(lr=5e-5, weight_decay=1e-8),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.8),
)
param_scheduler = [
    dict(type='WarmupCosineCooldownLR', epochs=epochs, warmup_epochs=0, eta_min=1e-6)
]
auto_scale_lr = dict(base_batch_size=batch_per_gpu * gpus_per_node * nodes)
train_cfg = dict(max_epochs=epochs)
train_dataloader = dict(batch_size=batch_per_gpu, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
