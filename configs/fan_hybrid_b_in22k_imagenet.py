# FAN-B-Hybrid: a backbone trained on ImageNet-22k, fine-tuned on ImageNet-1k with a new classifier.
# As published (FAN paper): ImageNet top-1 85.6, ImageNet-C 70.5 (Table 8).
# No recipe for this was released; this one is ours, that of fine-tuning at 384 with a warm-up for the
# new classifier.
#   bash tools/dist_train.sh configs/fan_hybrid_b_in22k_imagenet.py 8 \
#       --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = './fan_hybrid_b_imagenet_384.py'
load_from = None
size = 224
model = dict(
    backbone=dict(
        # NVIDIA's file as it was released; its head is left out
        init_cfg=dict(type='Pretrained', checkpoint='fan_hybrid_base_in22k.pth.tar'),
    )
)
train_pipeline = _base_.train_pipeline
train_pipeline[1]['transforms'][0][0]['scale'] = size
train_pipeline[1]['transforms'][1][0]['scale'] = size
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = size
test_pipeline[2]['crop_size'] = size

# learning rate 5e-5 is for 64 images x 8 GPUs x 1 node = batch 512
batch_per_gpu, gpus_per_node, nodes = 64, 8, 1
param_scheduler = _base_.param_scheduler
param_scheduler[0]['warmup_epochs'] = 5
auto_scale_lr = dict(base_batch_size=batch_per_gpu * gpus_per_node * nodes)
train_dataloader = dict(batch_size=batch_per_gpu, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
