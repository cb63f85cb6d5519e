# FAN-ConvNeXt-T on ImageNet-1k: "ConvNeXt-T + FAN" of Table 7.
# As published (FAN paper, Table 7): ImageNet top-1 82.5, ImageNet-C 60.8, mCE 53.1; ConvNeXt-T without
# FAN 82.1, 59.1, 54.8. No code, weights or recipe was released: the network is our reading
# (fan_mm/models/backbones/fan_convnext.py), the recipe that of the paper (appendix A.2) with the drop
# path of ConvNeXt-T (0.1).
_base_ = [
    './_base_/models/fan_classifier.py',
    './_base_/datasets/imagenet_224.py',
    './_base_/schedules/adamw_310e.py',
    './_base_/fixed_size_runtime.py',
]
model = dict(
    backbone=dict(
        type='FANConvNeXt', arch='tiny', out_type='avg_featmap', drop_path_rate=0.1
    ),  # drop path grows linearly with depth up to this rate
    head=dict(in_channels=768),
)

# learning rate 2e-3 is for 128 images x 8 GPUs x 2 nodes = batch 2048
batch_per_gpu, gpus_per_node, nodes = 128, 8, 2
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_dataloader = dict(batch_size=batch_per_gpu)
auto_scale_lr = dict(base_batch_size=batch_per_gpu * gpus_per_node * nodes)
