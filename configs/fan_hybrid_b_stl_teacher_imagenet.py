# STL, stage 1: FAN-B-Hybrid; a larger batch, a longer warm-up.
_base_ = './fan_hybrid_s_stl_teacher_imagenet.py'
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.35),
    head=dict(in_channels=448),
)

# learning rate 4e-3 is for 64 images x 8 GPUs x 4 nodes = batch 2048
# (4 nodes: the released cluster script's)
batch_per_gpu, gpus_per_node, nodes = 64, 8, 4
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = _base_.param_scheduler
param_scheduler[0]['warmup_epochs'] = 10
train_dataloader = dict(batch_size=batch_per_gpu)
auto_scale_lr = dict(base_batch_size=batch_per_gpu * gpus_per_node * nodes)
