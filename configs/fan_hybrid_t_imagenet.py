# FAN-T-Hybrid on ImageNet-1k.
# As published (FAN paper): ImageNet top-1 80.1, ImageNet-C 57.4 (Table 8).
_base_ = [
    './_base_/models/fan_classifier.py',
    './_base_/datasets/imagenet_224.py',
    './_base_/schedules/adamw_310e.py',
    './_base_/fixed_size_runtime.py',
]
model = dict(
    backbone=dict(type='FANHybrid', arch='tiny', drop_path_rate=0.1),
    head=dict(in_channels=192),
)

# learning rate 1e-3 is for 32 images x 8 GPUs x 4 nodes = batch 1024 (the official README's 4 nodes)
batch_per_gpu, gpus_per_node, nodes = 32, 8, 4
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_dataloader = dict(batch_size=batch_per_gpu)
auto_scale_lr = dict(base_batch_size=batch_per_gpu * gpus_per_node * nodes)
