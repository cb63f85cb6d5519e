# STL, stage 1 (ICCV 2023): FAN-S-Hybrid learns to label its tokens. The class token's classifier and
# the mean of the tokens' learn the class of the image.
_base_ = './fan_hybrid_s_imagenet.py'
custom_imports = dict(
    imports=['fan_mm', 'fan_mm.models.heads', 'fan_mm.models.classifiers'],
    allow_failed_imports=False,
)
model = dict(
    backbone=dict(out_type='raw', drop_path_rate=0.25),
    head=dict(
        _delete_=True,
        type='TokenLabelHead',
        num_classes=1000,
        in_channels=384,
        tokens='mean',
        cls_weight=1.0,
        dense_weight=1.0,
        label_smoothing=0.1,
        topk=(1, 5),
    ),
)

# learning rate 2e-3 is for 128 images x 8 GPUs x 1 node = batch 1024
# (the released script); 350 epochs + 10 of cooldown
batch_per_gpu, gpus_per_node, nodes = 128, 8, 1
epochs = 350
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = _base_.param_scheduler
param_scheduler[0]['epochs'] = epochs
train_cfg = dict(max_epochs=epochs + 10)
train_dataloader = dict(batch_size=batch_per_gpu)
auto_scale_lr = dict(base_batch_size=batch_per_gpu * gpus_per_node * nodes)
