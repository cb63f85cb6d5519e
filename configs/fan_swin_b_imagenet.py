# FAN-Swin-B on ImageNet-1k.
# The paper prints no result of this model.
_base_ = './fan_swin_t_imagenet.py'
model = dict(backbone=dict(arch='base', drop_path_rate=0.2), head=dict(in_channels=1024))

# learning rate 2e-3 is for 16 images x 8 GPUs x 16 nodes = batch 2048 (the scripts name no
# number of nodes: this one has the 2e-3 for batch 2048 of the paper)
batch_per_gpu, gpus_per_node, nodes = 16, 8, 16
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = _base_.param_scheduler
param_scheduler[0]['warmup_epochs'] = 10
train_dataloader = dict(batch_size=batch_per_gpu)
auto_scale_lr = dict(base_batch_size=batch_per_gpu * gpus_per_node * nodes)
