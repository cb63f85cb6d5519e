# ImageNet-1k in mmpretrain's layout (data/imagenet/{train,val}/CLASS/*), with the augmentation of the
# FAN recipe (timm's): random resized crop with random interpolation, RandAugment
# rand-m9-mstd0.5-inc1, random erasing with noise pixels. Test: short side 224, centre crop 224.
default_scope = 'mmpretrain'
dataset_type = 'ImageNet'
data_root = 'data/imagenet/'
bgr_mean = [103.53, 116.28, 123.675]
bgr_std = [57.375, 57.12, 58.395]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation=filter)]
            for filter in ('bilinear', 'bicubic')
        ],
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='JointRandAugment',
        num_policies=2,
        magnitude_level=9,
        magnitude_std=0.5,
        pad_val=(104, 116, 124),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.3,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=bgr_mean,
        fill_std=bgr_std,
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='ResizeEdge', scale=224, edge='short', backend='pillow', interpolation='bicubic'
    ),  # the crop ratio of FAN-ViT and FAN-Hybrid is 1
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=64,  # per GPU
    num_workers=8,
    persistent_workers=False,  # EpochSeedHook seeds the workers of every epoch
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split='val', pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator

visualizer = dict(
    type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
)
